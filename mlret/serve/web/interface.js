// The description of the interface (/openapi.json), readably: operations by subject, their parameters, bodies, answers.

import { html, prose } from "./dom.js";
import { frame } from "./frame.js";
import { command, problemOf } from "./messages.js";
import { call } from "./requests.js";

const DEEPEST = 4; // Levels of objects in objects that are shown at once.
const TITLES = { indexes: "Indexes", documents: "Documents", search: "Search", memory: "Memory", models: "Embeddings and ranking", server: "Server", mcp: "MCP" };
const ORDER = ["search", "indexes", "documents", "memory", "models", "mcp", "server"];

frame((page) => {
  const show = async () => {
    try {
      const description = await call("GET", "/openapi.json");
      page.show({ title: "Interface", element: content(description), shown: open }, "docs", true);
    } catch (error) {
      if (error.status !== 401) page.show({ title: "Error", element: html("div", {}, html("h1", { tabindex: "-1" }, "Interface"), problemOf(error)) }, "docs");
    }
  };
  addEventListener("hashchange", open);
  show();
});

/** Open the operation that the address names. */
function open() {
  const named = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!named) return;
  if (named.tagName === "DETAILS") named.open = true;
  named.scrollIntoView();
  (named.querySelector("summary") ?? named).focus({ preventScroll: true });
}

function content(description) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "server";
      groups.set(tag, [...(groups.get(tag) ?? []), { path, method, operation }]);
    }
  }
  const place = (tag) => (ORDER.includes(tag) ? ORDER.indexOf(tag) : ORDER.length);
  const tags = [...groups.keys()].sort((one, other) => place(one) - place(other) || one.localeCompare(other));
  return html(
    "div",
    { class: "interface" },
    html("h1", { tabindex: "-1" }, "Interface"),
    html("p", { class: "lead" }, `Version ${description.info.version}. `, prose(description.info.description)),
    html("p", {}, "Each request carries a token. The description itself, for tools, is at ", html("code", {}, "/openapi.json"), "."),
    command(`curl -H "Authorization: Bearer $TOKEN" ${location.origin}/v1/indexes`),
    html("nav", { "aria-label": "Subjects", class: "subjects" }, tags.map((tag) => html("a", { href: `#subject-${tag}` }, titleOf(tag)))),
    tags.map((tag) =>
      html(
        "section",
        { "aria-labelledby": `subject-${tag}` },
        html("h2", { id: `subject-${tag}`, tabindex: "-1" }, titleOf(tag)),
        groups.get(tag).map((one) => operationOf(one, description)),
      ),
    ),
  );
}

function titleOf(tag) {
  return TITLES[tag] ?? tag.charAt(0).toUpperCase() + tag.slice(1);
}

function operationOf({ path, method, operation }, description) {
  const details = html(
    "details",
    { class: "operation", id: `${method}-${path}` },
    html("summary", {}, html("span", { class: `method method-${method}` }, method.toUpperCase()), html("code", {}, parted(path)), html("span", { class: "summary" }, operation.summary ?? "")),
  );
  // Most are never opened, so that each is built when it is.
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(insideOf({ path, method, operation }, description));
  });
  return details;
}

/** Let a long path break before each slash. */
function parted(path) {
  return path.split(/(?=[/:])/).flatMap((part) => [html("wbr"), part]);
}

function insideOf({ path, method, operation }, description) {
  const parameters = operation.parameters ?? [];
  const bodies = Object.entries(operation.requestBody?.content ?? {});
  return html(
    "div",
    { class: "inside" },
    html("div", {}, (operation.description ?? "").split(/\n\s*\n/).map((one) => html("p", {}, prose(one)))),
    command(curlOf(path, method, bodies, description)),
    parameters.length > 0 && [
      html("h3", {}, "Parameters"),
      html("dl", { class: "schema" }, parameters.map((one) => entry(one.name, one.schema, one.required, `${one.in === "path" ? "in the path" : one.in === "header" ? "header" : "in the address"}`, one.description, description, 0))),
    ],
    bodies.length > 0 && [html("h3", {}, "Body"), bodies.map(([form, { schema }]) => [html("p", { class: "small" }, html("code", {}, form)), schemaOf(schema, description, 0)])],
    html("h3", {}, "Answers"),
    Object.entries(operation.responses).filter(([status]) => status < "400").map(([status, answer]) => [
      html("p", {}, html("span", { class: "badge state-active" }, status), " ", prose(answer.description === "Successful Response" ? "" : answer.description)),
      Object.entries(answer.content ?? {}).map(([form, { schema }]) => [html("p", { class: "small" }, html("code", {}, form)), schema && schemaOf(schema, description, 0)]),
    ]),
    html(
      "details",
      { class: "behind" },
      html("summary", {}, "Errors"),
      html("p", {}, "Every error is a problem document: title, detail, the field that it is about, and how to fix it."),
      html("ul", { class: "errors" }, Object.entries(operation.responses).filter(([status]) => status >= "400").map(([status, answer]) => html("li", {}, html("span", { class: "badge" }, status), " ", answer.description))),
    ),
  );
}

