/** Sliders: one value with a number beside it, and a span with two handles. */

import { h, told } from "./dom.js";

/**
 * A labelled slider. given: {label, help, value, low, high, step, whole, onchange, name}; the number can be typed, and may
 * go where the slider's step does not.
 */
export function slider({ label, help = "", value, low, high, step, onchange, name = "" }) {
  const limits = { min: low, max: high };
  const range = h("input", { type: "range", ...limits, step, value, name, "aria-label": label });
  const number = h("input", {
    type: "number",
    ...limits,
    step,
    value: told(value),
    "aria-label": label,
    class: "number",
  });
  const paint = () => range.style.setProperty("--share", `${(100 * (range.value - low)) / (high - low || 1)}%`);
  range.addEventListener("input", () => {
    number.value = told(Number(range.value));
    paint();
    onchange(Number(range.value));
  });
  number.addEventListener("change", () => {
    const wanted = Math.min(high, Math.max(low, Number(number.value)));
    number.value = told(wanted);
    range.value = wanted;
    paint();
    onchange(wanted);
  });
  paint();
  return h("label", { class: "field slider", title: help }, h("span", { class: "name" }, label), range, number);
}

/** Two handles from 0 to 1: {label, start, end, onchange(start, end)}. Each is a slider of its own for the keyboard. */
export function span({ label, names, start, end, onchange }) {
  const handle = (value, name) => h("input", { type: "range", min: 0, max: 1, step: 0.01, value, "aria-label": name });
  const [first, last] = [handle(start, names[0]), handle(end, names[1])];
  const says = h("output", { class: "number wide" });
  const box = h("div", { class: "span" }, h("div", { class: "span-bar" }), first, last);
  const paint = () => {
    box.style.setProperty("--from", `${100 * first.value}%`);
    box.style.setProperty("--to", `${100 * last.value}%`);
    says.textContent = `${Math.round(100 * first.value)}–${Math.round(100 * last.value)} %`;
  };
  const moved = (mine) => () => {
    if (Number(first.value) > Number(last.value))
      (mine === first ? first : last).value = mine === first ? last.value : first.value;
    paint();
    onchange(Number(first.value), Number(last.value));
  };
  for (const mine of [first, last]) mine.addEventListener("input", moved(mine));
  paint();
  return h(
    "div",
    { class: "field slider", role: "group", "aria-label": label },
    h("span", { class: "name" }, label),
    box,
    says,
  );
}

/** A labelled list: {label, help, value, options: [[value, words]…], onchange}. */
export function choice({ label, help = "", value, options, onchange, name = "" }) {
  const list = h(
    "select",
    { name, onchange: () => onchange(list.value) },
    options.map(([option, words]) => h("option", { value: option }, words)),
  );
  list.value = value;
  return h("label", { class: "field choice", title: help }, h("span", { class: "name" }, label), list);
}

/** A labelled switch: {label, help, value, onchange}. */
export function toggle({ label, help = "", value, onchange, name = "" }) {
  const box = h("input", {
    type: "checkbox",
    role: "switch",
    checked: value,
    name,
    onchange: () => onchange(box.checked),
  });
  return h("label", { class: "field switch", title: help }, h("span", { class: "name" }, label), box);
}
