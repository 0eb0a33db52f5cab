/** The panel of settings: size, seeds, steps, and the picture to start from. */

import { on, tell } from "./bus.js";
import { find, h, icon, iconButton } from "./dom.js";
import { choice, slider } from "./sliders.js";
import { set, setSize, state } from "./state.js";
import { t } from "./words.js";

const MOST_STEPS = 60;
const MOST_GUIDANCE = 15;
const SHAPES = { square: [1, 1], portrait: [3, 4], landscape: [4, 3], tall: [1, 2], wide: [2, 1] };
const panel = find("#settings");
const prompt = find("#prompt");
const negative = find("#negative");

on("loaded language settings size", render);

/** Listen to the two fields of words. */
export function startSettings() {
  prompt.addEventListener("input", () => {
    state.settings.prompt = prompt.value;
    grow();
  });
  negative.addEventListener("input", () => {
    state.settings.negative = negative.value;
  });
  find("#more-words").addEventListener("click", () => unfold(negative.hidden));
}

function unfold(open) {
  negative.hidden = !open;
  find("#more-words").setAttribute("aria-expanded", String(open));
  if (open) negative.focus();
}

function grow() {
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(120, prompt.scrollHeight)}px`;
}

function render() {
  if (!state.base) return;
  if (prompt.value !== state.settings.prompt) prompt.value = state.settings.prompt;
  if (negative.value !== state.settings.negative) negative.value = state.settings.negative;
  if (state.settings.negative) negative.hidden = false;
  grow();
  panel.replaceChildren(sizes(), own(), seeds(), count(), ...pace(), start() ?? "", more() ?? "");
}

/** The side lengths of a shape: as many pixels as the base was trained at, in its unit. */
function sized([across, down]) {
  const { width, height, unit } = state.base;
  const side = Math.sqrt((width * height) / (across * down));
  return [across, down].map((part) => Math.max(unit, Math.round((part * side) / unit) * unit));
}

function sizes() {
  const shapes = Object.entries(SHAPES).map(([name, shape]) => [name, sized(shape)]);
  const chosen = shapes.find(([, size]) => size.join() === state.size.join())?.[0] ?? "";
  return h(
    "div",
    { class: "shapes", role: "group", "aria-label": t("set.shape") },
    shapes.map(([name, size]) => {
      const frame = h("i", {});
      frame.style.aspectRatio = `${size[0]} / ${size[1]}`;
      frame.style[size[0] >= size[1] ? "width" : "height"] = "20px";
      return h(
        "button",
        {
          type: "button",
          title: `${t(`shape.${name}`)} · ${size.join(" × ")}`,
          "aria-label": t(`shape.${name}`),
          "aria-pressed": String(name === chosen),
          onclick: () => setSize(size),
        },
        frame,
      );
    }),
  );
}

function own() {
  const { unit } = state.base;
  const side = (place) =>
    h("input", {
      type: "number",
      class: "number wide",
      min: unit,
      step: unit,
      value: state.size[place],
      "aria-label": t(place ? "set.height" : "set.width"),
      onchange: (event) => {
        const wanted = Math.max(unit, Math.round(Number(event.target.value) / unit) * unit);
        setSize(place ? [state.size[0], wanted] : [wanted, state.size[1]]);
      },
    });
  return h(
    "div",
    { class: "field plain" },
    h("span", { class: "name" }, t("set.size")),
    h("span", { class: "pair" }, side(0), "×", side(1)),
  );
}

function seeds() {
  const box = h("input", {
    type: "number",
    class: "number seed",
    min: 0,
    name: "seed",
    placeholder: t("set.random"),
    value: state.settings.seed ?? "",
    onchange: () => {
      state.settings.seed = box.value === "" ? null : Math.max(0, Math.floor(Number(box.value)));
    },
  });
  const dice = iconButton("dice", t("set.dice"), () => set({ seed: null }));
  return h(
    "div",
    { class: "field plain" },
    h("label", { class: "name", for: "" }, t("set.seed")),
    h("span", { class: "pair" }, box, dice),
  );
}

const count = () =>
  slider({
    label: t("set.count"),
    value: state.settings.count,
    low: 1,
    high: Math.min(16, state.limits.count ?? 16),
    step: 1,
    name: "count",
    onchange: (value) => {
      state.settings.count = value;
    },
  });

function pace() {
  const { steps, guidance, scheduler, preset } = state.settings;
  const quick = choice({
    label: t("set.preset"),
    help: t("set.preset.help"),
    value: preset,
    options: [["", t("set.usual")], ...Object.keys(state.drawingPresets).map((name) => [name, name.toUpperCase()])],
    onchange: (value) => set({ preset: value }),
  });
  if (preset) return [quick];
  return [
    slider({
      label: t("set.steps"),
      value: steps,
      low: 1,
      high: Math.min(MOST_STEPS, state.limits.steps ?? MOST_STEPS),
      step: 1,
      name: "steps",
      onchange: (value) => {
        state.settings.steps = value;
      },
    }),
    slider({
      label: t("set.guidance"),
      help: t("set.guidance.help"),
      value: guidance,
      low: 0,
      high: MOST_GUIDANCE,
      step: 0.5,
      name: "guidance",
      onchange: (value) => {
        state.settings.guidance = value;
      },
    }),
    choice({
      label: t("set.scheduler"),
      value: scheduler,
      options: state.schedulers.map(({ name, label }) => [name, label]),
      name: "scheduler",
      onchange: (value) => {
        state.settings.scheduler = value;
      },
    }),
    quick,
  ];
}

/** The picture that the drawing starts from, if there is one. */
function start() {
  const { image } = state.settings;
  if (!image) return null;
  const off = h(
    "button",
    {
      type: "button",
      class: "small",
      onclick: () => {
        set({ image: null });
        tell("settings");
      },
    },
    icon("close"),
    t("set.image.off"),
  );
  return h(
    "div",
    { class: "from" },
    h("img", { src: `data:image/png;base64,${image.picture}`, alt: t("set.image") }),
    h(
      "div",
      {},
      h("strong", {}, t("set.image")),
      off,
      slider({
        label: t("set.strength"),
        help: t("set.strength.help"),
        value: image.strength,
        low: 0.05,
        high: 1,
        step: 0.05,
        onchange: (value) => {
          image.strength = value;
        },
      }),
    ),
  );
}

/** What a restored recipe says beyond these fields. */
function more() {
  const names = Object.keys(state.settings.more);
  if (!names.length) return null;
  const off = iconButton("close", t("set.more.off"), () => set({ more: {} }));
  return h(
    "div",
    { class: "field plain" },
    h("span", { class: "name" }, t("set.more", { names: names.map((name) => t(`more.${name}`)).join(", ") })),
    off,
  );
}
