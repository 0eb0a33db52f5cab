/** Does the picture obey? It is annotated again and laid over its map: agreement light, disagreement red. */

import { ask } from "./api.js";
import { on, tell } from "./bus.js";
import { canvas, find, h, told } from "./dom.js";
import { asPicture } from "./layer.js";
import { state } from "./state.js";
import { t } from "./words.js";

const panel = find("#verdict");

on("view shown language judged run", render);
on("view shown", judge);

async function judge() {
  const item = state.shown;
  if (state.view !== "obedience" || !item || item.obedience || item.judging) return;
  if (!item.recipe.controls.length) return;
  item.judging = true;
  try {
    const { controls } = await ask("/v1/obedience", { picture: await textOf(item.blob) });
    item.obedience = await Promise.all(
      controls.map(async (one) => ({ ...one, picture: one.overlay ? onGlass(await asPicture(one.overlay)) : null })),
    );
  } catch (error) {
    tell("say", error.message);
  }
  item.judging = false;
  tell("judged");
  tell("shown");
}

/** What is black lets the picture beneath through; red stays red on any colour. */
function onGlass(picture) {
  const glass = canvas(picture.naturalWidth, picture.naturalHeight);
  const context = glass.getContext("2d");
  context.drawImage(picture, 0, 0);
  const whole = context.getImageData(0, 0, glass.width, glass.height);
  for (let at = 0; at < whole.data.length; at += 4) {
    const light = Math.max(...whole.data.subarray(at, at + 3));
    for (let channel = 0; channel < 3; channel++) whole.data[at + channel] *= 255 / Math.max(1, light);
    whole.data[at + 3] = light;
  }
  context.putImageData(whole, 0, 0);
  return glass;
}

async function textOf(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function render() {
  panel.hidden = state.view !== "obedience" || !state.shown || Boolean(state.run);
  if (panel.hidden) return;
  const { obedience, recipe, judging } = state.shown;
  if (!recipe.controls.length) return panel.replaceChildren(h("p", { class: "hint" }, t("obey.nothing")));
  if (!obedience) return panel.replaceChildren(h("p", { class: "hint" }, judging ? t("obey.reading") : ""));
  const chosen = Math.min(state.shown.judged ?? 0, obedience.length - 1);
  return panel.replaceChildren(
    ...obedience.map((one, place) => verdict(one, place, place === chosen)),
    h("p", { class: "hint" }, t("obey.legend")),
  );
}

function verdict(one, place, chosen) {
  const look = () => {
    state.shown.judged = place;
    tell("shown");
  };
  const figures = Object.entries(one.scores ?? {}).map(([name, value]) =>
    h("div", { class: "figure" }, h("b", {}, told(Number(value.toFixed(2)))), h("small", {}, name)),
  );
  const words = one.detail ? h("p", { class: "hint" }, one.detail) : h("div", { class: "figures" }, figures);
  return h(
    "button",
    { type: "button", class: "verdict", "aria-pressed": String(chosen), onclick: look },
    h("strong", {}, t(`kind.${one.kind}`)),
    words,
  );
}
