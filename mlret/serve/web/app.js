// The page: signing in, the views by address, the keyboard.

import { frame } from "./frame.js";
import { html } from "./dom.js";
import { indexView, indexesView } from "./index_view.js";
import { memoryView } from "./memory_view.js";
import { problemOf } from "./messages.js";
import { recordView } from "./record_view.js";
import { searchView } from "./search_view.js";

const VIEWS = [
  [/^search$/, searchView],
  [/^memory$/, memoryView],
  [/^memory\/(.+)$/, recordView],
  [/^indexes$/, indexesView],
  [/^indexes\/([^/]+)$/, indexView],
];

let leave = null;
let turn = 0; // Grows with each view that is asked for, so that a view which is ready late replaces no newer one.

frame((page) => {
  const turnAway = () => {
    leave?.();
    leave = null;
    turn += 1;
    return turn;
  };
  const show = async ({ first = false } = {}) => {
    if (location.hash.startsWith("#token=")) return;
    const own = turnAway();
    const { hash } = location;
    const [path, parameters] = address();
    const found = VIEWS.map(([pattern, view]) => [pattern.exec(path), view]).find(([match]) => match);
    let view;
    try {
      view = found
        ? await found[1]({ page, parameters: new URLSearchParams(parameters), name: decoded(found[0][1]) })
        : nowhere();
    } catch (error) {
      view = { title: "Error", element: html("div", {}, html("h1", { tabindex: "-1" }, "This did not work"), problemOf(error)) };
    }
    // The reader has gone on meanwhile. The address changes before its event comes: a view that is shown between the two
    // writes its own address over that of the next view.
    if (turn !== own || location.hash !== hash) return;
    leave = view.leave ?? null;
    page.show(view, path, first);
  };
  addEventListener("hashchange", () => show());
  addEventListener("mlret:unauthorized", turnAway); // The frame asks for another token in place of the view.
  show({ first: true });
});

function address() {
  const [path, parameters] = location.hash.replace(/^#\/?/, "").split("?");
  return [path || "search", parameters ?? ""];
}

function decoded(text) {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return text;
  }
}

function nowhere() {
  return {
    title: "Not found",
    element: html("div", {}, html("h1", { tabindex: "-1" }, "There is nothing at this address"), html("p", {}, html("a", { href: "#/search" }, "Search an index"))),
  };
}
