// One record of the memory: its text, its line of time, its history; change, delete, erase.

import { button, field, html, refill, select } from "./dom.js";
import { eraseDialog, proofView } from "./erasure.js";
import { languageOptions, languageName } from "./languages.js";
import { note, noteProblem, problemOf } from "./messages.js";
import { remove, undo } from "./memory_view.js";
import { validity } from "./pictures.js";
import { instantOf, recordAddress, stateBadge, whenOf } from "./record_parts.js";
import { call } from "./requests.js";
import { narrowed } from "./scope.js";
import { languageBadge, time, userText } from "./texts.js";

const VERBS = {
  add: "Remembered",
  update: "Changed",
  link: "Linked",
  merge: "Merged",
  forget: "Archived",
  delete: "Deleted",
  erase: "Erased",
  restore: "Restored",
  undo: "Undone",
  import: "Imported",
  feedback: "Reported as useful",
};
// What a version's changes say anyway, or what nobody needs to know.
const IMPLIED = /^(version \d+, valid from|the current version is another|an earlier version is valid until)/;

/** Make the view of a record. */
export async function recordView({ page, name: id }) {
  const { permissions } = page;
  const element = html("div", { class: "record-view" });
  const draw = async () => {
    const found = await call("GET", `/v1/memories/${encodeURIComponent(id)}/history`, { query: narrowed(permissions) });
    refill(element, content(id, found, permissions, draw, (proof) => refill(element, proofView(proof, id))));
  };
  await draw();
  return { title: "Record", element };
}

function content(id, { operations, versions }, permissions, draw, erased) {
  const record = currentOf(versions);
  const again = () => draw().catch(noteProblem);
  return [
    html("h1", { tabindex: "-1", class: "unseen" }, "Record"),
    html("p", { class: "back" }, html("a", { href: "#/memory" }, "← Memory")),
    html(
      "div",
      { class: "hit-head" },
      languageBadge(record.language),
      stateBadge(record.state),
      record.kind === "derived" && html("span", { class: "badge" }, "derived"),
      record.level !== "turn" && html("span", { class: "badge" }, record.level),
      record.tags.map((tag) => html("span", { class: "tag", dir: "auto" }, tag)),
    ),
    userText(record.text, record.language, { name: "text large" }),
    whenOf(record),
    actions(record, permissions, again, erased),
    facts(record),
    html(
      "section",
      { "aria-labelledby": "validity" },
      html("h2", { id: "validity" }, "When it was true"),
      validity("Versions of the record and when they were valid", versions.map((one) => ({ name: `Version ${one.version}`, from: one.valid_from, to: one.valid_to }))),
    ),
    html("section", { "aria-labelledby": "history" }, html("h2", { id: "history" }, "What happened to it"), historyOf(operations, versions, permissions, again)),
  ];
}

/** Return the version that counts: after a change was undone it is not the last one. */
function currentOf(versions) {
  const candidates = versions.filter((one) => one.state !== "superseded");
  return candidates.findLast((one) => !one.valid_to) ?? candidates.at(-1) ?? versions.at(-1);
}

function actions(record, permissions, again, erased) {
  if (permissions.role === "read")
    return html("p", { class: "hint" }, "This token may read. To change the record, sign in with a token of the role write.");
  const below = html("div", {});
  const active = record.state === "active";
  const edit = active && button("Change", () => {
    const open = edit.getAttribute("aria-expanded") === "true";
    edit.setAttribute("aria-expanded", String(!open));
    if (open) return below.replaceChildren();
    refill(below, changeForm(record, permissions, again));
    below.querySelector("textarea").focus();
  }, { "aria-expanded": "false" });
  const restore = !active && button("Restore", async () => {
    try {
      const { operation } = await call("POST", "/v1/memories:restore", { body: { ids: [record.id], scope: narrowed(permissions) } });
      note("The record is current again.", "Undo", () => undo(operation, permissions, again));
      await again();
    } catch (error) {
      noteProblem(error);
    }
  });
  const erase = button("Erase …", () => eraseDialog(record, permissions, erased), {
    class: "danger",
    disabled: !permissions.erase,
    "aria-describedby": permissions.erase ? null : "no-erase",
  });
  return html(
    "div",
    {},
    html("div", { class: "actions start" }, edit, restore, active && button("Delete", () => remove(record, permissions, again)), erase),
    !permissions.erase && html("p", { class: "hint", id: "no-erase" }, "To erase, the token must be bound to a user, or have the role admin."),
    below,
  );
}

