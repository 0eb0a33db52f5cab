/** A recipe back onto the page: size, words, settings, and a layer for each control with its map. */

import { tell } from "./bus.js";
import { Layer, asPicture, cover } from "./layer.js";
import { choose, set, setSize, show, state } from "./state.js";
import { forget } from "./undo.js";
import { t } from "./words.js";

/** Put everything as the recipe says. */
export async function restore(recipe) {
  const layers = await Promise.all(recipe.controls.map((guide) => layerOf(guide, [recipe.width, recipe.height])));
  setSize([recipe.width, recipe.height]);
  set({ ...settingsOf(recipe), image: imageOf(recipe), more: moreOf(recipe) });
  state.layers = layers;
  forget();
  choose(layers[0] ?? null);
  show(layers.length ? "map" : "sketch");
  tell("page", "draw");
  tell("say", recipe.base_hash === state.base.hash ? t("restore.done") : t("restore.other", { base: recipe.base }));
}

const settingsOf = ({ prompt, negative, seed, steps, guidance, scheduler }) => ({
  prompt,
  negative,
  seed,
  steps,
  guidance,
  scheduler,
  count: 1,
  preset: "",
});

/** What a recipe may say beyond the page's own fields; it is asked for again until somebody takes it away. */
export function moreOf({ variation, hires, tiling, interval, rescale, parallel }) {
  const said = Object.entries({ variation, hires, tiling, interval, rescale, parallel });
  return Object.fromEntries(said.filter(([, value]) => value !== undefined && value !== null));
}

/** The picture that a recipe starts from, as the API takes it. */
export function imageOf({ given }) {
  if (!given) return null;
  const { picture, strength, mask, softness, guidance } = given;
  return { picture, strength, mask: mask || null, softness, guidance };
}

async function layerOf(guide, size) {
  const layer = new Layer(guide.kind, size);
  layer.hold(await asPicture(guide.map));
  Object.assign(layer, { weight: guide.weight, start: guide.start, end: guide.end }, heardAs(guide));
  if (guide.mask) await wearMask(layer, await asPicture(guide.mask));
  return layer;
}

/** The preset with this curve and side, or else the very numbers. */
function heardAs({ curve = "flat", side = "both", times = [], scale = 1 }) {
  const names = Object.entries(state.controlPresets).filter(([, one]) => one.curve === curve && one.side === side);
  const plain = !times.length && scale === 1;
  return names.length && plain
    ? { preset: names[0][0] }
    : { preset: "balanced", spoken: { curve, side, times, scale } };
}

/** White of a mask becomes paint, black nothing. */
async function wearMask(layer, picture) {
  cover(layer.mask, picture);
  const context = layer.mask.getContext("2d");
  const whole = context.getImageData(0, 0, layer.mask.width, layer.mask.height);
  for (let at = 0; at < whole.data.length; at += 4) {
    const light = whole.data[at];
    whole.data.set([255, 255, 255, light], at);
  }
  context.putImageData(whole, 0, 0);
  layer.masked = true;
}
