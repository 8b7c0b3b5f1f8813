// Indexes: what they hold, as pictures, and their documents by pages.

import { button, html, refill, svg } from "./dom.js";
import { languageName } from "./languages.js";
import { command, emptyState, note, noteProblem } from "./messages.js";
import { bars, divided } from "./pictures.js";
import { call } from "./requests.js";
import { bytes, counted, languageBadge, metadataList, number, userText } from "./texts.js";

const PAGE = 20;
// Below this many documents, vectors in the database alone are compared fast enough.
const UNSEALED = 20_000;

/** Make the view of all indexes. */
export async function indexesView({ page }) {
  const { indexes } = await call("GET", "/v1/indexes");
  const body = indexes.length
    ? [
        html("ul", { class: "cards" }, indexes.map((one) => html("li", {}, card(one)))),
        indexes.length > 1 &&
          html(
            "div",
            { class: "pictures" },
            bars("Texts by index", byValue(indexes.map((one) => ({ label: one.name, value: one.documents }))), ["Index", "Texts"]),
            bars("Size on disk by index", byValue(indexes.map((one) => ({ label: one.name, value: one.bytes, shown: bytes(one.bytes) }))), ["Index", "Size"]),
          ),
      ]
    : emptyState("There is no index that this token may use", html("p", {}, "Build one and name it when you start the server:"), command("mlret index build texts.jsonl texts.index"), command("mlret serve texts.index"));
  return { title: "Indexes", element: html("div", {}, html("h1", { tabindex: "-1" }, "Indexes"), body) };
}

function card(index) {
  const languages = Object.keys(index.languages).length;
  return html(
    "article",
    { class: "card" },
    html("h2", {}, html("a", { href: `#/indexes/${index.name}` }, index.name)),
    html("p", { class: "big" }, number(index.documents), html("span", {}, index.documents === 1 ? " text" : " texts")),
    mosaic(index.languages),
    html("p", {}, `${counted(languages, "language")} · ${bytes(index.bytes)}`),
    html("p", { class: "small" }, verdict(index).title),
  );
}

/** Make a line that is divided by the numbers of texts of each language; the view of the index has the numbers. */
function mosaic(languages) {
  const counts = Object.values(languages).sort((one, other) => other - one);
  const total = counts.reduce((sum, one) => sum + one, 0);
  let at = 0;
  return svg(
    "svg",
    { class: "bar mosaic", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "rail", width: 100, height: 10 }),
    counts.map((count, place) => {
      const width = (100 * count) / total;
      at += width;
      return svg("rect", { class: `tone-${"abcde"[place % 5]}`, x: at - width, width: Math.max(width - 0.4, 0.2), height: 10 });
    }),
  );
}

/** Make the view of an index. */
export async function indexView({ page, name }) {
  const index = await call("GET", `/v1/indexes/${encodeURIComponent(name)}`);
  const element = html("div", { class: "index-view" });
  draw(element, index, page.permissions);
  return { title: index.name, element };
}

function draw(element, index, permissions) {
  const health = verdict(index);
  const languages = byValue(Object.entries(index.languages).map(([code, value]) => ({ label: languageName(code), value })));
  const compact = permissions.role === "admin" && !health.good && button("Compact now", async () => {
    compact.disabled = true;
    compact.textContent = "Compacting …";
    try {
      const after = await call("POST", `/v1/indexes/${index.name}:compact`);
      note("The index is compacted.");
      draw(element, after, permissions);
    } catch (error) {
      noteProblem(error);
      compact.disabled = false;
      compact.textContent = "Compact now";
    }
  });
  refill(
    element,
    html("p", { class: "back" }, html("a", { href: "#/indexes" }, "← Indexes")),
    html("h1", { tabindex: "-1" }, index.name),
    html("p", { class: "lead" }, `${counted(index.documents, "text")} in ${counted(Object.keys(index.languages).length, "language")}, ${bytes(index.bytes)} on disk. `, html("a", { href: `#/search?index=${index.name}` }, "Search it")),
    html(
      "div",
      { class: "pictures" },
      html("section", { "aria-label": "Languages" }, languages.length ? bars("Texts by language", languages, ["Language", "Texts"]) : emptyState("No texts yet")),
      html(
        "section",
        { "aria-label": "Health and size" },
        html("div", { class: `health ${health.good ? "good" : "fair"}` }, html("h2", {}, health.title), html("p", {}, health.text), compact),
        divided("Where the vectors are", parts(index), ["Place", "Texts"]),
        divided("Size on disk", sizes(index), ["Part", "Size"]),
      ),
    ),
    html(
      "details",
      { class: "behind" },
      html("summary", {}, "Encoder and settings"),
      html(
        "dl",
        { class: "facts" },
        [
          ["Encoder", html("code", {}, index.encoder)],
          ["Fingerprint", html("code", {}, index.fingerprint)],
          ["Dimensions", number(index.dims)],
          ["Similarity", index.similarity],
          ["Search by words", index.lexical ? "yes" : "no"],
          index.why.length > 0 && ["Kind of the segments", index.why.join(" ")],
          index.probing && ["Probing", index.probing],
          ["Can be deleted by a request", index.removable ? "yes" : "no"],
        ]
          .filter(Boolean)
          .map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))),
      ),
    ),
    documents(index),
  );
}

