// The memory: search, list, add.

import { button, field, html, refill, select } from "./dom.js";
import { activity, hitList, searchField } from "./hits.js";
import { languageOptions } from "./languages.js";
import { announce, command, emptyState, note, noteProblem, problemOf } from "./messages.js";
import { aboutScores, scaleOf, scoreBars } from "./pictures.js";
import { instantOf, recordCard } from "./record_parts.js";
import { call, latest } from "./requests.js";
import { hasScope, narrowed, scopeControls } from "./scope.js";
import { counted } from "./texts.js";

const PAUSE = 160;
const PAGE = 20;
const RAW = new Set(["dense", "lexical"]);
const STATES = [
  ["active", "Current"],
  ["archived", "Archived"],
  ["merged", "Merged into others"],
];

/** Make the view of the memory. */
export function memoryView({ page, parameters }) {
  const { permissions } = page;
  if (!permissions.memory) return { title: "Memory", element: noMemory() };
  const input = searchField("Ask what is remembered", parameters.get("q") ?? "", () => searching.soon());
  const list = hitList(input);
  const below = html("div", {});
  const count = html("p", { class: "count-of-hits" });
  const busy = activity();
  const scope = scopeControls(permissions, () => searching.now());
  const asOf = html("input", { type: "datetime-local", onchange: () => searching.now() });
  const state = select(STATES, "active", { onchange: () => searching.now() });
  const language = select(languageOptions(), "", { onchange: () => searching.now() });

  const searching = latest(async (signal) => {
    const query = input.value.trim();
    history.replaceState(null, "", query ? `#/memory?${new URLSearchParams({ q: query })}` : "#/memory");
    if (!hasScope(permissions)) {
      list.replaceChildren();
      count.textContent = "";
      refill(below, emptyState("Whose memory?", html("p", {}, "This token may use the memory of any user. Name one above, for example the user whom an agent works for. What belongs to one user is never found for another.")));
      return;
    }
    busy.begin();
    try {
      if (query) await search(query, signal);
      else await page_(null, signal);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      list.replaceChildren();
      count.textContent = "";
      refill(below, problemOf(error));
    } finally {
      if (!signal.aborted) busy.end();
    }
  }, PAUSE);

  const search = async (query, signal) => {
    const body = { query, k: 10, explain: true, scope: narrowed(permissions) };
    if (asOf.value) body.as_of = instantOf(asOf);
    if (language.value) body.language = language.value;
    const [found] = (await call("POST", "/v1/memories:search", { body, signal })).results;
    const scale = scaleOf(found.hits, termsOf);
    refill(list, found.hits.map((hit) => html("li", {}, recordCard(hit.record, { rank: hit.rank, explanation: hit.explanation, query, actions: actionsOf(hit.record), score: scoreOf(hit, scale) }))));
    const shown = found.hits.length ? counted(found.hits.length, "hit") : "Nothing found";
    count.textContent = `${shown} among ${counted(found.searched, "version")}`;
    announce(`${shown}.`);
    refill(below, found.hits.length ? aboutScores() : emptyState("Nothing was found", html("p", {}, found.reason ?? "No record is near to the question.")));
  };

  const page_ = async (cursor, signal) => {
    const query = { ...narrowed(permissions), limit: PAGE, state: state.value, cursor, as_of: asOf.value ? instantOf(asOf) : null };
    const { memories, next } = await call("GET", "/v1/memories", { query, signal });
    const cards = memories.map((record) => html("li", {}, recordCard(record, { actions: actionsOf(record) })));
    if (cursor) list.append(...cards);
    else refill(list, cards);
    const shown = list.children.length;
    count.textContent = shown ? `${counted(shown, "record")}${next ? ", and more" : ""}, in the order in which they were stored` : "";
    if (!shown) refill(below, state.value === "active" && !asOf.value ? nothingYet(permissions) : emptyState("There are none", html("p", {}, "No record of this scope is in this state at this time.")));
    else refill(below, next && html("p", { class: "more" }, button("Show more", () => page_(next).catch(noteProblem))));
    if (cursor) cards[0]?.querySelector("article").focus();
  };

  const actionsOf = (record) =>
    permissions.role === "read" || record.state !== "active" || asOf.value
      ? []
      : [button("Delete", () => remove(record, permissions, () => searching.now()), { class: "link" })];

  const element = html(
    "div",
    { class: "search-view" },
    html("h1", { class: "unseen", tabindex: "-1" }, "Memory"),
    html(
      "search",
      {},
      html("div", { class: "searching" }, input, busy.line),
      scope.element,
      html(
        "details",
        { class: "filters" },
        html("summary", {}, "Time, state and language"),
        html("div", { class: "controls" }, field("What was true at", asOf, "Empty: what is true now."), field("List", state, "Without a question."), field("Language of the question", language)),
      ),
    ),
    permissions.role === "read"
      ? html("p", { class: "hint" }, "This token may read. To remember or change something, sign in with a token of the role write.")
      : addForm(permissions, () => searching.now()),
    html("section", { "aria-label": "Records" }, count, list, below),
  );
  const focus = hasScope(permissions) ? input : scope.first;
  return { title: "Memory", element, focus, shown: () => searching.now(), leave: () => searching.stop() };
}

