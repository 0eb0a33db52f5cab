/** The map of a layer, made anew whenever its drawing or its knobs change; older questions are called off. */

import { ask } from "./api.js";
import { on, tell } from "./bus.js";
import { asPicture, asText } from "./layer.js";

const SOON = 90; // milliseconds after the last change
const asked = new WeakMap();
const timers = new WeakMap();

on("drawn", soon);

/** Make the map when nothing has changed for a moment. */
export function soon(layer) {
  clearTimeout(timers.get(layer));
  timers.set(
    layer,
    setTimeout(() => make(layer), SOON),
  );
}

/** While a stroke goes on: ask again as soon as the last answer is there. */
export function meanwhile(layer) {
  if (!layer.busy) make(layer);
}

async function make(layer) {
  if (layer.isPose || layer.held || !layer.touched) return;
  if (layer.isPainted) {
    layer.drawGreys();
    tell("map", layer);
    return;
  }
  asked.get(layer)?.abort();
  const asking = new AbortController();
  asked.set(layer, asking);
  layer.busy = true;
  try {
    const [width, height] = layer.size;
    const body = { kind: layer.kind, picture: asText(layer.sketch), knobs: layer.knobs, width, height };
    const found = await ask("/v1/extract", body, asking.signal);
    const picture = await asPicture(found.map);
    if (asked.get(layer) === asking) lay(layer, picture);
  } catch (error) {
    if (error.name !== "AbortError") layer.trouble = error.message;
  }
  if (asked.get(layer) !== asking) return; // a younger question is under way
  layer.busy = false;
  tell("map", layer);
}

function lay(layer, picture) {
  const context = layer.extracted.getContext("2d");
  context.clearRect(0, 0, ...layer.size);
  context.drawImage(picture, 0, 0, ...layer.size);
  layer.trouble = "";
}
