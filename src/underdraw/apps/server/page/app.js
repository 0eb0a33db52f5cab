/** The page begins here. */

import { keepToken, takeToken } from "./api.js";
import { on, tell } from "./bus.js";
import { find, h } from "./dom.js";
import { startGallery } from "./gallery.js";
import { startGenerate } from "./generate.js";
import { startGrid } from "./grid.js";
import { startDraws, startKeys, VIEWS } from "./keys.js";
import { startLayers } from "./layers.js";
import "./maps.js";
import "./obedience.js";
import { startPainting } from "./painting.js";
import { startSettings } from "./settings.js";
import { startSources } from "./sources.js";
import { redraw, watchRoom } from "./stage.js";
import { current, load, show, state } from "./state.js";
import { startTheme } from "./theme.js";
import { setLanguage, spoken, t, translate } from "./words.js";

const LONG = 6000; // how long news stays, in milliseconds

on("say", (words) => {
  const line = h("p", { class: "toast" }, words);
  find("#toasts").append(line);
  setTimeout(() => line.remove(), LONG);
});
on("view layers loaded", renderViews);
on("drawn painted view layers", () => {
  const layer = current();
  find("#invite").hidden = state.view !== "sketch" || !layer || layer.touched || layer.isPose;
});
on("page", turnTo);
on("token", () => find("#token").open || find("#token").showModal());

function renderViews() {
  for (const tab of document.querySelectorAll("#views button"))
    tab.setAttribute("aria-selected", String(tab.dataset.view === state.view));
  find("#room").classList.toggle("nobody", !current() && ["sketch", "map", "mask"].includes(state.view));
}

/** On a phone one panel is seen at a time. */
function turnTo(page) {
  document.body.dataset.page = page;
  for (const tab of document.querySelectorAll("#pages button"))
    tab.setAttribute("aria-pressed", String(tab.dataset.page === page));
  redraw();
}

function listen() {
  for (const view of VIEWS) find(`#views [data-view=${view}]`).addEventListener("click", () => show(view));
  for (const tab of document.querySelectorAll("#pages button"))
    tab.addEventListener("click", () => turnTo(tab.dataset.page));
  find("#language").addEventListener("click", () => setLanguage(spoken() === "en" ? "zh" : "en"));
  find("#open-help").addEventListener("click", () => find("#help").showModal());
  find("#token form").addEventListener("submit", () => {
    keepToken(find("#token input").value);
    begin();
  });
  for (const close of document.querySelectorAll("dialog [data-close]"))
    close.addEventListener("click", () => close.closest("dialog").close());
}

async function begin() {
  try {
    await load();
    find("#base").textContent = `${state.base.name} · ${state.base.width} px`;
    find("#to-rank").hidden = !state.rank;
  } catch (error) {
    tell("say", error.status === 401 ? t("token.needed") : t("load.failed", { why: error.message }));
  }
}

takeToken();
translate();
startTheme();
for (const start of [
  startSettings,
  startLayers,
  startSources,
  startGenerate,
  startGrid,
  startKeys,
  startPainting,
  watchRoom,
  listen,
])
  start();
startDraws(on);
turnTo("draw");
await begin();
await startGallery();
document.documentElement.dataset.ready = "yes";
