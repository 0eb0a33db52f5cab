/** Elements and small parts without a framework. */

/** `h("button", { class: "quiet", onclick: run }, "Run")`: properties where the element has them, attributes elsewhere. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) put(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function put(element, name, value) {
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name in element && name !== "list") element[name] = value;
  else if (value !== null && value !== undefined && value !== false)
    element.setAttribute(name, value === true ? "" : value);
}

/** The one element that a selector names. */
export const find = (selector, root = document) => root.querySelector(selector);

/** A canvas of that size whose pixels are read often. */
export function canvas(width, height) {
  const made = h("canvas", { width, height });
  made.getContext("2d", { willReadFrequently: true });
  return made;
}

/** An icon from the sheet of symbols in the page. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  picture.append(use);
  return picture;
}

/** A button that shows an icon and says its name to those who cannot see it. */
export function iconButton(name, label, onclick, properties = {}) {
  return h(
    "button",
    { type: "button", class: "icon-button", title: label, "aria-label": label, onclick, ...properties },
    icon(name),
  );
}

/** A number as people write it: no tail of nines. */
export function told(number) {
  return Number.isInteger(number) ? String(number) : String(Number(number.toFixed(3)));
}
