/** What the page knows: the server's parts, the layers, the settings, the pictures. Changes are told on the bus. */

import { ask } from "./api.js";
import { tell } from "./bus.js";
import { Layer } from "./layer.js";
import { forget } from "./undo.js";

export const FIRST_KIND = "sketch";

export const state = {
  base: null,
  limits: {},
  nets: [],
  kinds: [],
  controlPresets: {},
  drawingPresets: {},
  schedulers: [],
  size: [64, 64],
  layers: [],
  chosen: null,
  view: "sketch",
  tool: { name: "brush", size: 14, colour: "#1d1b19" },
  traced: false,
  settings: {
    prompt: "",
    negative: "",
    seed: null,
    count: 1,
    steps: 20,
    guidance: 4,
    scheduler: "dpm++ 2m",
    preset: "",
    image: null,
    more: {},
  },
  run: null,
  items: [],
  shown: null,
};

/** Ask the server what it has. Throws Refused. */
export async function load() {
  const paths = ["models", "controls", "annotators", "presets", "schedulers"].map((name) => ask(`/v1/${name}`));
  const [models, controls, annotators, presets, schedulers] = await Promise.all(paths);
  Object.assign(state, { base: models.base, limits: models.limits, rank: models.rank, nets: controls.controls });
  Object.assign(state, { kinds: annotators.annotators, schedulers: schedulers.schedulers });
  Object.assign(state, { controlPresets: presets.control, drawingPresets: presets.drawing });
  state.size = [models.base.width, models.base.height];
  if (!state.layers.length) addLayer();
  tell("loaded");
}

/** What the server says of a kind. */
export const about = (kind) => state.kinds.find((one) => one.kind === kind);

/** The layer that is worked on. */
export const current = () => state.layers.find((layer) => layer.id === state.chosen) ?? null;

/** Kinds that are painted or posed by hand: their annotators read no photographs. */
const BY_HAND = new Set(["pose", "depth", "labels"]);

/** Whether maps of a kind can be made here. */
export const usable = (one) => !one.needs && (one.pictures || BY_HAND.has(one.kind));

/** A new layer above the others, chosen. */
export function addLayer(kind = FIRST_KIND) {
  const layer = new Layer(kind, state.size);
  state.layers.unshift(layer);
  choose(layer);
  show("sketch");
  return layer;
}

export function choose(layer) {
  state.chosen = layer?.id ?? null;
  tell("layers");
  if (state.view === "picture" || state.view === "obedience") show("sketch");
}

export function removeLayer(layer) {
  const place = state.layers.indexOf(layer);
  state.layers = state.layers.filter((one) => one !== layer);
  forget();
  choose(state.layers[Math.min(place, state.layers.length - 1)] ?? null);
}

/** Move a layer by steps towards the end of the list. */
export function moveLayer(layer, steps) {
  const from = state.layers.indexOf(layer);
  const to = Math.max(0, Math.min(state.layers.length - 1, from + steps));
  state.layers.splice(to, 0, ...state.layers.splice(from, 1));
  tell("layers");
}

/** Another view of the stage: sketch, map, mask, picture, obedience. */
export function show(view) {
  state.view = view;
  tell("view");
}

/** Another size of the drawing; what was painted is fitted to it. */
export function setSize(size) {
  if (size[0] === state.size[0] && size[1] === state.size[1]) return;
  state.size = size;
  for (const layer of state.layers) layer.resize(size);
  forget();
  tell("size");
  for (const layer of state.layers) if (layer.touched && !layer.held) tell("drawn", layer);
}

/** Change settings. */
export function set(changes) {
  Object.assign(state.settings, changes);
  tell("settings");
}
