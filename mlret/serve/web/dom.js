// Makes elements. All texts become text nodes: the page never reads HTML, and the browser forbids it (Trusted Types).

const SVG = "http://www.w3.org/2000/svg";

/** Make an HTML element: attributes by name, `onclick` and the like as functions, then children. */
export function html(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Put other children into an element. */
export function refill(element, ...children) {
  const fresh = document.createDocumentFragment();
  append(fresh, children);
  element.replaceChildren(fresh);
}

/** Return a text in which parts between backquotes are code, as in the errors and the description of the server. */
export function prose(text) {
  return (text ?? "").split(/`+/).map((part, place) => (place % 2 ? html("code", {}, part) : part));
}

let numbers = 0;

/** Return an id that no other element has. */
export function newId(name) {
  numbers += 1;
  return `${name}-${numbers}`;
}

/** Make a label with its control, and a hint that screen readers read after it. */
export function field(label, control, hint) {
  control.id ||= newId("field");
  const children = [html("label", { for: control.id }, label), control];
  if (hint) {
    const id = newId("hint");
    control.setAttribute("aria-describedby", id);
    children.push(html("p", { class: "hint", id }, hint));
  }
  return html("div", { class: "field" }, children);
}

/** Make a select element from pairs of value and label; a list with a name is a group. */
export function select(options, chosen, attributes = {}) {
  const made = options.map((one) =>
    Array.isArray(one[1])
      ? html("optgroup", { label: one[0] }, one[1].map((inner) => option(inner, chosen)))
      : option(one, chosen),
  );
  return html("select", attributes, made);
}

function option([value, label], chosen) {
  return html("option", { value, selected: value === chosen }, label);
}

/** Make a button. */
export function button(label, onclick, attributes = {}) {
  return html("button", { type: "button", onclick, ...attributes }, label);
}
