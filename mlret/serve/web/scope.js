// Whose memory is shown: what the token is bound to, narrowed by what the reader names.

import { field, html } from "./dom.js";
import { read, write } from "./session.js";

const NAMES = ["user", "agent", "run"];
const KEY = "mlret.scope";
const LABELS = { tenant: "Tenant", user: "User", agent: "Agent", run: "Run" };

/** Return the names of the scope that the reader has given, without those that the token is bound to. */
export function narrowed(permissions) {
  let kept = {};
  try {
    kept = JSON.parse(read(KEY) ?? "{}");
  } catch {
    // Nothing was kept.
  }
  return Object.fromEntries(NAMES.filter((name) => kept[name] && !permissions.scope[name]).map((name) => [name, String(kept[name])]));
}

/** Return whether there is a scope at all, which a memory needs. */
export function hasScope(permissions) {
  return Object.keys({ ...permissions.scope, ...narrowed(permissions) }).length > 0;
}

/** Make the controls of the scope; `changed` is called when it is another one. */
export function scopeControls(permissions, changed) {
  const given = narrowed(permissions);
  const bound = Object.entries(permissions.scope).map(([name, value]) =>
    html("span", { class: "badge", title: "The token is bound to this" }, `${LABELS[name]} `, html("b", { dir: "auto" }, value)),
  );
  const keep = () => {
    write(KEY, JSON.stringify(Object.fromEntries(inputs.map(([name, input]) => [name, input.value.trim()]))));
    changed();
  };
  const inputs = NAMES.filter((name) => !permissions.scope[name]).map((name) => [
    name,
    html("input", { type: "text", value: given[name] ?? "", dir: "auto", autocomplete: "off", spellcheck: "false", placeholder: "any", onchange: keep }),
  ]);
  const element = html(
    "div",
    { class: "controls", role: "group", "aria-label": "Whose memory" },
    bound.length > 0 && html("p", { class: "bound" }, "Memory of ", bound),
    inputs.map(([name, input]) => field(LABELS[name], input)),
  );
  return { element, first: inputs[0]?.[1] ?? null };
}
