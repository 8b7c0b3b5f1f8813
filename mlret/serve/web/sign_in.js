// Signing in: by a token that is pasted.

import { button, field, html, refill } from "./dom.js";
import { command, problemOf } from "./messages.js";
import { call } from "./requests.js";
import { keepToken, signOut } from "./session.js";

/** Say what a reader of the page can do about a token that is not accepted; the server speaks to programs. */
function advised(error) {
  if (error.status === 401) {
    error.document.title = "The token is not accepted";
    error.document.fix = "Paste the whole of it, or make another one: `mlret tokens add`";
  }
  return error;
}

/** Make the form. `done` is called with what the token allows, once the server has accepted it. */
export function signInView(done, error = null) {
  const input = html("input", {
    type: "password",
    name: "token",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    placeholder: "mlret_…",
    dir: "ltr",
    maxlength: "200",
  });
  const shown = html("div", {}, error && problemOf(advised(error)));
  const show = button("Show", () => {
    const hidden = input.type === "password";
    input.type = hidden ? "text" : "password";
    show.textContent = hidden ? "Hide" : "Show";
  }, { class: "quiet" });
  const submit = html("button", { type: "submit", class: "main" }, "Sign in");
  const form = html(
    "form",
    {
      async onsubmit(event) {
        event.preventDefault();
        submit.disabled = true;
        keepToken(input.value.trim());
        try {
          done(await call("GET", "/v1/token"));
        } catch (problem) {
          signOut();
          refill(shown, problemOf(advised(problem)));
          input.focus();
          input.select();
        } finally {
          submit.disabled = false;
        }
      },
    },
    field("Token", html("div", { class: "joined" }), "It stays in this tab, and is forgotten when the tab is closed."),
    submit,
  );
  // The label belongs to the input, which shares its line with a button.
  const joined = form.querySelector(".joined");
  input.id = joined.id;
  input.setAttribute("aria-describedby", joined.getAttribute("aria-describedby"));
  joined.removeAttribute("id");
  joined.removeAttribute("aria-describedby");
  joined.append(input, show);
  const element = html(
    "div",
    { class: "sign-in" },
    html("h1", { tabindex: "-1" }, "Sign in"),
    html("p", { class: "lead" }, "This server answers only to those who hold a token of it. Paste yours."),
    shown,
    form,
    html(
      "details",
      { class: "behind" },
      html("summary", {}, "Where do I get a token?"),
      html("p", {}, "The server shows one at its first start, with a link that signs you in. Whoever may use the server’s command line makes more:"),
      command("mlret tokens add laptop --role read"),
      html("p", {}, "The role ", html("b", {}, "read"), " searches, ", html("b", {}, "write"), " also adds and changes, ", html("b", {}, "admin"), " also creates indexes and erases."),
    ),
  );
  return { title: "Sign in", element, focus: input };
}
