/** The knobs of an annotator, as the server tells them: a slider, a switch or a list each. */

import { h } from "./dom.js";
import { choice, slider, toggle } from "./sliders.js";
import { t } from "./words.js";

const WIDE = 1e4; // a range beyond it is no slider: a seed, a distance
const SIDES = new Set(["resolution", "width", "height"]);

/** The fields of all knobs; `changed` is called when one of `layer.knobs` was turned. */
export function knobFields(layer, one, changed) {
  const own = one.knobs.filter(({ name }) => name !== "resolution");
  const shared = one.knobs.filter(({ name }) => name === "resolution");
  return [...own, ...shared].map((knob) =>
    field(knob, layer.knobs[knob.name] ?? knob.default, (value) => {
      if (value === knob.default) delete layer.knobs[knob.name];
      else layer.knobs[knob.name] = value;
      layer.held = false;
      changed();
    }),
  );
}

function field(knob, value, onchange) {
  const shared = { label: t(`knob.${knob.name}`), help: knob.help, value, onchange, name: `knob-${knob.name}` };
  if (knob.type === "bool") return toggle(shared);
  if (knob.type === "choice")
    return choice({ ...shared, options: knob.choices.map((word) => [word, t(`word.${word}`)]) });
  if (knob.high - knob.low > WIDE || SIDES.has(knob.name)) return number(knob, shared);
  return slider({ ...shared, low: knob.low, high: knob.high, step: knob.step });
}

function number(knob, { label, help, value, onchange, name }) {
  const box = h("input", {
    type: "number",
    min: knob.low,
    max: knob.high,
    step: knob.type === "int" ? 1 : "any",
    value,
    name,
    class: "number wide",
  });
  box.addEventListener("change", () => onchange(Math.min(knob.high, Math.max(knob.low, Number(box.value)))));
  return h("label", { class: "field plain", title: help }, h("span", { class: "name" }, label), box);
}
