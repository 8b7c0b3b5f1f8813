// What surrounds each view: heading, navigation, theme, token, messages, keys.

import { button, html, refill } from "./dom.js";
import { messageRegions, problemOf } from "./messages.js";
import { call } from "./requests.js";
import { signOut, takeTokenFromAddress, token } from "./session.js";
import { signInView } from "./sign_in.js";

const PLACES = [
  ["/#/search", "Search", "search"],
  ["/#/memory", "Memory", "memory"],
  ["/#/indexes", "Indexes", "indexes"],
  ["/docs", "Interface", "docs"],
];

/** Build the page around its views, and call `ready` once there is a token that the server accepts. */
export function frame(ready) {
  takeTokenFromAddress();
  const main = html("main", { id: "content", tabindex: "-1" });
  const links = PLACES.map(([href, label, place]) => html("a", { href, "data-place": place }, label));
  const nav = html("nav", { "aria-label": "Views", hidden: true }, links);
  const account = html("div", { class: "account" });
  const keys = keysDialog();
  document.body.prepend(
    html("a", { class: "skip", href: "#content", onclick: skip }, "Skip to the content"),
    html(
      "header",
      { class: "top" },
      html("a", { class: "mark", href: "/#/search", "aria-label": "mlret, to the search" }, html("img", { src: "/static/icon.svg", alt: "", width: 28, height: 28 }), "mlret"),
      nav,
      html("div", { class: "tools" }, account, themeSwitch(), button("?", () => keys.showModal(), { class: "quiet round", "aria-label": "Keys", title: "Keys" })),
    ),
    main,
    ...messageRegions(),
    keys,
  );
  addEventListener("hashchange", () => {
    // A link with a token, opened in a tab that shows the page already.
    if (takeTokenFromAddress()) location.reload();
  });
  addEventListener("keydown", (event) => onKey(event, keys));

  const page = {
    permissions: null,
    /** Show a view: its title, its element, and what has the focus then. */
    show(view, place, first = false) {
      document.title = `${view.title} · mlret`;
      for (const link of links) {
        if (place.split("/")[0] === link.dataset.place) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      refill(main, view.element);
      if (view.focus) view.focus.focus({ preventScroll: true });
      else if (!first) main.querySelector("h1")?.focus({ preventScroll: true });
      if (!first) scrollTo(0, 0);
      view.shown?.();
    },
  };
  let begun = false;
  const accept = (permissions) => {
    page.permissions = permissions;
    nav.hidden = false;
    refill(
      account,
      html("span", { class: "who", title: `Token ${permissions.id}` }, html("span", { dir: "auto" }, permissions.name), html("span", { class: "badge" }, permissions.role)),
      button("Sign out", () => {
        signOut();
        location.assign("/");
      }, { class: "quiet" }),
    );
    if (begun) dispatchEvent(new HashChangeEvent("hashchange"));
    else ready(page);
    begun = true;
  };
  const ask = (error = null) => {
    refill(account);
    nav.hidden = true;
    page.show(signInView(accept, error), "sign-in");
  };
  addEventListener("mlret:unauthorized", (event) => {
    signOut();
    ask(event.detail);
  });
  start(accept, ask, (error) => page.show({ title: "Error", element: html("div", {}, html("h1", { tabindex: "-1" }, "mlret"), problemOf(error), button("Try again", () => location.reload())) }, ""));
}

async function start(accept, ask, fail) {
  if (!token()) return ask();
  try {
    accept(await call("GET", "/v1/token"));
  } catch (error) {
    if (error.status !== 401) return fail(error);
    signOut();
    ask(error);
  }
}

function skip(event) {
  // The address is that of a view, so that the link must not change it.
  event.preventDefault();
  const heading = document.querySelector("main h1") ?? document.querySelector("main");
  heading.focus();
}

function themeSwitch() {
  const root = document.documentElement;
  const next = { system: "dark", dark: "light", light: "system" };
  const signs = { system: "◐", dark: "☾", light: "☀" };
  const current = () => root.dataset.theme ?? "system";
  const label = () => `Colours: ${current() === "system" ? "as the system" : current()}`;
  const one = button(signs[current()], () => {
    const theme = next[current()];
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (theme === "system") localStorage.removeItem("mlret.theme");
      else localStorage.setItem("mlret.theme", theme);
    } catch {
      // The choice lasts as long as the page.
    }
    one.textContent = signs[theme];
    one.setAttribute("aria-label", label());
    one.title = label();
  }, { class: "quiet round", "aria-label": label(), title: label() });
  return one;
}

let singleKeys = true;

function keysDialog() {
  const keys = [
    ["/", "to the search field"],
    ["↓ ↑", "from hit to hit"],
    ["Esc", "back to the search field, or close a dialog"],
    ["?", "this list"],
  ];
  const check = html("input", { type: "checkbox", checked: true, onchange: () => (singleKeys = check.checked) });
  const dialog = html(
    "dialog",
    { "aria-labelledby": "keys-title" },
    html("h2", { id: "keys-title" }, "Keys"),
    html("dl", { class: "keys" }, keys.map(([key, meaning]) => html("div", {}, html("dt", {}, html("kbd", {}, key)), html("dd", {}, meaning)))),
    html("label", { class: "check" }, check, " Use keys without Ctrl or Alt"),
    html("div", { class: "actions" }, button("Close", () => dialog.close(), { class: "main" })),
  );
  return dialog;
}

function onKey(event, keys) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || !singleKeys) return;
  const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (typing || document.querySelector("dialog[open]")) return;
  if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "?") keys.showModal();
}
