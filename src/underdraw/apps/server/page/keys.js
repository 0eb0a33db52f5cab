/** The page by keyboard. */

import { tell } from "./bus.js";
import { find } from "./dom.js";
import { leaf } from "./gallery.js";
import { generate, stop } from "./generate.js";
import { addLayer, show, state } from "./state.js";
import { resizeBrush, take } from "./tools.js";
import { redo, undo } from "./undo.js";

const LARGER = 1.25;
export const VIEWS = ["sketch", "map", "mask", "picture", "obedience"];

const PLAIN = {
  b: () => take("brush"),
  e: () => take("eraser"),
  g: () => take("fill"),
  i: () => take("pick"),
  n: () => addLayer(),
  "[": () => resizeBrush(1 / LARGER),
  "]": () => resizeBrush(LARGER),
  "/": () => find("#prompt").focus(),
  "?": () => find("#help").showModal(),
  ...Object.fromEntries(VIEWS.map((view, place) => [String(place + 1), () => show(view)])),
};
const WITH_CONTROL = {
  z: (event) => (event.shiftKey ? redo() : undo()),
  y: redo,
  enter: () => generate(),
};

/** Listen to the whole page. */
export function startKeys() {
  document.addEventListener("keydown", (event) => {
    const act = meant(event);
    if (!act) return;
    event.preventDefault();
    act(event);
  });
}

function meant(event) {
  const typing = event.target.matches("input:not([type=range]):not([type=checkbox]), textarea, select");
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) return key === "enter" || !typing ? WITH_CONTROL[key] : null;
  if (key === "escape" && state.run && !document.querySelector("dialog[open]")) return stop;
  if (typing || event.altKey || document.querySelector("dialog[open]")) return null;
  if (state.view === "picture" && event.target === document.body)
    return { arrowleft: () => leaf(-1), arrowright: () => leaf(1), ...PLAIN }[key];
  return PLAIN[key];
}

/** Drawing asked for from elsewhere: a button of the gallery. */
export const startDraws = (on) => on("draw", (body) => generate(body).catch((error) => tell("say", error.message)));
