/** Small pictures shown large: Catmull and Rom's cubic keeps edges crisp where the browser's own filter blurs them. */

import { canvas } from "./dom.js";

const REACH = 2;

/** Catmull, Rom 1974; Lanczos' longer window leaves halos beside the edges of so small pictures. */
function cubic(x) {
  const far = Math.abs(x);
  if (far >= REACH) return 0;
  return far < 1 ? 1 - 2.5 * far ** 2 + 1.5 * far ** 3 : 2 - 4 * far + 2.5 * far ** 2 - 0.5 * far ** 3;
}

/** For each of `to` pixels: where its neighbours among `from` begin, and their weights. */
function weights(from, to) {
  return Array.from({ length: to }, (_, place) => {
    const middle = ((place + 0.5) * from) / to - 0.5;
    const first = Math.floor(middle) - REACH + 1;
    const raw = Array.from({ length: 2 * REACH }, (_, step) => cubic(middle - first - step));
    const sum = raw.reduce((all, one) => all + one, 0);
    return { first, factors: raw.map((one) => one / sum) };
  });
}

/** Rows of `pixels` (width × height × 4) made `to` wide, and the result turned over its diagonal. */
function stretched(pixels, width, height, to) {
  const out = new Float32Array(to * height * 4);
  weights(width, to).forEach(({ first, factors }, column) => {
    for (let row = 0; row < height; row++) {
      for (let step = 0; step < factors.length; step++) {
        const from = (row * width + Math.min(width - 1, Math.max(0, first + step))) * 4;
        const at = (column * height + row) * 4;
        for (let channel = 0; channel < 4; channel++) out[at + channel] += factors[step] * pixels[from + channel];
      }
    }
  });
  return out;
}

/** A canvas `scale` times as large as a picture (an image or a canvas). */
export function enlarged(picture, scale) {
  const [width, height] = [picture.naturalWidth ?? picture.width, picture.naturalHeight ?? picture.height];
  const small = canvas(width, height);
  const context = small.getContext("2d");
  context.drawImage(picture, 0, 0);
  if (scale <= 1) return small;
  const across = stretched(context.getImageData(0, 0, width, height).data, width, height, width * scale);
  const both = stretched(across, height, width * scale, height * scale);
  const large = canvas(width * scale, height * scale);
  large.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(both), width * scale), 0, 0);
  return large;
}
