/** The panel of layers: one card a control, the chosen one with all its fields. */

import { on, tell } from "./bus.js";
import { canvas, find, h, icon, iconButton } from "./dom.js";
import { hearing } from "./hearing.js";
import { knobFields } from "./knobs.js";
import { soon } from "./maps.js";
import { save } from "./saving.js";
import { choice, slider, span } from "./sliders.js";
import { openCamera, pickPicture } from "./sources.js";
import { inkFor } from "./tools.js";
import { about, addLayer, choose, current, moveLayer, removeLayer, show, state, usable } from "./state.js";
import { t } from "./words.js";

const list = find("#layer-list");
const HEAVIEST = 2;
const FAMILIES = {
  lines: ["sketch", "canny", "scribble", "softedge", "lineart", "lines", "binary"],
  depth: ["depth", "depth_layers", "normal"],
  areas: ["labels", "segmentation", "boxes", "onehot"],
  people: ["pose"],
};

on("layers language loaded", render);
on("map drawn", (layer) => layer && refresh(layer));
on("size", render);

/** Listen to the panel's own button. */
export function startLayers() {
  find("#add-layer").addEventListener("click", () => addLayer());
}

function render() {
  list.replaceChildren(...state.layers.map(card));
  find("#no-layers").hidden = state.layers.length > 0;
}

function card(layer) {
  const chosen = layer === current();
  const head = h("div", { class: "head" }, thumbnail(layer), title(layer), eye(layer));
  return h(
    "li",
    { class: `layer${chosen ? " chosen" : ""}${layer.on ? "" : " off"}`, id: layer.id },
    head,
    chosen ? fields(layer) : null,
  );
}

function thumbnail(layer) {
  const picture = canvas(...layer.size);
  picture.className = "thumb";
  picture.getContext("2d").drawImage(layer.map, 0, 0);
  return picture;
}

function title(layer) {
  return h(
    "button",
    { type: "button", class: "title", "aria-expanded": String(layer === current()), onclick: () => choose(layer) },
    h("strong", {}, t(`kind.${layer.kind}`)),
    h("small", { class: `heard${layer.trouble ? " trouble" : ""}` }, saysHeard(layer)),
  );
}

function saysHeard(layer) {
  if (layer.trouble) return layer.trouble;
  const { net, way } = hearing(layer);
  return t(`heard.${way}`, { net: net ? t(`net.${net}`) : "" });
}

function eye(layer) {
  const flip = () => {
    layer.on = !layer.on;
    tell("layers");
  };
  return iconButton(layer.on ? "eye" : "eye-off", t("layer.on"), flip, { "aria-pressed": String(layer.on) });
}

/** The map changed: only what shows it is drawn again, so that sliders under the hand stay. */
function refresh(layer) {
  const shown = document.getElementById(layer.id);
  if (!shown) return;
  find(".thumb", shown).replaceWith(thumbnail(layer));
  const says = find(".heard", shown);
  says.textContent = saysHeard(layer);
  says.classList.toggle("trouble", Boolean(layer.trouble));
}

function fields(layer) {
  const one = about(layer.kind);
  if (!one) return null;
  const turned = () => (layer.isPose ? layer.drawPose() : soon(layer));
  return h(
    "div",
    { class: "fields" },
    sources(layer),
    kindList(layer),
    h(
      "p",
      { class: "hint about" },
      t(`about.${layer.kind}`) === layer.kind.replaceAll("_", " ") ? one.good_for : t(`about.${layer.kind}`),
    ),
    layer.isPose || layer.isPainted ? null : knobBox(layer, one, turned),
    ...hearingFields(layer),
    last(layer),
  );
}

function sources(layer) {
  const start = (name, words, act) => h("button", { type: "button", class: "small", onclick: act }, icon(name), words);
  const pictures = layer.isPose
    ? []
    : [start("image", t("source.picture"), pickPicture), start("camera", t("source.camera"), openCamera)];
  return h(
    "div",
    { class: "row" },
    pictures,
    start("paper", t("source.blank"), () => tell("clear", layer)),
  );
}

