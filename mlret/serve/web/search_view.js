// Searching an index as one types.

import { button, field, html, refill, select } from "./dom.js";
import { filterControls } from "./filters.js";
import { activity, hitList, searchField } from "./hits.js";
import { isLanguage, languageOptions } from "./languages.js";
import { announce, command, emptyState, problemOf } from "./messages.js";
import { aboutScores, scaleOf, scoreBars } from "./pictures.js";
import { call, latest } from "./requests.js";
import { counted, languageBadge, markedText, metadataList, userText } from "./texts.js";

const PAUSE = 160; // Milliseconds without a key before a search is sent.
const FIRST_HITS = 10;
const MODES = [
  ["hybrid", "Meaning and words"],
  ["dense", "Meaning"],
  ["lexical", "Words"],
];

/** Make the view. What is asked is part of the address, so that it can be opened again. */
export async function searchView({ page, parameters }) {
  const { indexes } = await call("GET", "/v1/indexes");
  if (!indexes.length) return { title: "Search", element: nothingToSearch(page.permissions) };
  const largest = indexes.reduce((one, other) => (other.documents > one.documents ? other : one));
  const index = indexes.find((one) => one.name === parameters.get("index")) ?? largest;
  const { fields } = await call("GET", `/v1/indexes/${index.name}/fields`);
  return view(indexes, index, fields, parameters);
}

function view(indexes, index, fields, parameters) {
  const input = searchField("Ask in any language", parameters.get("q") ?? "", () => searching.soon());
  const list = hitList(input);
  const below = html("div", {});
  const count = html("p", { class: "count-of-hits" });
  const busy = activity();
  let most = FIRST_HITS;
  const again = () => {
    most = FIRST_HITS;
    searching.now();
  };
  const which = select(
    indexes.map((one) => [one.name, `${one.name} (${counted(one.documents, "text")})`]),
    index.name,
    { onchange: () => (location.hash = `#/search?${new URLSearchParams({ index: which.value, q: input.value })}`) },
  );
  const language = select(languageOptions(Object.keys(index.languages)), parameters.get("language") ?? "", { onchange: again });
  const modes = index.lexical ? MODES : [MODES[1]];
  const mode = select(modes, parameters.get("mode") ?? modes[0][0], { onchange: again });
  const filters = filterControls(index.languages, fields, readFilters(parameters), () => searching.soon());

  const searching = latest(async (signal) => {
    const query = input.value.trim();
    keepAddress({ index: index.name, q: query, language: language.value, mode: index.lexical && mode.value !== "hybrid" ? mode.value : "", filters: writeFilters(filters.chosen()) });
    if (!query) {
      list.replaceChildren();
      count.textContent = "";
      busy.end();
      refill(below, await examples(index, input, searching, signal));
      return;
    }
    busy.begin();
    const began = performance.now();
    const body = { query, k: most, explain: true, mode: mode.value, where: filters.where() };
    if (language.value) body.language = language.value;
    try {
      const answer = await call("POST", `/v1/indexes/${index.name}:search`, { body, signal });
      const { hits } = answer.results[0];
      show(list, hits, query);
      refill(below, answer.warnings.map((one) => html("p", { class: "warning" }, one)), after(hits));
      const found = hits.length ? counted(hits.length, "hit") : "Nothing found";
      count.textContent = `${found} in ${Math.round(performance.now() - began)} ms`;
      announce(hits.length ? `${found}.` : "Nothing found.");
    } catch (error) {
      if (error.name === "AbortError") throw error;
      list.replaceChildren();
      count.textContent = "";
      refill(below, problemOf(error));
    } finally {
      if (!signal.aborted) busy.end();
    }
  }, PAUSE);

  const after = (hits) => {
    if (!hits.length)
      return emptyState("Nothing was found", html("p", {}, filters.where() ? "No text passes the filters. Remove one of them." : mode.value === "lexical" ? "No text shares a word with the query. Search by meaning, which also finds other words and other languages." : "The index holds no text yet."));
    const more = hits.length === most && most < 100 && button("Show more", () => {
      most += FIRST_HITS * 2;
      searching.now();
    });
    return [more && html("p", { class: "more" }, more), aboutScores()];
  };

  const element = html(
    "div",
    { class: "search-view" },
    html("h1", { class: "unseen", tabindex: "-1" }, "Search"),
    html(
      "search",
      {},
      html("div", { class: "searching" }, input, busy.line),
      html("div", { class: "controls" }, field("Index", which), field("Language of the query", language), field("Search by", mode)),
      filters.element,
    ),
    html("section", { "aria-label": "Results" }, count, list, below),
  );
  return { title: "Search", element, focus: input, shown: () => searching.now(), leave: () => searching.stop() };
}

