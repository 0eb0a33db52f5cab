/** Undo and redo of painted canvases and of anything else that can be taken down and put back. */

import { tell } from "./bus.js";

const DEEP = 40; // a canvas of 512 px is one megabyte a step
let done = [];
let undone = [];

/** Take down how things are, before they change. `take` gives a state, `put` restores one. */
export function remember(take, put) {
  done.push({ take, put, state: take() });
  if (done.length > DEEP) done.shift();
  undone = [];
  tell("undo");
}

/** Remember a canvas; `after` is called when it was put back. */
export function rememberCanvas(surface, after) {
  const take = () => surface.getContext("2d").getImageData(0, 0, surface.width, surface.height);
  remember(take, (state) => {
    surface.getContext("2d").putImageData(state, 0, 0);
    after();
  });
}

/** Nothing can be undone: the surfaces were exchanged for others. */
export function forget() {
  done = [];
  undone = [];
  tell("undo");
}

/** One step back. */
export const undo = () => step(done, undone);

/** One step forth. */
export const redo = () => step(undone, done);

export const canUndo = () => done.length > 0;
export const canRedo = () => undone.length > 0;

function step(from, to) {
  const last = from.pop();
  if (!last) return;
  to.push({ ...last, state: last.take() });
  last.put(last.state);
  tell("undo");
}
