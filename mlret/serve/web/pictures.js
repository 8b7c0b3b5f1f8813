// Pictures of numbers, as SVG. Behind each is a table with the same numbers.

import { html, svg } from "./dom.js";
import { number } from "./texts.js";

/** Make a table; the first cell of each row is its header. */
export function table(headings, rows, caption = null) {
  return html(
    "div",
    { class: "scrolled", tabindex: "0", role: "group", "aria-label": caption ?? headings.join(", ") },
    html(
      "table",
      {},
      caption && html("caption", {}, caption),
      html("thead", {}, html("tr", {}, headings.map((one) => html("th", { scope: "col" }, one)))),
      html(
        "tbody",
        {},
        rows.map(([first, ...others]) =>
          html("tr", {}, html("th", { scope: "row" }, first), others.map((one) => html("td", {}, one))),
        ),
      ),
    ),
  );
}

function figure(title, picture, headings, rows) {
  return html(
    "figure",
    {},
    html("figcaption", {}, title),
    picture,
    html("details", { class: "behind" }, html("summary", {}, "As a table"), table(headings, rows, title)),
  );
}

/** Make horizontal bars. A row has a `label` (text or element), a `value`, and perhaps a `shown` form of it. */
export function bars(title, rows, [name, unit], most = 24) {
  const largest = Math.max(...rows.map((row) => row.value), 1);
  const picture = html(
    "div",
    { class: "bars", "aria-hidden": "true" },
    rows.slice(0, most).map((row) => [
      html("span", { class: "bar-label" }, row.label),
      svg(
        "svg",
        { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none" },
        svg("rect", { class: "rail", width: 100, height: 10 }),
        svg("rect", { class: "amount", width: Math.max((100 * row.value) / largest, 0.4), height: 10 }),
      ),
      html("span", { class: "bar-value" }, row.shown ?? number(row.value)),
    ]),
    rows.length > most && html("span", { class: "bar-label small" }, `and ${rows.length - most} more`),
  );
  const cells = rows.map((row) => [row.name ?? row.label, row.shown ?? number(row.value)]);
  return figure(title, picture, [name, unit], cells);
}

/** Make one bar that is divided into parts. A part has a `name`, a `value` and a `tone`, which chooses its colour. */
export function divided(title, parts, [name, unit]) {
  const total = parts.reduce((sum, part) => sum + part.value, 0);
  let at = 0;
  const rects = parts
    .filter((part) => part.value > 0)
    .map((part) => {
      const width = (100 * part.value) / total;
      const rect = svg("rect", { class: `tone-${part.tone}`, x: at, width, height: 10 });
      at += width;
      return rect;
    });
  const picture = html(
    "div",
    { class: "divided", "aria-hidden": "true" },
    svg(
      "svg",
      { class: "bar wide", viewBox: "0 0 100 10", preserveAspectRatio: "none" },
      svg("rect", { class: "rail", width: 100, height: 10 }),
      rects,
    ),
    html(
      "div",
      { class: "legend" },
      parts.map((part) =>
        html(
          "span",
          {},
          svg("svg", { viewBox: "0 0 10 10" }, svg("rect", { class: `tone-${part.tone}`, width: 10, height: 10, rx: 2 })),
          `${part.name} ${part.shown ?? number(part.value)}`,
        ),
      ),
    ),
  );
  return figure(title, picture, [name, unit], parts.map((part) => [part.name, part.shown ?? number(part.value)]));
}

/** Make the line of time of versions: when each was valid. A version has `from`, `to` (or null), `name`. */
export function validity(title, versions) {
  const now = Date.now();
  const spans = versions.map((one) => ({
    ...one,
    start: Date.parse(one.from),
    end: one.to ? Date.parse(one.to) : Math.max(now, Date.parse(one.from)),
  }));
  const first = Math.min(...spans.map((one) => one.start));
  const last = Math.max(...spans.map((one) => one.end), now);
  const at = (value) => (100 * (value - first)) / Math.max(last - first, 1);
  const day = (value) => new Intl.DateTimeFormat(undefined, { dateStyle: "medium" }).format(value);
  const picture = html(
    "div",
    { class: "validity", "aria-hidden": "true" },
    spans.map((one, place) => [
      html("span", { class: "bar-label" }, one.name),
      svg(
        "svg",
        { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none" },
        svg("rect", { class: "rail", width: 100, height: 10 }),
        svg("rect", {
          class: one.to ? "amount past" : "amount",
          x: Math.min(at(one.start), 99),
          width: Math.max(at(one.end) - at(one.start), 1),
          height: 10,
        }),
      ),
      place === spans.length - 1 && html("span", { class: "axis" }, html("span", {}, day(first)), html("span", {}, "now")),
    ]),
  );
  const cells = versions.map((one) => [one.name, day(Date.parse(one.from)), one.to ? day(Date.parse(one.to)) : "still valid"]);
  return figure(title, picture, ["Version", "Valid from", "Until"], cells);
}

const TERMS = {
  dense: "meaning",
  lexical: "words",
  contiguity: "neighbours",
  links: "links",
  dates: "dates",
  decay: "age",
};
const TONES = { meaning: "a", words: "b", neighbours: "c", links: "d", dates: "e", age: "f" };

/** Return what the page calls a term of a score. */
export function termName(name) {
  return TERMS[name] ?? name;
}

/** Return the largest amount among the terms of hits, which all their bars are drawn to scale with. */
export function scaleOf(hits, termsOf) {
  const amounts = hits.flatMap((hit) => Object.values(termsOf(hit)).map(Math.abs));
  return { most: Math.max(...amounts, 1e-9), negative: hits.some((hit) => Object.values(termsOf(hit)).some((one) => one < 0)) };
}

/**
 * Make the bars of a score: one for each term, to the scale of all hits, with what it was made from.
 * `raw` are the scores of the channels before they were brought to a common scale.
 */
export function scoreBars({ score, kind, terms, raw }, scale) {
  const zero = scale.negative ? 35 : 0;
  const unit = (100 - zero) / scale.most;
  const rows = Object.entries(terms).map(([name, value]) => {
    const label = termName(name);
    const width = Math.max(Math.abs(value) * unit, 0.8);
    const x = value < 0 ? Math.max(zero - width, 0) : zero;
    return html(
      "div",
      { class: "term" },
      html("dt", {}, label),
      html(
        "dd",
        {},
        svg(
          "svg",
          { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
          svg("rect", { class: "rail", width: 100, height: 10 }),
          svg("rect", { class: `tone-${TONES[label] ?? "f"}`, x, width: Math.min(width, 100 - x), height: 10 }),
          scale.negative && svg("rect", { class: "zero", x: zero - 0.3, width: 0.6, height: 10 }),
        ),
        html("span", { class: "bar-value" }, kind === "fused" ? signed(value) : value.toFixed(3)),
      ),
    );
  });
  const made = [
    raw.dense !== undefined && `cosine ${raw.dense.toFixed(3)}`,
    raw.lexical !== undefined && `BM25 ${raw.lexical.toFixed(2)}`,
  ].filter(Boolean);
  return html(
    "div",
    { class: "score" },
    html("p", { class: "total" }, html("span", { class: "unseen" }, "Score "), score.toFixed(3)),
    rows.length > 0 && html("dl", {}, rows),
    made.length > 0 && html("p", { class: "raw" }, made.join(" · ")),
  );
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

/** Make the explanation of the bars of scores. */
export function aboutScores() {
  return html(
    "details",
    { class: "behind" },
    html("summary", {}, "What the bars mean"),
    html(
      "p",
      {},
      "Each channel judges a text on a scale of its own: nearness in meaning is a cosine, shared words are counted by BM25. ",
      "The bars show both on one scale: how far the text lies above (or below) the average candidate of this query, in ",
      "standard deviations. Their sum, brought to a value between 0 and 1, is the score. Compare scores within one query; ",
      "to compare across queries, look at the cosine.",
    ),
    html(
      "p",
      {},
      "A channel that cannot judge a text is left out: words say nothing about a text in another language than the query's.",
    ),
  );
}
