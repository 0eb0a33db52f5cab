/** The stage: one canvas that shows the sketch, the map, the mask or a picture, as large as there is room. */

import { on } from "./bus.js";
import { find } from "./dom.js";
import { enlarged } from "./enlarge.js";
import { drawHandles } from "./pose.js";
import { current, state } from "./state.js";

const surface = find("#stage");
const context = surface.getContext("2d");
const room = find("#room");
const EDGE = 14; // pixels around the stage, for its shadow and its ring
const FAINT = 0.4; // of what is traced
const DIM = 0.35; // of the picture beneath what is said of it
const pen = { x: 0, y: 0, seen: false };
const large = new WeakMap();
let waiting = false;

on("layers drawn painted map view size pose gallery run shown loaded tool", redraw);

/** Follow the room that there is. */
export function watchRoom() {
  new ResizeObserver(redraw).observe(room);
}

/** Draw again with the next frame of the screen. */
export function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    fit();
    draw();
  });
}

/** The share of the stage, [0, 1]², under a pointer. */
export function shareOf(event) {
  const box = surface.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
}

/** Where the pen hovers, for its ring. */
export function hover(share) {
  Object.assign(pen, share ?? {}, { seen: share !== null });
  redraw();
}

export const penAt = () => pen;

function fit() {
  const [width, height] = state.size;
  const scale = Math.min((room.clientWidth - EDGE) / width, (room.clientHeight - EDGE) / height);
  const [across, down] = [Math.max(1, Math.floor(width * scale)), Math.max(1, Math.floor(height * scale))];
  const sharp = Math.min(2, window.devicePixelRatio || 1);
  surface.style.width = `${across}px`;
  surface.style.height = `${down}px`;
  const [wide, high] = [Math.round(across * sharp), Math.round(down * sharp)];
  if (surface.width !== wide || surface.height !== high) Object.assign(surface, { width: wide, height: high });
}

const VIEWS = { sketch: drawSketch, map: drawMap, mask: drawMask, picture: drawPicture, obedience: drawObedience };

function draw() {
  context.clearRect(0, 0, surface.width, surface.height);
  VIEWS[state.view](current());
  surface.dataset.view = state.view;
}

/** Paint a picture or canvas over the whole stage; crisp keeps its pixels as squares. */
function paint(picture, crisp = false, alpha = 1) {
  context.globalAlpha = alpha;
  context.imageSmoothingEnabled = !crisp;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, surface.width, surface.height);
  context.globalAlpha = 1;
}

function drawSketch(layer) {
  if (!layer) return;
  paint(layer.sketch);
  const other = state.traced && state.layers.find((one) => one !== layer && one.touched);
  if (other) paint(other.sketch, false, FAINT);
  if (layer.isPose) drawHandles(context, layer, surface.width, surface.height);
  else drawRing(state.tool.size / layer.sketch.width);
}

function drawMap(layer) {
  if (!layer) return;
  paint(layer.map, true);
  drawRing(Math.max(1 / layer.size[0], state.tool.size / layer.sketch.width));
}

function drawMask(layer) {
  if (!layer) return;
  paint(layer.touched ? layer.sketch : layer.map, false, 0.45);
  const tint = new OffscreenCanvas(layer.mask.width, layer.mask.height);
  const colours = tint.getContext("2d");
  colours.drawImage(layer.mask, 0, 0);
  colours.globalCompositeOperation = "source-in";
  colours.fillStyle = getComputedStyle(surface).getPropertyValue("--chalk");
  colours.fillRect(0, 0, tint.width, tint.height);
  paint(tint, false, 0.55);
  drawRing(state.tool.size / layer.mask.width);
}

/** The picture that is being drawn, or the one that was chosen; before there is any, the underdrawing shines through. */
function drawPicture() {
  const picture = state.run ? state.run.preview : state.shown?.image;
  if (!picture) return drawUnderdrawing();
  const scale = Math.ceil(Math.min(8, surface.width / (picture.naturalWidth || picture.width)));
  if (!large.has(picture)) large.set(picture, new Map());
  const sizes = large.get(picture);
  if (!sizes.has(scale)) sizes.set(scale, enlarged(picture, scale));
  paint(sizes.get(scale));
}

function drawUnderdrawing() {
  for (const layer of state.layers) if (layer.on && layer.touched) paint(layer.sketch, false, FAINT / 2);
}

function drawObedience() {
  const found = state.shown?.obedience?.at(state.shown.judged ?? 0);
  if (!found?.picture) return drawPicture();
  context.fillStyle = "#000000";
  context.fillRect(0, 0, surface.width, surface.height);
  paint(state.shown.image, false, DIM);
  paint(found.picture, true);
}

/** A ring as wide as the brush, dark and light so that it shows on anything. */
function drawRing(share) {
  if (!pen.seen || !["brush", "eraser", "restore"].includes(state.tool.name)) return;
  context.beginPath();
  context.arc(pen.x * surface.width, pen.y * surface.height, Math.max(2, (share * surface.width) / 2), 0, 2 * Math.PI);
  for (const [width, colour] of [
    [3, "rgb(0 0 0 / 0.35)"],
    [1.2, "rgb(255 255 255 / 0.9)"],
  ]) {
    Object.assign(context, { lineWidth: width, strokeStyle: colour });
    context.stroke();
  }
}
