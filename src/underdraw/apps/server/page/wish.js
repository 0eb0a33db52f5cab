/** What is asked of the server, from the page or from an old recipe. */

import { hearing, speaks } from "./hearing.js";
import { asText } from "./layer.js";
import { imageOf, moreOf } from "./restore.js";
import { state } from "./state.js";

const PREVIEWS = 4; // each costs about a step

/** The body of a request for what the page shows. */
export function wish() {
  const { prompt, negative, seed, count, steps, guidance, scheduler, preset, image, more } = state.settings;
  const [width, height] = state.size;
  const pace = preset ? { preset } : { steps, guidance, scheduler };
  const controls = state.layers.filter(speaks).map(control);
  return {
    prompt,
    negative,
    seed,
    count,
    width,
    height,
    ...pace,
    ...more,
    controls,
    image,
    stream: true,
    previews: PREVIEWS,
  };
}

function control(layer) {
  const { net, way } = hearing(layer);
  const { weight, start, end, preset } = layer;
  const mask = layer.heard ? asText(layer.heard) : null;
  return {
    kind: net,
    picture: asText(layer.map),
    is_map: way !== "outlines",
    weight,
    start,
    end,
    preset,
    mask,
    ...(layer.spoken ?? {}),
  };
}

/** The body of a request for what a recipe says, with changes. */
export function wishOf(recipe, changes = {}) {
  const { prompt, negative, seed, width, height, steps, guidance, scheduler } = recipe;
  const controls = recipe.controls.map(({ kind, map, mask, weight, start, end, curve, side, times, scale }) => ({
    kind,
    picture: map,
    is_map: true,
    mask: mask || null,
    weight,
    start,
    end,
    curve,
    side,
    times,
    scale,
  }));
  const told = {
    prompt,
    negative,
    seed,
    width,
    height,
    steps,
    guidance,
    scheduler,
    ...moreOf(recipe),
    controls,
    image: imageOf(recipe),
  };
  return { ...told, count: 1, stream: true, previews: PREVIEWS, ...changes };
}
