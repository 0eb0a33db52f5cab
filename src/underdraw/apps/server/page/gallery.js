/** The pictures that were drawn, the newest first, and what can be done with the one that is shown. */

import { on, tell } from "./bus.js";
import { find, h, icon, iconButton } from "./dom.js";
import { drop, keep, kept } from "./keep.js";
import { asPicture, asText } from "./layer.js";
import { recipeOf } from "./png.js";
import { restore } from "./restore.js";
import { save } from "./saving.js";
import { placePicture } from "./sources.js";
import { addLayer, set, show, state } from "./state.js";
import { wishOf } from "./wish.js";
import { t } from "./words.js";

const MOST = 200; // pictures that are kept between visits
const NEAR = 0.3; // how far a variation goes
const list = find("#gallery");
const actions = find("#actions");
let last = 0;

on("gallery language", render);
on("view shown run language", renderActions);

/** Take in what is kept from earlier visits. */
export async function startGallery() {
  for (const { time, blob } of await kept()) state.items.unshift(await itemOf(blob, time));
  tell("gallery");
}

async function itemOf(blob, time) {
  const url = URL.createObjectURL(blob);
  const [image, recipe] = await Promise.all([asPicture(url), recipeOf(blob)]);
  return { blob, time, url, image, recipe };
}

/** A picture that has just been drawn (base64 of a PNG with its recipe), shown at once. */
export async function addItem(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  last = Math.max(Date.now(), last + 1); // several of a batch come within one millisecond
  const item = await itemOf(new Blob([bytes], { type: "image/png" }), last);
  state.items.unshift(item);
  for (const old of state.items.splice(MOST)) forget(old);
  keep(item);
  look(item);
}

/** Show a picture. */
function look(item) {
  state.shown = item;
  tell("gallery");
  tell("shown");
  tell("page", "draw");
  show("picture");
}

function forget(item) {
  URL.revokeObjectURL(item.url);
  drop(item);
}

function remove(item) {
  const place = state.items.indexOf(item);
  state.items.splice(place, 1);
  forget(item);
  state.shown = state.items[Math.min(place, state.items.length - 1)] ?? null;
  tell("gallery");
  tell("shown");
}

/** The picture `steps` further in the gallery. */
export function leaf(steps) {
  const place = state.items.indexOf(state.shown) + steps;
  if (state.items[place]) look(state.items[place]);
}

function render() {
  list.replaceChildren(
    ...state.items.map((item) =>
      h(
        "button",
        {
          type: "button",
          class: "picture",
          title: item.recipe.prompt,
          "aria-label": item.recipe.prompt || t("gallery.nameless"),
          "aria-current": String(item === state.shown),
          onclick: () => look(item),
        },
        h("img", { src: item.url, alt: "", loading: "lazy" }),
      ),
    ),
  );
  find("#no-pictures").hidden = state.items.length > 0;
}

function renderActions() {
  const item = state.shown;
  const seen = ["picture", "obedience"].includes(state.view);
  actions.hidden = !seen || !item || Boolean(state.run);
  if (actions.hidden) return;
  const button = (name, word, act) =>
    h(
      "button",
      { type: "button", class: "small", title: t(`act.${word}.help`), "data-act": word, onclick: act },
      icon(name),
      t(`act.${word}`),
    );
  actions.replaceChildren(
    button("again", "again", () => tell("draw", wishOf(item.recipe, { seed: null }))),
    button("vary", "vary", () => tell("draw", wishOf(item.recipe, { variation: { seed: chance(), strength: NEAR } }))),
    button("layers", "control", () => useAsControl(item)),
    button("image", "start", () => startFrom(item)),
    button("restore", "restore", () => restore(item.recipe)),
    iconButton("save", t("act.save.help"), () => save(item.blob, `underdraw-${item.recipe.seed}.png`)),
    iconButton("trash", t("act.remove.help"), () => remove(item)),
    caption(item.recipe),
  );
}

const chance = () => Math.floor(Math.random() * 2 ** 31);

function caption({ prompt, seed, width, height, steps, guidance, scheduler }) {
  return h(
    "p",
    { class: "caption" },
    prompt ? h("q", {}, prompt) : "",
    h("small", {}, t("gallery.facts", { seed, width, height, steps, guidance, scheduler })),
  );
}

function useAsControl(item) {
  addLayer();
  placePicture(item.image);
}

function startFrom(item) {
  const whole = document.createElement("canvas");
  Object.assign(whole, { width: item.image.naturalWidth, height: item.image.naturalHeight });
  whole.getContext("2d").drawImage(item.image, 0, 0);
  set({ image: { picture: asText(whole), strength: 0.6, mask: null } });
  tell("page", "settings");
}