function verdict(index) {
  const rows = index.documents + index.deleted;
  if (!index.documents && !rows) return { good: true, title: "Empty", text: "Add texts, and they are found at once." };
  if (index.deleted > rows / 5)
    return { good: false, title: "Compaction is worth its time", text: `${counted(index.deleted, "deleted row")} of ${number(rows)} still take space and time.` };
  if (index.unsealed > UNSEALED)
    return { good: false, title: "Compaction is worth its time", text: `${counted(index.unsealed, "passage")} are in no segment yet and are compared one by one.` };
  return { good: true, title: "In good order", text: "Searches are fast, and little space is wasted." };
}

function parts(index) {
  const kinds = Object.entries(index.kinds).map(([kind, value], place) => ({ name: `segments (${kind})`, value, tone: "acd"[place % 3] }));
  return [
    ...kinds,
    { name: "not in a segment yet", value: index.unsealed, tone: "b" },
    { name: "deleted", value: index.deleted, tone: "f" },
  ].filter((one, place) => one.value > 0 || place === 0);
}

function sizes(index) {
  const names = { records: "texts, metadata, words, new vectors", vectors: "segments of vectors", other: "other" };
  return Object.entries(index.parts).filter(([, value]) => value > 0).map(([part, value], place) => ({ name: names[part] ?? part, value, shown: bytes(value), tone: "abcf"[place % 4] }));
}

function byValue(rows) {
  return rows.sort((one, other) => other.value - one.value || String(one.label).localeCompare(other.label));
}

function documents(index) {
  const list = html("ul", { class: "documents" });
  const cursors = [null];
  const place = html("p", { class: "small", role: "status" });
  const title = html("h2", { id: "documents", tabindex: "-1" }, "Texts");
  const show = async (number_, focus = true) => {
    try {
      const { documents: some, next } = await call("GET", `/v1/indexes/${index.name}/documents`, { query: { limit: PAGE, cursor: cursors[number_] } });
      cursors.length = number_ + 1;
      if (next) cursors.push(next);
      refill(list, some.map((one) => html("li", {}, documentOf(one))));
      place.textContent = some.length ? `Page ${number_ + 1}` : "";
      back.disabled = number_ === 0;
      on.disabled = !next;
      back.onclick = () => show(number_ - 1);
      on.onclick = () => show(number_ + 1);
      pager.hidden = !next && number_ === 0;
      if (!some.length) refill(list, html("li", {}, emptyState("No texts yet", html("p", {}, "Add a file with a JSON object in each line:"), command(`mlret index add ${index.name} texts.jsonl`))));
      if (focus) title.focus();
    } catch (error) {
      noteProblem(error);
    }
  };
  const back = html("button", { type: "button", disabled: true }, "Before");
  const on = html("button", { type: "button", disabled: true }, "Next");
  const pager = html("nav", { class: "pager", "aria-label": "Pages of texts" }, back, place, on);
  show(0, false);
  return html("section", { "aria-labelledby": "documents" }, title, list, pager);
}

function documentOf(document) {
  const long = Array.from(document.text).length > 400;
  const text = userText(document.text, document.lang, { name: long ? "text clamped" : "text" });
  const toggle = long && button("Show all", () => {
    const clamped = text.classList.toggle("clamped");
    toggle.textContent = clamped ? "Show all" : "Show less";
    toggle.setAttribute("aria-expanded", String(!clamped));
  }, { class: "link", "aria-expanded": "false" });
  return html("article", { class: "document" }, html("div", { class: "hit-head" }, languageBadge(document.lang), html("span", { class: "id", dir: "auto" }, document.id)), text, toggle, metadataList(document.metadata));
}