function show(list, hits, query) {
  const termsOf = (hit) => hit.explanation.terms;
  const scale = scaleOf(hits, termsOf);
  refill(list, hits.map((hit) => html("li", {}, hitOf(hit, query, scale))));
}

function hitOf(hit, query, scale) {
  return html(
    "article",
    { tabindex: "-1", class: "hit", "aria-label": `Hit ${hit.rank}: ${hit.id}` },
    html(
      "div",
      { class: "hit-head" },
      html("span", { class: "rank", "aria-hidden": "true" }, hit.rank),
      languageBadge(hit.lang),
      html("span", { class: "id", dir: "auto" }, hit.id),
    ),
    html("div", { class: "hit-body" }, markedText(hit.text, hit.lang, hit.explanation, query), metadataList(hit.metadata)),
    scoreBars({ score: hit.score, kind: hit.kind, terms: hit.explanation.terms, raw: hit.scores }, scale),
  );
}

/** Show what one can do with the index before anything is typed: a text of each of several languages to start from. */
async function examples(index, input, searching, signal) {
  if (!index.documents)
    return emptyState(
      "The index is empty",
      html("p", {}, "Add texts in any languages, one JSON object in each line:"),
      command(`mlret index add ${index.name} texts.jsonl`),
    );
  const codes = Object.entries(index.languages)
    .filter(([code]) => isLanguage(code))
    .sort((one, other) => other[1] - one[1])
    .slice(0, 6)
    .map(([code]) => code);
  const { documents } = await call("GET", `/v1/indexes/${index.name}/documents`, { query: { limit: 200 }, signal });
  const found = codes.map((code) => documents.filter((one) => one.lang === code)).filter((some) => some.length);
  const some = found.map((texts, place) => texts[place % texts.length]);
  const languages = Object.keys(index.languages).filter(isLanguage).length;
  return emptyState(
    "Ask in one language, find in all",
    html("p", {}, `${counted(index.documents, "text")} in ${counted(languages, "language")} are compared with your question by meaning, whatever language it is in.`),
    some.length > 0 && html("p", {}, "Or start from the beginning of a text:"),
    html(
      "ul",
      { class: "examples" },
      some.map((one) => {
        const beginning = sentenceOf(one.text);
        const example = button(userText(beginning, one.lang, { tag: "span" }), () => {
          input.value = beginning;
          input.focus();
          searching.now();
        }, { class: "example" });
        return html("li", {}, example);
      }),
    ),
  );
}

function sentenceOf(text) {
  const first = /^.+?[.!?…。！？।؟](?=\s|$|[^\s])/su.exec(text)?.[0] ?? text;
  const points = Array.from(first);
  return points.length > 110 ? `${points.slice(0, 110).join("")}…` : first;
}

function nothingToSearch(permissions) {
  return html(
    "div",
    {},
    html("h1", { tabindex: "-1" }, "Search"),
    permissions.indexes?.length === 0
      ? emptyState("This token is for the memory", html("p", {}, "It may use no index. ", html("a", { href: "#/memory" }, "Go to the memory"), ", or sign in with a token for an index."))
      : emptyState(
          "There is no index yet",
          html("p", {}, "Build one from a file with a text in each line, in any languages, and name it when you start the server:"),
          command("mlret index build texts.jsonl texts.index"),
          command("mlret serve texts.index"),
        ),
  );
}

function keepAddress(given) {
  const known = Object.entries(given).filter(([, value]) => value);
  history.replaceState(null, "", `#/search?${new URLSearchParams(known)}`);
}

function writeFilters(chosen) {
  return chosen.languages.length || chosen.conditions.length ? JSON.stringify(chosen) : "";
}

function readFilters(parameters) {
  try {
    const { languages, conditions } = JSON.parse(parameters.get("filters") ?? "{}");
    return { languages: [languages ?? []].flat().map(String), conditions: Array.isArray(conditions) ? conditions.filter((one) => Array.isArray(one) && one.length === 3) : [] };
  } catch {
    return {};
  }
}
