/** The X/Y grid: every value of one setting with every value of another, in one table. */

import { ask, events } from "./api.js";
import { on, tell } from "./bus.js";
import { find, h } from "./dom.js";
import { addItem } from "./gallery.js";
import { save } from "./saving.js";
import { wish } from "./wish.js";
import { t } from "./words.js";

const AXES = ["weight", "seed", "guidance", "steps", "start", "end", "strength", "scheduler", "prompt", "negative"];
const USUAL = {
  weight: "0, 0.5, 1",
  seed: "1, 2, 3",
  guidance: "1, 4, 8",
  steps: "5, 10, 20",
  start: "0, 0.5",
  end: "0.5, 1",
  strength: "0.3, 0.6, 0.9",
  scheduler: "dpm++ 2m, euler a",
};
const dialog = find("#grid");
const axes = [
  { name: "weight", values: USUAL.weight },
  { name: "seed", values: USUAL.seed },
];
let run = null;

on("language loaded", render);

/** Listen to the button that opens it. */
export function startGrid() {
  find("#open-grid").addEventListener("click", () => {
    render();
    dialog.showModal();
  });
  find("#grid-go").addEventListener("click", () => (run ? halt() : draw()));
  dialog.addEventListener("close", halt);
}

function render() {
  find("#axes").replaceChildren(...axes.map(axisFields));
  find("#grid-go").textContent = run ? t("run.stop") : t("grid.go");
}

function axisFields(axis, place) {
  const values = h("input", {
    type: "text",
    value: axis.values,
    "aria-label": t("grid.values"),
    onchange: () => {
      axis.values = values.value;
    },
  });
  const list = h(
    "select",
    {
      "aria-label": t(place ? "grid.down" : "grid.across"),
      onchange: () => {
        Object.assign(axis, { name: list.value, values: USUAL[list.value] ?? "" });
        render();
      },
    },
    [...(place ? [""] : []), ...AXES].map((name) =>
      h("option", { value: name }, name ? t(`axis.${name}`) : t("grid.none")),
    ),
  );
  list.value = axis.name;
  return h(
    "div",
    { class: "axis" },
    h("span", { class: "name" }, t(place ? "grid.down" : "grid.across")),
    list,
    axis.name ? values : null,
  );
}

const parted = (text) =>
  text
    .split(/[,，;；]/)
    .map((word) => word.trim())
    .filter(Boolean);

async function draw() {
  const wanted = axes
    .filter(({ name, values }) => name && parted(values).length)
    .map(({ name, values }) => ({ name, values: parted(values) }));
  if (!wanted.length) return;
  const cells = table(wanted);
  run = { id: null, leaving: new AbortController() };
  render();
  try {
    for await (const [name, data] of events(
      "/v1/grid",
      { ...wish(), count: undefined, previews: 0, axes: wanted },
      run.leaving.signal,
    ))
      hear(name, data, cells);
  } catch (error) {
    if (error.name !== "AbortError") tell("say", error.message);
  }
  run = null;
  render();
}

function hear(name, data, cells) {
  if (run) run.id = data.id;
  if (name === "frame" && cells[data.picture]) cells[data.picture].dataset.share = `${data.step}/${data.steps}`;
  if (name === "picture") fill(cells[data.index], data.picture);
  if (name === "sheet")
    find("#grid-save").onclick = () =>
      save(new Blob([Uint8Array.from(atob(data.picture), (letter) => letter.charCodeAt(0))]), "grid.png");
  if (name === "sheet") find("#grid-save").hidden = false;
  if (name === "error") tell("say", data.detail);
}

function fill(cell, picture) {
  cell.replaceChildren(
    h(
      "button",
      {
        type: "button",
        class: "picture",
        title: t("grid.keep"),
        onclick: () => addItem(picture).then(() => dialog.close()),
      },
      h("img", { src: `data:image/png;base64,${picture}`, alt: "" }),
    ),
  );
  delete cell.dataset.share;
}

/** The empty table; its cells row by row. */
function table([across, down = { name: "", values: [""] }]) {
  find("#grid-save").hidden = true;
  const cells = [];
  const rows = down.values.map((value) =>
    h(
      "tr",
      {},
      h("th", {}, down.name ? `${t(`axis.${down.name}`)} ${value}` : ""),
      across.values.map(() => {
        const cell = h("td", {});
        cells.push(cell);
        return cell;
      }),
    ),
  );
  const head = h(
    "tr",
    {},
    h("th", {}),
    across.values.map((value) => h("th", {}, `${t(`axis.${across.name}`)} ${value}`)),
  );
  find("#cells").replaceChildren(h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
  return cells;
}

function halt() {
  if (!run) return;
  if (run.id) ask(`/v1/cancel/${run.id}`, { keep: false }).catch(() => {});
  run.leaving.abort();
}
