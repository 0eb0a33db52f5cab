/** One control: what is drawn for it, the map that comes of it, and how it is heard. */

import { canvas } from "./dom.js";
import { drawPeople } from "./skeleton.js";

const BOARD = 512; // the longer side in pixels on which hands paint, where the drawing itself is smaller
let count = 0;

/** How many pixels of the board one pixel of a drawing of `size` = [width, height] is. */
const scaleOf = (size) => Math.max(1, Math.round(BOARD / Math.max(...size)));

/** Kinds that are painted on black: what is not painted is nothing. */
const DARK = new Set(["depth", "labels", "onehot", "segmentation", "pose", "boxes", "normal", "invert"]);
/** Kinds whose colours are names: no brush may mix them. */
export const FLAT = new Set(["labels", "onehot"]);

export class Layer {
  /** A layer of a kind for drawings of `size`, with blank paper. */
  constructor(kind, size) {
    Object.assign(this, { id: `layer-${++count}`, kind, size, knobs: {}, people: [] });
    Object.assign(this, { weight: 1, start: 0, end: 1, preset: "balanced", on: true, net: "auto" });
    Object.assign(this, { touched: false, held: false, edited: false, masked: false, trouble: "", busy: false });
    this.makeSurfaces();
    this.blank();
  }

  get paper() {
    return DARK.has(this.kind) ? "#000000" : "#ffffff";
  }

  /** Whether its map is made here: nothing is looked for in what was painted. */
  get isPainted() {
    return this.kind === "depth";
  }

  get isPose() {
    return this.kind === "pose";
  }

  /** sketch and mask lie on the board, the map and what was painted on it have the drawing's own pixels. */
  makeSurfaces() {
    const [width, height] = this.size;
    const scale = scaleOf(this.size);
    this.sketch = canvas(width * scale, height * scale);
    this.mask = canvas(width * scale, height * scale);
    this.extracted = canvas(width, height);
    this.edits = canvas(width, height);
    this.blackout();
  }

  blackout() {
    const context = this.extracted.getContext("2d");
    context.fillStyle = "#000000";
    context.fillRect(0, 0, ...this.size);
  }

  /** Blank paper: nothing was drawn yet. */
  blank() {
    const context = this.sketch.getContext("2d");
    context.fillStyle = this.paper;
    context.fillRect(0, 0, this.sketch.width, this.sketch.height);
    this.touched = false;
    this.held = false;
  }

  /** Another kind; paper that nobody has touched takes the new kind's colour. */
  become(kind) {
    this.kind = kind;
    this.knobs = {};
    this.net = "auto";
    this.held = false;
    if (!this.touched) this.blank();
    this.clearEdits();
  }

  clearEdits() {
    this.edits.getContext("2d").clearRect(0, 0, ...this.size);
    this.edited = false;
  }

  clearMask() {
    this.mask.getContext("2d").clearRect(0, 0, this.mask.width, this.mask.height);
    this.masked = false;
  }

  /** Take a picture as what is drawn: its centre, in the drawing's proportions. */
  place(picture) {
    cover(this.sketch, picture);
    this.touched = true;
    this.held = false;
  }

  /** Take a finished map: what is drawn stays out of it until somebody draws again. */
  hold(picture) {
    const context = this.extracted.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, ...this.size);
    this.place(picture);
    this.held = true;
  }

  /** Painted greys are the map themselves; colours become the mean of their channels, as the server takes them. */
  drawGreys() {
    const context = this.extracted.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(this.sketch, 0, 0, ...this.size);
    const whole = context.getImageData(0, 0, ...this.size);
    for (let at = 0; at < whole.data.length; at += 4) {
      const grey = (whole.data[at] + whole.data[at + 1] + whole.data[at + 2]) / 3;
      whole.data.set([grey, grey, grey], at);
    }
    context.putImageData(whole, 0, 0);
  }

  /** The skeletons of the pose editor as this layer's map. */
  drawPose() {
    const board = canvas(this.sketch.width, this.sketch.height);
    const context = board.getContext("2d");
    context.fillRect(0, 0, board.width, board.height);
    drawPeople(context, this.people, board.width, board.height);
    this.sketch.getContext("2d").drawImage(board, 0, 0);
    const small = this.extracted.getContext("2d");
    small.imageSmoothingQuality = "high";
    small.drawImage(board, 0, 0, ...this.size);
    this.touched = true;
  }

  /** The map as it is heard: the annotator's, and over it what was painted by hand. */
  get map() {
    const whole = canvas(...this.size);
    const context = whole.getContext("2d");
    context.drawImage(this.extracted, 0, 0);
    context.drawImage(this.edits, 0, 0);
    return whole;
  }

  /** Black where the layer is not heard, white where it is; null where it is heard everywhere. */
  get heard() {
    if (!this.masked) return null;
    const whole = canvas(...this.size);
    const context = whole.getContext("2d");
    context.fillRect(0, 0, ...this.size);
    context.drawImage(this.mask, 0, 0, ...this.size);
    return whole;
  }

  /** The same layer for drawings of another size. */
  resize(size) {
    const old = { sketch: this.sketch, mask: this.mask, extracted: this.extracted, edits: this.edits };
    this.size = size;
    this.makeSurfaces();
    for (const [name, surface] of Object.entries(old)) {
      const context = this[name].getContext("2d");
      context.imageSmoothingEnabled = name === "sketch" && !FLAT.has(this.kind);
      cover(this[name], surface);
    }
    if (this.isPose) this.drawPose();
  }
}

/** Draw a picture so that it fills a canvas, its centre in the middle. */
export function cover(surface, picture) {
  const [width, height] = [
    picture.naturalWidth || picture.videoWidth || picture.width,
    picture.naturalHeight || picture.videoHeight || picture.height,
  ];
  const scale = Math.max(surface.width / width, surface.height / height);
  const context = surface.getContext("2d");
  context.imageSmoothingQuality = "high";
  const [across, down] = [width * scale, height * scale];
  context.drawImage(picture, (surface.width - across) / 2, (surface.height - down) / 2, across, down);
}

/** A canvas as the base64 of a PNG, as our API takes pictures. */
export const asText = (surface) => surface.toDataURL("image/png").split(",")[1];

/** The picture in such a text, or at another address of this page. */
export async function asPicture(source) {
  const picture = new Image();
  picture.src = source.startsWith("blob:") || source.startsWith("data:") ? source : `data:image/png;base64,${source}`;
  await picture.decode();
  return picture;
}
