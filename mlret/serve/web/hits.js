// A list of hits that the arrow keys walk through.

import { html } from "./dom.js";

/** Make the list; `input` is the search field, where the keys lead back to. */
export function hitList(input) {
  const list = html("ol", { class: "hits", "aria-label": "Hits" });
  const hits = () => [...list.querySelectorAll("article")];
  const step = (event) => {
    if (event.target.closest("select, textarea") || event.isComposing) return;
    if (event.key === "Escape" && list.contains(event.target)) return input.focus();
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const some = hits();
    if (!by || !some.length) return;
    const at = some.findIndex((one) => one.contains(event.target));
    event.preventDefault();
    if (at + by < 0) input.focus();
    else some[Math.min(at + by, some.length - 1)].focus();
  };
  input.addEventListener("keydown", (event) => event.key === "ArrowDown" && step(event));
  list.addEventListener("keydown", step);
  return list;
}

/** Make a search field. `changed` is called as the reader types, but not while an input method composes a character. */
export function searchField(label, value, changed) {
  const input = html("input", {
    type: "search",
    name: "query",
    value,
    dir: "auto",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-label": label,
    placeholder: label,
    oninput: (event) => event.isComposing || changed(),
    oncompositionend: changed,
  });
  return input;
}

/** Show by a line that a request is under way, but only if it takes a while, so that quick answers do not flicker. */
export function activity() {
  const line = html("div", { class: "activity", "aria-hidden": "true" });
  let timer = 0;
  return {
    line,
    begin() {
      clearTimeout(timer);
      timer = setTimeout(() => line.classList.add("active"), 250);
    },
    end() {
      clearTimeout(timer);
      line.classList.remove("active");
    },
  };
}