function changeForm(record, permissions, again) {
  const text = html("textarea", { rows: 4, required: true, dir: "auto", lang: record.language ?? "" }, record.text);
  const language = select(
    [...(record.language ? [[record.language, languageName(record.language)]] : []), ...languageOptions()],
    record.language ?? "",
  );
  const from = html("input", { type: "datetime-local" });
  const shown = html("div", {});
  const form = html(
    "form",
    {
      class: "panel",
      async onsubmit(event) {
        event.preventDefault();
        const body = { text: text.value, scope: narrowed(permissions) };
        if (language.value) body.language = language.value;
        if (from.value) body.valid_from = instantOf(from);
        try {
          const { operation } = await call("PATCH", `/v1/memories/${encodeURIComponent(record.id)}`, { body });
          note("There is a new version. The earlier one stays in the history.", "Undo", () => undo(operation, permissions, again));
          await again();
        } catch (error) {
          refill(shown, problemOf(error));
        }
      },
    },
    field("New text", text, "The text as it is now is kept as an earlier version."),
    html("div", { class: "controls" }, field("Language", language), field("True from", from, "Empty: from now on.")),
    shown,
    html("div", { class: "actions" }, html("button", { type: "submit", class: "main" }, "Save a new version")),
  );
  return form;
}

function facts(record) {
  const source = record.source && [record.source.uri, record.source.role, record.source.trust !== null && `trust ${record.source.trust}`].filter(Boolean).join(", ");
  const given = [
    ["Stored", time(record.recorded_at)],
    record.session && ["Session", html("span", { dir: "auto" }, `${record.session}, ${record.seq + 1}.`)],
    source && ["Source", html("span", { dir: "auto" }, source)],
    record.expires_at && ["Ends", time(record.expires_at)],
    record.importance !== null && ["Importance", record.importance],
    record.strength > 1 && ["Said", `${record.strength} times`],
    record.accesses > 0 && ["Used", `${record.accesses} times`],
    record.merged_into && ["Merged into", html("a", { href: recordAddress(record.merged_into) }, record.merged_into)],
    record.links.length > 0 && ["Links", record.links.map((one, place) => [place > 0 && ", ", `${one.type.replace("_", " ")} `, html("a", { href: recordAddress(one.target), class: "id" }, one.target)])],
    ...Object.entries(record.metadata).map(([name, value]) => [name, html("span", { dir: "auto" }, typeof value === "string" ? value : JSON.stringify(value))]),
    ["Id", html("code", {}, record.id)],
  ].filter(Boolean);
  return html("dl", { class: "facts" }, given.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
}

function historyOf(operations, versions, permissions, again) {
  const events = operations.map((one) => {
    const version = versions.find((other) => one.changes.some((change) => change.startsWith(`version ${other.version},`)));
    const changes = one.changes.filter((change) => !IMPLIED.test(change));
    const undoable = permissions.role !== "read" && one.verb !== "erase";
    return html(
      "li",
      { class: `event verb-${one.verb}` },
      html("p", { class: "event-head" }, html("b", {}, VERBS[one.verb] ?? one.verb), " ", time(one.at), html("span", { class: "small" }, ` · operation ${one.operation}`)),
      version && html("blockquote", {}, userText(version.text, version.language), whenOf(version)),
      changes.length > 0 && html("ul", { class: "changes" }, changes.map((change) => html("li", { dir: "auto" }, change.replace(" -> ", " → ")))),
      Object.entries(one.note).map(([name, value]) => html("p", { class: "small", dir: "auto" }, noteText(name, value))),
      undoable && button("Undo this", () => undo(one.operation, permissions, again), { class: "link", "aria-label": `Undo operation ${one.operation}: ${VERBS[one.verb] ?? one.verb}` }),
    );
  });
  return html("ol", { class: "events" }, events.reverse());
}

function noteText(name, value) {
  if (name === "undoes") return `Undoes operation ${value}`;
  const shown = typeof value === "string" ? value : JSON.stringify(value);
  return `${name.charAt(0).toUpperCase()}${name.slice(1)}: ${shown}`;
}
