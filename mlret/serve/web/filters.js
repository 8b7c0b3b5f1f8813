// Filters of a search: languages, and fields of the metadata.

import { button, html, newId, refill, select } from "./dom.js";
import { isLanguage, languageName } from "./languages.js";
import { number } from "./texts.js";

const COMPARISONS = [
  ["$eq", "is"],
  ["$ne", "is not"],
  ["$gte", "at least"],
  ["$lte", "at most"],
  ["$contains", "contains"],
];

/**
 * Make the filters of an index. `languages` are numbers of documents by language, `fields` the fields of its metadata,
 * `given` what is chosen at first; `changed` is called with each choice.
 */
export function filterControls(languages, fields, given, changed) {
  const chosen = new Set(given.languages ?? []);
  const conditions = (given.conditions ?? []).filter(([name]) => fields.some((one) => one.name === name));
  const state = html("span", { class: "badge" });
  const update = () => {
    const count = chosen.size + conditions.length;
    state.textContent = count ? `${count} chosen` : "none";
    state.classList.toggle("strong", count > 0);
  };
  const known = Object.entries(languages).filter(([code]) => isLanguage(code));
  known.sort((one, other) => other[1] - one[1] || languageName(one[0]).localeCompare(languageName(other[0])));
  const chips = known.map(([code, count]) => {
    const chip = button(
      [languageName(code), html("span", { class: "count" }, number(count))],
      () => {
        const pressed = !chosen.has(code);
        if (pressed) chosen.add(code);
        else chosen.delete(code);
        chip.setAttribute("aria-pressed", String(pressed));
        update();
        changed();
      },
      { class: "chip", "aria-pressed": String(chosen.has(code)) },
    );
    return chip;
  });
  const rows = html("div", { class: "conditions" });
  const draw = () => refill(rows, conditions.map((condition) => conditionRow(condition, fields, onChange, remove)));
  const onChange = () => {
    update();
    changed();
  };
  const remove = (condition) => {
    conditions.splice(conditions.indexOf(condition), 1);
    draw();
    onChange();
    add.focus();
  };
  const add = button("Add a filter by metadata", () => {
    conditions.push(firstCondition(fields[0]));
    draw();
    onChange();
    rows.lastElementChild.querySelector("select").focus();
  }, { class: "quiet" });
  draw();
  update();
  const title = newId("languages");
  const element = html(
    "details",
    { class: "filters", open: chosen.size + conditions.length > 0 },
    html("summary", {}, "Filters ", state),
    chips.length > 1 && html("p", { class: "label", id: title }, "Language of the texts"),
    chips.length > 1 && html("div", { class: "chips", role: "group", "aria-labelledby": title }, chips),
    fields.length > 0 ? [html("p", { class: "label" }, "Metadata"), rows, add] : html("p", { class: "hint" }, "The texts of this index have no metadata."),
  );
  return {
    element,
    /** Return the filter as `where` takes it, or undefined. */
    where() {
      const parts = [];
      if (chosen.size) parts.push({ lang: [...chosen] });
      for (const [name, comparison, value] of conditions) if (value !== "") parts.push({ [name]: { [comparison]: value } });
      if (!parts.length) return undefined;
      return parts.length === 1 ? parts[0] : { $and: parts };
    },
    /** Return what is chosen, to be kept. */
    chosen: () => ({ languages: [...chosen], conditions }),
  };
}

function firstCondition(field) {
  return [field.name, field.kinds.includes("list") ? "$contains" : "$eq", field.values?.[0] ?? ""];
}

function conditionRow(condition, fields, changed, remove) {
  const row = html("div", { class: "condition", role: "group", "aria-label": "Filter" });
  const draw = () => {
    const field = fields.find((one) => one.name === condition[0]);
    const names = select(
      fields.map((one) => [one.name, one.name]),
      condition[0],
      {
        "aria-label": "Field",
        onchange() {
          condition.splice(0, 3, ...firstCondition(fields.find((one) => one.name === names.value)));
          draw();
          changed();
          row.querySelector("select").focus();
        },
      },
    );
    const comparison = select(COMPARISONS, condition[1], {
      "aria-label": "Comparison",
      onchange() {
        condition[1] = comparison.value;
        changed();
      },
    });
    refill(row, names, comparison, valueControl(condition, field, changed), button("✕", () => remove(condition), { class: "plain", "aria-label": `Remove the filter by ${condition[0]}` }));
  };
  draw();
  return row;
}

function valueControl(condition, field, changed) {
  if (field.values?.length) {
    const control = select(
      field.values.map((one, place) => [String(place), String(one)]),
      String(field.values.indexOf(condition[2])),
      {
        "aria-label": "Value",
        onchange() {
          condition[2] = field.values[Number(control.value)];
          changed();
        },
      },
    );
    return control;
  }
  const numeric = field.kinds.includes("number") && !field.kinds.includes("string");
  const control = html("input", {
    type: numeric ? "number" : "text",
    step: "any",
    dir: "auto",
    value: condition[2],
    "aria-label": "Value",
    oninput() {
      condition[2] = numeric && control.value !== "" ? Number(control.value) : control.value;
      changed();
    },
  });
  return control;
}
