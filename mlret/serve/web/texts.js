// Texts of users: in any language and direction, with the parts that match marked.

import { button, html } from "./dom.js";
import { isLanguage, isRightToLeft, languageName, ownName } from "./languages.js";

const LONG = 700; // Characters above which the part around the best passage is shown first.
const AROUND = 220;
const SHORT_WORD = /^[\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}]{1,3}$/u;

/** Make a paragraph of a user's text: the browser finds its direction; its language chooses font and line breaks. */
export function userText(text, language, { tag = "p", name = "text" } = {}) {
  return html(tag, { class: name, dir: "auto", lang: languageTag(language) }, text);
}

function languageTag(language) {
  return isLanguage(language) ? language : "";
}

/**
 * Make the text of a hit: words that match are marked, and the nearest passage stands out. A long text is cut to what
 * is around that passage, with a button for the whole of it. Positions are in code points.
 */
export function markedText(text, language, explanation, query = "") {
  const points = Array.from(text);
  const passage = explanation?.passage ?? null;
  const wordy = query.trim().split(/\s+/).length > 3;
  // In a whole sentence of a query, words such as "the" match nearly everywhere and say nothing.
  const marks = (explanation?.marks ?? []).filter(
    (one) => !(wordy && SHORT_WORD.test(points.slice(one.start, one.end).join(""))),
  );
  const element = html("p", { class: "text", dir: "auto", lang: languageTag(language) });
  const show = (from, to) => element.replaceChildren(...pieces(points, from, to, marks, passage));
  if (points.length <= LONG) {
    show(0, points.length);
    return element;
  }
  const centre = passage ?? marks[0] ?? { start: 0, end: 0 };
  const from = wordStart(points, Math.max(0, centre.start - AROUND));
  const to = wordStart(points, Math.min(points.length, Math.max(centre.end + AROUND, from + 3 * AROUND)));
  show(from, to);
  let whole = false;
  const toggle = button(
    "Show the whole text",
    () => {
      whole = !whole;
      show(...(whole ? [0, points.length] : [from, to]));
      toggle.textContent = whole ? "Show less" : "Show the whole text";
      toggle.setAttribute("aria-expanded", String(whole));
    },
    { class: "plain small", "aria-expanded": "false" },
  );
  return html("div", {}, element, toggle);
}

/** Return the nearest place at or before a position, not far away, where a word begins. */
function wordStart(points, place) {
  for (let at = place; at > Math.max(0, place - 30); at -= 1) if (/\s/.test(points[at - 1] ?? " ")) return at;
  return place;
}

function pieces(points, from, to, marks, passage) {
  const cuts = new Set([from, to]);
  for (const one of passage ? [...marks, passage] : marks) {
    for (const place of [one.start, one.end]) if (place > from && place < to) cuts.add(place);
  }
  const places = [...cuts].sort((one, other) => one - other);
  const within = (range, start) => range.start <= start && start < range.end;
  const made = [];
  let near = null;
  for (let place = 0; place + 1 < places.length; place += 1) {
    const [start, end] = [places[place], places[place + 1]];
    const piece = points.slice(start, end).join("");
    const node = marks.some((one) => within(one, start)) ? html("mark", {}, piece) : document.createTextNode(piece);
    if (passage && within(passage, start)) {
      if (!near) made.push((near = html("span", { class: "passage" })));
      near.append(node);
    } else {
      near = null;
      made.push(node);
    }
  }
  if (from > 0) made.unshift("… ");
  if (to < points.length) made.push(" …");
  return made;
}

/** Make a badge of a language: its name, what it calls itself, and the direction of writing. */
export function languageBadge(code) {
  const own = isLanguage(code) ? ownName(code) : null;
  const leftwards = isRightToLeft(code);
  return html(
    "span",
    { class: "badge language" },
    html("span", {}, languageName(code)),
    own && html("span", { class: "own", lang: code, dir: "auto" }, own),
    isLanguage(code) &&
      html("span", { class: "direction", title: leftwards ? "Written from right to left" : "Written from left to right" },
        html("span", { "aria-hidden": "true" }, leftwards ? "←" : "→"),
        html("span", { class: "unseen" }, leftwards ? "written from right to left" : "written from left to right"),
      ),
  );
}

const instants = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** Make a time as the reader's browser writes it. */
export function time(iso, { day = false } = {}) {
  return html("time", { datetime: iso, title: iso }, (day ? days : instants).format(new Date(iso)));
}

/** Return a number with separators of thousands. */
export function number(value) {
  return new Intl.NumberFormat("en").format(value);
}

/** Return a number of bytes in a unit that suits it. */
export function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let left = value;
  while (left >= 1000 && unit < units.length - 1) {
    left /= 1000;
    unit += 1;
  }
  return `${unit ? left.toPrecision(3) : left} ${units[unit]}`;
}

/** Return a noun with its number. */
export function counted(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** Make the metadata of a document as a list of names and values. */
export function metadataList(metadata) {
  const given = Object.entries(metadata ?? {});
  if (!given.length) return null;
  return html(
    "dl",
    { class: "metadata" },
    given.map(([name, value]) =>
      html(
        "div",
        {},
        html("dt", { dir: "auto" }, name),
        html("dd", { dir: "auto" }, typeof value === "string" ? value : JSON.stringify(value)),
      ),
    ),
  );
}