function kindList(layer) {
  const kinds = state.kinds.filter(usable);
  const placed = new Set(Object.values(FAMILIES).flat());
  const groups = { ...FAMILIES, others: kinds.map((one) => one.kind).filter((kind) => !placed.has(kind)) };
  const select = h("select", { name: "kind", onchange: () => become(layer, select.value) });
  for (const [family, members] of Object.entries(groups)) {
    const there = members.filter((kind) => kinds.some((one) => one.kind === kind));
    select.append(
      h(
        "optgroup",
        { label: t(`family.${family}`) },
        there.map((kind) => h("option", { value: kind }, t(`kind.${kind}`))),
      ),
    );
  }
  select.append(missing());
  select.value = layer.kind;
  return h("label", { class: "field choice" }, h("span", { class: "name" }, t("layer.kind")), select);
}

/** Kinds whose networks are not on this machine: named, not offered. */
function missing() {
  const there = state.kinds.filter((one) => one.needs);
  return h(
    "optgroup",
    { label: t("family.missing"), hidden: !there.length },
    there.map((one) => h("option", { disabled: true, title: one.needs }, t(`kind.${one.kind}`))),
  );
}

function become(layer, kind) {
  layer.become(kind);
  if (layer.isPose) layer.drawPose();
  state.tool.colour = inkFor(layer);
  tell("layers");
  show("sketch");
  tell("drawn", layer);
}

function knobBox(layer, one, turned) {
  return h(
    "details",
    {
      class: "knobs",
      open: layer.knobsOpen ?? one.knobs.length <= 4,
      ontoggle: (event) => {
        layer.knobsOpen = event.target.open;
      },
    },
    h("summary", {}, t("layer.knobs")),
    knobFields(layer, one, turned),
  );
}

function hearingFields(layer) {
  const presets = Object.keys(state.controlPresets).map((name) => [name, t(`preset.${name}`)]);
  const nets = [["auto", t("net.auto")], ...state.nets.map(({ kind }) => [kind, t(`net.${kind}`)])];
  return [
    h("div", { class: "rule" }),
    slider({
      label: t("layer.weight"),
      help: t("layer.weight.help"),
      value: layer.weight,
      low: 0,
      high: HEAVIEST,
      step: 0.05,
      name: "weight",
      onchange: (value) => {
        layer.weight = value;
      },
    }),
    span({
      label: t("layer.span"),
      names: [t("layer.start"), t("layer.end")],
      start: layer.start,
      end: layer.end,
      onchange: (start, end) => Object.assign(layer, { start, end }),
    }),
    choice({
      label: t("layer.preset"),
      value: layer.preset,
      options: presets,
      name: "preset",
      onchange: (value) => Object.assign(layer, { preset: value, spoken: null }),
    }),
    choice({
      label: t("layer.net"),
      help: t("layer.net.help"),
      value: layer.net,
      options: nets,
      name: "net",
      onchange: (value) => {
        layer.net = value;
        refresh(layer);
      },
    }),
  ];
}

function last(layer) {
  const place = state.layers.indexOf(layer);
  return h(
    "div",
    { class: "row end" },
    iconButton("mask", t("layer.mask"), () => {
      show("mask");
      tell("page", "draw");
    }),
    iconButton("restore", t("layer.unedit"), () => {
      layer.clearEdits();
      layer.clearMask();
      tell("map", layer);
    }),
    iconButton("save", t("layer.save"), () => layer.map.toBlob((blob) => save(blob, `${layer.kind}.png`))),
    iconButton("up", t("layer.up"), () => moveLayer(layer, -1), { disabled: place === 0 }),
    iconButton("down", t("layer.down"), () => moveLayer(layer, 1), { disabled: place === state.layers.length - 1 }),
    iconButton("trash", t("layer.remove"), () => removeLayer(layer)),
  );
}
