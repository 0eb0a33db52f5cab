/** The strip of tools: brush, eraser, colours, size, labels, the pose editor's buttons. */

import { hex } from "./brush.js";
import { on, tell } from "./bus.js";
import { find, h, icon, iconButton } from "./dom.js";
import { FLAT } from "./layer.js";
import { addPerson, givePoses, heldJoint, mirror, removePerson, takePoses } from "./pose.js";
import { save } from "./saving.js";
import { slider } from "./sliders.js";
import { about, current, state } from "./state.js";
import { canRedo, canUndo, redo, undo } from "./undo.js";
import { t } from "./words.js";

const LARGEST = 120;
const INKS = [
  "#1d1b19",
  "#ffffff",
  "#a63d2f",
  "#d98e32",
  "#e8d26a",
  "#5f8f4e",
  "#3f7f8c",
  "#3b5b92",
  "#7a5a8c",
  "#8a6a4f",
];
const TONES = ["#ffffff", "#d9d9d9", "#b0b0b0", "#858585", "#5a5a5a", "#2e2e2e", "#000000"];
const strip = find("#tools");
const tray = find("#tray");

on("tool view layers undo language loaded pose", render);

/** Choose a tool. */
export function take(name) {
  state.tool.name = name;
  tell("tool");
}

/** A larger or smaller brush. */
export function resizeBrush(factor) {
  state.tool.size = Math.min(LARGEST, Math.max(1, Math.round(state.tool.size * factor)));
  tell("tool");
}

function render() {
  const layer = current();
  const paints = ["sketch", "map", "mask"].includes(state.view) && layer !== null;
  const posing = paints && layer.isPose && state.view === "sketch";
  strip.replaceChildren(
    ...(paints && !posing ? brushes() : []),
    ...(posing ? people() : []),
    ...(paints ? steps() : []),
  );
  tray.replaceChildren(...[...(posing ? poseTray(layer) : paints ? colourTray(layer) : [])].filter(Boolean));
  tray.hidden = !tray.childElementCount;
}

function brushes() {
  const names = [
    "brush",
    "eraser",
    ...(state.view === "map" ? ["restore"] : []),
    ...(state.view === "mask" ? [] : ["fill", "pick"]),
  ];
  return names.map((name) =>
    iconButton(name, t(`tool.${name}`), () => take(name), { "aria-pressed": String(state.tool.name === name) }),
  );
}

function steps() {
  return [
    h("span", { class: "rule" }),
    iconButton("undo", t("tool.undo"), undo, { disabled: !canUndo() }),
    iconButton("redo", t("tool.redo"), redo, { disabled: !canRedo() }),
    iconButton("paper", t("tool.clear"), () => tell("clear"), {}),
  ];
}

function people() {
  const pick = h("input", {
    type: "file",
    accept: ".json,application/json",
    hidden: true,
    id: "pose-file",
    onchange: readPoses,
  });
  return [
    iconButton("person", t("pose.add"), addPerson),
    iconButton("trash", t("pose.remove"), removePerson),
    iconButton("mirror", t("pose.mirror"), mirror),
    iconButton("upload", t("pose.import"), () => pick.click()),
    iconButton("save", t("pose.export"), () => save(givePoses(), "pose.json")),
    pick,
  ];
}

async function readPoses(event) {
  try {
    takePoses(await event.target.files[0].text());
  } catch (error) {
    tell("say", t("pose.unread", { why: error.message }));
  }
}

/** What a fresh layer of a kind is painted with: dark on white paper, light or a label's colour on black. */
export function inkFor(layer) {
  if (layer.paper === "#ffffff") return INKS[0];
  const [first] = labelsOf(layer) ?? [];
  return first ? hex(first.colour) : TONES[0];
}

const labelsOf = (layer) =>
  FLAT.has(layer.kind) || about(layer.kind)?.condition === "segmentation" ? about(layer.kind)?.labels : null;

/** Another layer's drawing, faint, to trace. */
function trace() {
  if (state.layers.length < 2) return null;
  const flip = () => {
    state.traced = !state.traced;
    tell("tool");
  };
  return h(
    "button",
    { type: "button", class: "small", "aria-pressed": String(state.traced), onclick: flip },
    icon("layers"),
    t("tool.trace"),
  );
}

function poseTray(layer) {
  const joint = heldJoint(layer);
  return [
    trace(),
    h(
      "p",
      { class: "hint" },
      layer.people.length ? t("pose.hint") : t("pose.empty"),
      joint === null ? "" : h("strong", {}, ` ${t(`joint.${joint}`)}`),
    ),
  ];
}

function colourTray(layer) {
  const size = slider({
    label: t("tool.size"),
    value: state.tool.size,
    low: 1,
    high: LARGEST,
    step: 1,
    name: "brush-size",
    onchange: (value) => {
      state.tool.size = value;
      tell("painted");
    },
  });
  if (state.view === "mask") return [size, h("p", { class: "hint" }, t("mask.hint"))];
  const labels = labelsOf(layer);
  return [size, labels ? labelPalette(labels) : swatches(layer), state.view === "sketch" ? trace() : null];
}

function swatches(layer) {
  const one = about(layer.kind);
  if (state.view === "map" && one?.binary) return h("p", { class: "hint" }, t("map.hint"));
  const toned = one?.channels === 1 && (state.view === "map" || layer.paper === "#000000");
  const own = h("input", {
    type: "color",
    value: state.tool.colour,
    title: t("tool.colour"),
    "aria-label": t("tool.colour"),
    oninput: () => ink(own.value),
  });
  return h(
    "div",
    { class: "swatches" },
    (toned ? TONES : INKS).map((colour) => swatch(colour, colour)),
    own,
  );
}

function ink(colour) {
  state.tool.colour = colour;
  if (state.tool.name !== "fill") state.tool.name = "brush";
  tell("tool");
}

function swatch(colour, name, words = null) {
  const dot = h("i", {});
  dot.style.background = colour;
  const pressed = String(state.tool.colour === colour);
  return h(
    "button",
    {
      type: "button",
      class: words ? "label" : "swatch",
      title: name,
      "aria-label": name,
      "aria-pressed": pressed,
      onclick: () => ink(colour),
    },
    dot,
    words,
  );
}

const sought = { words: "" };

/** The labels of a palette, with a field to find one of a hundred and fifty. */
function labelPalette(labels) {
  const list = h("div", { class: "labels" });
  const fill = () => {
    const fitting = labels.filter(({ name }) => `${name} ${t(`label.${name}`)}`.toLowerCase().includes(sought.words));
    list.replaceChildren(...fitting.map(({ name, colour }) => swatch(hex(colour), name, t(`label.${name}`))));
  };
  const seek = h("input", {
    type: "search",
    placeholder: t("label.seek"),
    "aria-label": t("label.seek"),
    value: sought.words,
    oninput: () => {
      sought.words = seek.value.toLowerCase();
      fill();
    },
  });
  fill();
  return h("div", { class: "palette" }, seek, list);
}