function termsOf(hit) {
  const given = Object.entries(hit.scores);
  const terms = given.filter(([name, value]) => !RAW.has(name) && value !== 0);
  return Object.fromEntries(hit.kind === "fused" ? terms : given.filter(([name]) => RAW.has(name)));
}

function scoreOf(hit, scale) {
  const bars = scoreBars({ score: hit.score, kind: hit.kind, terms: termsOf(hit), raw: hit.scores }, scale);
  if (hit.also.length) bars.append(html("p", { class: "raw" }, `stands for ${counted(hit.also.length, "near-duplicate")}`));
  if (hit.yields_to.length) bars.append(html("p", { class: "raw" }, "yields to a hit that contradicts or follows it"));
  return bars;
}

/** Delete a record, and offer to undo it. */
export async function remove(record, permissions, then) {
  try {
    const scope = narrowed(permissions);
    const { operation } = await call("POST", "/v1/memories:delete", { body: { ids: [record.id], scope } });
    note("The record is deleted.", "Undo", () => undo(operation, permissions, then));
    await then();
  } catch (error) {
    noteProblem(error);
  }
}

/** Undo an operation. */
export async function undo(operation, permissions, then) {
  try {
    await call("POST", "/v1/memories:undo", { body: { operation, scope: narrowed(permissions) } });
    note("It is undone.");
    await then();
  } catch (error) {
    noteProblem(error);
  }
}

function addForm(permissions, then) {
  const text = html("textarea", { rows: 3, required: true, dir: "auto" });
  const language = select(languageOptions(), "");
  const when = html("input", { type: "datetime-local" });
  const tags = html("input", { type: "text", dir: "auto", placeholder: "work, travel" });
  const shown = html("div", {});
  const submit = html("button", { type: "submit", class: "main" }, "Remember");
  const form = html(
    "form",
    {
      async onsubmit(event) {
        event.preventDefault();
        submit.disabled = true;
        const body = { text: text.value, scope: narrowed(permissions), tags: tags.value.split(",").map((one) => one.trim()).filter(Boolean) };
        if (language.value) body.language = language.value;
        if (when.value) body.event_time = instantOf(when);
        try {
          const [added] = (await call("POST", "/v1/memories", { body })).results;
          form.reset();
          shown.replaceChildren();
          const said = { added: "It is remembered.", duplicate: "A record says this already; it is stronger now.", related: "It is remembered, and linked to a record that is close to it." };
          note(said[added.verdict], "Undo", () => undo(added.operation, permissions, then));
          await then();
        } catch (error) {
          refill(shown, problemOf(error));
        } finally {
          submit.disabled = false;
        }
      },
    },
    field("Text", text, "In any language; it is kept word for word."),
    html("div", { class: "controls" }, field("Language", language), field("When it took place", when), field("Tags", tags)),
    shown,
    html("div", { class: "actions" }, submit),
  );
  return html("details", { class: "filters adding" }, html("summary", { class: "button" }, "+ Remember something"), form);
}

function nothingYet(permissions) {
  return emptyState(
    "Nothing is remembered yet",
    html("p", {}, permissions.role === "read" ? "As soon as an agent or a person has stored something in this scope, it is shown here." : "Write down something above, in any language. Then ask for it in another one. What you change stays in the history and can be undone; what you erase is gone from the disk, with a proof."),
    html("p", {}, "Agents store what they learn over HTTP or MCP:"),
    command("mlret mcp --help"),
  );
}

function noMemory() {
  return html(
    "div",
    {},
    html("h1", { tabindex: "-1" }, "Memory"),
    emptyState(
      "There is no memory for this token",
      html("p", {}, "Either the server was started without one, or the token is for indexes only. Start the server with a folder for the memory, and make a token that is bound to a user:"),
      command("mlret serve --memory memories"),
      command("mlret tokens add agent --role write --scope user=anna"),
    ),
  );
}