function curlOf(path, method, bodies, description) {
  const parts = ["curl", '-H "Authorization: Bearer $TOKEN"'];
  if (method !== "get") parts.push(`-X ${method.toUpperCase()}`);
  if (bodies.length) {
    const [form, { schema }] = bodies[0];
    parts.push(`-H "Content-Type: ${form}"`, `-d '${JSON.stringify(example(schema, description, 0)).replaceAll("'", "'\\''")}'`);
  }
  const address = path.replace(/\{(\w+)(:\w+)?\}/g, (_, name) => name.toUpperCase());
  return [...parts, `'${location.origin}${address}'`].join(" ");
}

/** Return a small example of what a schema describes: what is required, and no more. */
function example(schema, description, depth) {
  const found = resolved(schema, description);
  if (!found || depth > DEEPEST) return {};
  if (found.examples?.length) return found.examples[0];
  if (found.const !== undefined) return found.const;
  if (found.enum) return found.enum[0];
  const alternatives = found.oneOf ?? found.anyOf;
  if (alternatives) return example(alternatives[0], description, depth);
  if (found.type === "object") {
    const required = found.required ?? [];
    return Object.fromEntries(required.map((name) => [name, example(found.properties?.[name], description, depth + 1)]));
  }
  if (found.type === "array") return [example(found.items ?? {}, description, depth + 1)];
  return { string: "text", integer: found.minimum ?? 1, number: found.minimum ?? 0.5, boolean: true }[found.type] ?? {};
}

function resolved(schema, description) {
  const name = /^#\/components\/schemas\/(.+)$/.exec(schema?.$ref ?? "")?.[1];
  return name ? description.components.schemas[name] : schema;
}

function typeOf(schema, description) {
  const found = resolved(schema, description) ?? {};
  const alternatives = found.oneOf ?? found.anyOf;
  if (alternatives) return [...new Set(alternatives.map((one) => typeOf(one, description)))].join(" or ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(", ");
  if (found.type === "array") return found.items ? `list of ${typeOf(found.items, description)}` : "list";
  if (found.type === "object") return schema.$ref ? schema.$ref.split("/").at(-1) : "object";
  return found.type ?? "any value";
}

function schemaOf(schema, description, depth) {
  const found = resolved(schema, description) ?? {};
  const alternatives = (found.oneOf ?? found.anyOf)?.filter((one) => one.type !== "null");
  if (alternatives?.length > 1 && alternatives.some((one) => fieldsOf(one, description)))
    return html("div", { class: "alternatives" }, alternatives.map((one) => html("div", {}, html("p", { class: "small" }, typeOf(one, description)), schemaOf(one, description, depth))));
  if (alternatives?.length === 1) return schemaOf(alternatives[0], description, depth);
  if (found.type === "array" && found.items) return html("div", {}, html("p", { class: "small" }, typeOf(schema, description)), fieldsOf(found.items, description) && schemaOf(found.items, description, depth));
  if (!fieldsOf(schema, description)) return html("p", { class: "small" }, found.description ? prose(found.description) : typeOf(schema, description));
  const required = found.required ?? [];
  return html(
    "div",
    {},
    depth === 0 && found.description && html("p", {}, prose(found.description)),
    html("dl", { class: "schema" }, Object.entries(found.properties).map(([name, one]) => entry(name, one, required.includes(name), null, one.description, description, depth))),
  );
}

function fieldsOf(schema, description) {
  const found = resolved(schema, description) ?? {};
  if (found.type === "array") return found.items && fieldsOf(found.items, description);
  return found.type === "object" && Object.keys(found.properties ?? {}).length > 0;
}

function entry(name, schema, required, where, text, description, depth) {
  const inner = [schema, ...(schema?.anyOf ?? schema?.oneOf ?? [])].find((one) => fieldsOf(one, description));
  const limits = [
    schema?.minimum !== undefined && `at least ${schema.minimum}`,
    schema?.maximum !== undefined && `at most ${schema.maximum}`,
    schema?.default !== undefined && schema.default !== null && `by default ${JSON.stringify(schema.default)}`,
  ].filter(Boolean);
  const shown = text ?? resolved(schema, description)?.description;
  return html(
    "div",
    {},
    html("dt", {}, html("code", {}, name), required && html("span", { class: "badge" }, "required"), html("span", { class: "type" }, [where, typeOf(schema, description), ...limits].filter(Boolean).join(" · "))),
    html("dd", {}, shown && html("p", {}, prose(shown)), inner && depth < DEEPEST && lazily(() => schemaOf(inner, description, depth + 1))),
  );
}

/** Make details that are built when they are opened: a schema can refer to itself. */
function lazily(make) {
  const details = html("details", { class: "behind" }, html("summary", {}, "Its fields"));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(make());
  });
  return details;
}
