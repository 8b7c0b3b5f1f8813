// What the page says: problems, notes with an action such as Undo, and announcements for screen readers.

import { button, html, prose, refill } from "./dom.js";

const status = html("div", { class: "unseen", role: "status", "aria-live": "polite" });
const notes = html("div", { class: "notes", role: "region", "aria-label": "Notes" });

/** Return the elements that hold messages; they are part of the page from its beginning, as live regions must be. */
export function messageRegions() {
  return [status, notes];
}

/** Tell screen readers something that others see. */
export function announce(text) {
  status.textContent = text;
}

/** Show a note at the edge of the page, with an action if there is one. It stays for a while, longer with an action. */
export function note(text, label = null, action = null) {
  const close = () => {
    clearTimeout(timer);
    one.remove();
  };
  const one = html(
    "div",
    { class: "note" },
    html("p", {}, text),
    label &&
      button(label, () => {
        close();
        action();
      }),
    button("✕", close, { class: "plain", "aria-label": "Close this note" }),
  );
  const timer = setTimeout(close, label ? 20000 : 8000);
  notes.append(one);
  announce(label ? `${text} ${label} is possible.` : text);
}

/** Make an element that shows a problem: what it is, what is wrong, and what to do. */
export function problemOf(error) {
  const document = error.document ?? {
    title: "The page failed",
    detail: String(error.message ?? error),
    fix: "Load the page again.",
  };
  if (!error.document) console.error(error);
  const more = (document.errors ?? []).map((one) => html("li", {}, prose(one.detail)));
  return html(
    "div",
    { class: "problem", role: "alert" },
    html("h2", {}, document.title),
    html("p", { dir: "auto" }, prose(sentence(document.detail))),
    more.length > 1 && html("ul", {}, more),
    document.fix && html("p", { class: "fix" }, prose(sentence(document.fix))),
    error.retryAfter && html("p", { class: "fix" }, `It may work again in ${error.retryAfter} seconds.`),
    document.instance && html("p", { class: "small" }, `Request ${document.instance.replace("urn:uuid:", "")}`),
  );
}

/** Show the problem of an action that failed, as a note that stays until it is closed. */
export function noteProblem(error) {
  const one = html("div", { class: "note" });
  refill(one, problemOf(error), button("✕", () => one.remove(), { class: "plain", "aria-label": "Close this note" }));
  notes.append(one);
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?。]$/.test(first) ? first : `${first}.`;
}

/** Make what is shown where nothing is: a title, what to do, and perhaps a command. */
export function emptyState(title, ...children) {
  return html("div", { class: "empty" }, html("h2", {}, title), children);
}

/** Make a command that can be copied. */
export function command(text) {
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(text);
    announce("Copied.");
    copy.textContent = "Copied";
    setTimeout(() => {
      copy.textContent = "Copy";
    }, 2000);
  });
  return html("div", { class: "command" }, html("code", { tabindex: "0", dir: "ltr" }, text), copy);
}
