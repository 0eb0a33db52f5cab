/** Draw: send the wish, show what comes, stop when told. */

import { ask, events } from "./api.js";
import { on, tell } from "./bus.js";
import { find, h } from "./dom.js";
import { addItem } from "./gallery.js";
import { asPicture } from "./layer.js";
import { show, state } from "./state.js";
import { wish } from "./wish.js";
import { t } from "./words.js";

const go = find("#go");
const bar = find("#bar");
const news = find("#news");

on("run language loaded", render);

/** Listen to the button. */
export function startGenerate() {
  go.addEventListener("click", () => (state.run ? stop() : generate()));
  render();
}

/** Draw what the page shows, or another wish. */
export async function generate(body = wish()) {
  if (state.run) return;
  const run = { id: null, step: 0, steps: 0, preview: null, position: null, leaving: new AbortController() };
  state.run = run;
  show("picture");
  tell("run");
  try {
    for await (const [name, data] of events("/v1/generate", body, run.leaving.signal)) await hear(run, name, data);
  } catch (error) {
    if (error.name !== "AbortError") tell("say", error.wait ? t("run.full", { wait: error.wait }) : error.message);
  }
  state.run = null;
  tell("run");
}

async function hear(run, name, data) {
  run.id = data.id;
  if (name === "queued") run.position = data.position;
  if (name === "frame") await frame(run, data);
  if (name === "picture") await addItem(data.picture, data.recipe);
  if (name === "done") for (const note of data.cancelled ? [t("run.stopped")] : data.notes) tell("say", note);
  if (name === "error") tell("say", data.detail);
  tell("run");
}

async function frame(run, data) {
  Object.assign(run, { step: data.step, steps: data.steps, position: null });
  if (data.preview && data.picture === 0) run.preview = await asPicture(data.preview);
}

/** Call off what is being drawn. */
export async function stop() {
  const run = state.run;
  if (!run) return;
  if (!run.id) return run.leaving.abort();
  await ask(`/v1/cancel/${run.id}`, { keep: false }).catch(() => run.leaving.abort());
}

function render() {
  const run = state.run;
  go.replaceChildren(h("span", {}, run ? t("run.stop") : t("run.go")), h("kbd", {}, run ? "Esc" : "Ctrl ↵"));
  go.classList.toggle("running", Boolean(run));
  go.disabled = !state.base;
  bar.hidden = !run;
  bar.max = run?.steps || 1;
  if (run?.steps) bar.value = run.step;
  else bar.removeAttribute("value");
  news.textContent = run ? said(run) : "";
}

function said(run) {
  if (run.position) return t("run.queued", { count: run.position });
  return run.steps ? t("run.step", { step: run.step, steps: run.steps }) : t("run.begins");
}
