/** The pointer and the keyboard on the stage become strokes, fills and moved joints. */

import { Stroke, colourAt, fill } from "./brush.js";
import { tell } from "./bus.js";
import { find } from "./dom.js";
import { FLAT } from "./layer.js";
import { meanwhile } from "./maps.js";
import { drag, grab, poseKey, release } from "./pose.js";
import { hover, penAt, shareOf } from "./stage.js";
import { about, current, state } from "./state.js";
import { rememberCanvas } from "./undo.js";

const STEP = 1 / 64; // how far an arrow key moves the pen
const PAINTED = { sketch: "sketch", map: "edits", mask: "mask" };
const surface = find("#stage");
let stroke = null;
let down = false; // the pen of the keyboard

/** Listen to the stage. */
export function startPainting() {
  surface.addEventListener("pointerdown", begin);
  surface.addEventListener("pointermove", move);
  for (const name of ["pointerup", "pointercancel"]) surface.addEventListener(name, end);
  surface.addEventListener("pointerleave", () => hover(null));
  surface.addEventListener("keydown", key);
}

const target = (layer) => layer[PAINTED[state.view]];

function begin(event) {
  const layer = current();
  if (!layer || !PAINTED[state.view] || event.button > 0) return;
  surface.classList.add("by-hand");
  surface.focus({ preventScroll: true });
  surface.setPointerCapture(event.pointerId);
  start(layer, shareOf(event), event);
}

function start(layer, share, event) {
  if (layer.isPose && state.view === "sketch") grab(layer, share, event.shiftKey);
  else if (state.tool.name === "pick") pick(layer, share);
  else if (state.tool.name === "fill" && state.view !== "mask") bucket(layer, share);
  else draw(layer, share, event);
}

function draw(layer, share, event) {
  rememberCanvas(target(layer), () => changed(layer));
  stroke = new Stroke(target(layer), wayOf(layer));
  to(layer, share, event);
}

function to(layer, share, event) {
  stroke.to(share.x * target(layer).width, share.y * target(layer).height, event);
  if (state.view === "sketch") {
    layer.touched = true;
    layer.held = false;
    meanwhile(layer);
  }
  tell("painted");
}

function move(event) {
  const layer = current();
  hover(shareOf(event));
  if (!layer) return;
  if (stroke) for (const one of event.getCoalescedEvents?.() ?? [event]) to(layer, shareOf(one), one);
  else drag(layer, shareOf(event));
}

function end() {
  release();
  if (!stroke) return;
  stroke.end();
  stroke = null;
  changed(current());
}

/** What was painted has changed for good. */
function changed(layer) {
  if (state.view === "map") layer.edited = true;
  if (state.view === "mask") layer.masked = marked(layer.mask);
  tell(state.view === "sketch" ? "drawn" : "map", layer);
}

const marked = (mask) =>
  mask
    .getContext("2d")
    .getImageData(0, 0, mask.width, mask.height)
    .data.some((value) => value > 0);

/** How the tool paints on what is seen. */
function wayOf(layer) {
  const { name, size, colour } = state.tool;
  if (state.view === "mask") return { size, colour: "#ffffff", clears: name === "eraser" };
  if (state.view === "sketch")
    return { size, colour: name === "eraser" ? layer.paper : colour, hard: FLAT.has(layer.kind) };
  const one = about(layer.kind);
  const small = Math.max(1, Math.round((size * layer.size[0]) / layer.sketch.width));
  const bright = one.binary ? "#ffffff" : colour;
  return { size: small, colour: name === "eraser" ? "#000000" : bright, hard: true, clears: name === "restore" };
}

function pick(layer, share) {
  const from = state.view === "map" ? layer.map : layer.sketch;
  state.tool.colour = colourAt(from, share.x * from.width, share.y * from.height);
  state.tool.name = "brush";
  tell("tool");
}

function bucket(layer, share) {
  const onto = layer[PAINTED[state.view]];
  rememberCanvas(onto, () => changed(layer));
  if (state.view === "map") onto.getContext("2d").drawImage(layer.map, 0, 0);
  fill(onto, share.x * onto.width, share.y * onto.height, wayOf(layer).colour);
  layer.touched ||= state.view === "sketch";
  changed(layer);
}

/** Arrows move the pen, space puts it down and takes it up. */
function key(event) {
  const layer = current();
  surface.classList.remove("by-hand");
  if (!layer || !PAINTED[state.view] || event.ctrlKey || event.metaKey) return;
  if (layer.isPose && state.view === "sketch" ? poseKey(event) : penKey(layer, event)) event.preventDefault();
}

function penKey(layer, event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const way = event.shiftKey ? STEP / 4 : STEP;
  const at = penAt();
  if (event.key === " ") {
    down = !down;
    if (down) start(layer, at, event);
    else end();
    return true;
  }
  if (!moves[event.key]) return false;
  const [x, y] = moves[event.key];
  hover({ x: Math.min(1, Math.max(0, at.x + x * way)), y: Math.min(1, Math.max(0, at.y + y * way)) });
  if (stroke) to(layer, penAt(), event);
  return true;
}
