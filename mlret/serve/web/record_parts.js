// Parts of records of the memory that several views show.

import { html } from "./dom.js";
import { languageBadge, markedText, time } from "./texts.js";

const STATES = { active: "current", superseded: "superseded", archived: "archived", deleted: "deleted", merged: "merged" };

/** Return the address of the view of a record. */
export function recordAddress(id) {
  return `#/memory/${encodeURIComponent(id)}`;
}

/** Make a badge of the state of a record. */
export function stateBadge(state) {
  return html("span", { class: `badge state-${state}` }, STATES[state] ?? state);
}

/** Make a card of a record, with a link to its history. `below` is shown after its text. */
export function recordCard(record, { rank = null, explanation = null, query = "", actions = [], score = null } = {}) {
  return html(
    "article",
    { tabindex: "-1", class: score ? "hit" : "hit single", "aria-label": rank ? `Hit ${rank}` : "Record" },
    html(
      "div",
      { class: "hit-head" },
      rank && html("span", { class: "rank", "aria-hidden": "true" }, rank),
      languageBadge(record.language),
      record.state !== "active" && stateBadge(record.state),
      record.kind === "derived" && html("span", { class: "badge" }, "derived"),
      record.level !== "turn" && html("span", { class: "badge" }, record.level),
      record.tags.map((tag) => html("span", { class: "tag", dir: "auto" }, tag)),
    ),
    html("div", { class: "hit-body" }, markedText(record.text, record.language, explanation, query), whenOf(record), html("p", { class: "card-actions" }, html("a", { href: recordAddress(record.id) }, "History"), actions)),
    score,
  );
}

/** Make the line that says when something took place and since when it is true. */
export function whenOf(record) {
  const event = record.event_time;
  return html(
    "p",
    { class: "when" },
    event && ["Took place ", time(event[0]), event[1] !== event[0] && [" to ", time(event[1])], " · "],
    "true from ",
    time(record.valid_from, { day: true }),
    record.valid_to && [" to ", time(record.valid_to, { day: true })],
    Object.keys(record.scope).length > 0 && [" · ", html("span", { dir: "auto" }, Object.values(record.scope).join(" / "))],
  );
}

/** Return an instant of a control for date and time in the form that the server takes, or null. */
export function instantOf(input) {
  return input.value ? new Date(input.value).toISOString() : null;
}
