/** Where pictures come from: files, drops, the clipboard, the camera, blank paper. */

import { on, tell } from "./bus.js";
import { find } from "./dom.js";
import { asPicture } from "./layer.js";
import { recipeOf } from "./png.js";
import { takePoses } from "./pose.js";
import { restore } from "./restore.js";
import { addLayer, current, FIRST_KIND, show, state } from "./state.js";
import { rememberCanvas } from "./undo.js";
import { t } from "./words.js";

const FOR_PHOTOGRAPHS = "canny";
const camera = find("#camera");
const film = find("#film");

on("clear", clear);

/** Listen for drops and pastes, anywhere on the page. */
export function startSources() {
  find("#picture-file").addEventListener("change", ({ target }) =>
    takeFile(target.files[0]).finally(() => {
      target.value = "";
    }),
  );
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files[0]) takeFile(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file) takeFile(file);
  });
  find("#shutter").addEventListener("click", shoot);
  camera.addEventListener("close", closeCamera);
}

export const pickPicture = () => find("#picture-file").click();

/** A file that somebody handed over: our own picture restores everything, key points a pose, others are drawn on. */
async function takeFile(file) {
  try {
    if (file.name.endsWith(".json")) return takeJson(await file.text());
    const recipe = await recipeOf(file);
    return recipe ? await restore(recipe) : placePicture(await asPicture(URL.createObjectURL(file)));
  } catch {
    return tell("say", t("source.unread", { name: file.name }));
  }
}

function takeJson(text) {
  const layer = current() ?? addLayer("pose");
  if (!layer.isPose) layer.become("pose");
  takePoses(text);
  tell("layers");
  show("sketch");
}

/** Lay a picture on the layer that is worked on; a photograph is no scribble, so a fresh layer looks for its edges. */
export function placePicture(picture) {
  const layer = current() ?? addLayer();
  if (layer.isPose || (!layer.touched && layer.kind === FIRST_KIND)) layer.become(FOR_PHOTOGRAPHS);
  rememberCanvas(layer.sketch, () => tell("drawn", layer));
  layer.place(picture);
  tell("layers");
  tell("page", "draw");
  show("sketch");
  tell("drawn", layer);
}

function clear(layer = current()) {
  if (!layer) return;
  if (state.view === "map") layer.clearEdits();
  else if (state.view === "mask") layer.clearMask();
  else blank(layer);
  tell("map", layer);
}

function blank(layer) {
  rememberCanvas(layer.sketch, () => {
    layer.touched = true;
    tell("drawn", layer);
  });
  layer.blank();
  layer.blackout();
  layer.people = [];
  tell("pose", layer);
}

/** Ask for the camera. */
export async function openCamera() {
  try {
    film.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 1024, height: 1024 } });
    camera.showModal();
  } catch {
    tell("say", t("source.no_camera"));
  }
}

async function shoot() {
  placePicture(await createImageBitmap(film));
  camera.close();
}

function closeCamera() {
  for (const track of film.srcObject?.getTracks() ?? []) track.stop();
  film.srcObject = null;
}
