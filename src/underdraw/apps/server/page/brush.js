/** Paint: strokes that feel the pen's pressure, hard strokes that mix no colours, and the bucket. */

/** The width of a stroke under a pressure; mice report 0.5, and paint as wide as they are told. */
function wide(size, event) {
  return event.pointerType === "pen" ? Math.max(1, size * (0.25 + 1.1 * event.pressure)) : size;
}

/**
 * A stroke on a surface. way: {size, colour, hard, clears}; `clears` takes away instead of painting, `hard` paints whole
 * pixels only.
 */
export class Stroke {
  constructor(surface, way) {
    this.surface = surface;
    this.context = surface.getContext("2d");
    this.way = way;
    Object.assign(this, { last: null, middle: null, size: 1 });
  }

  /** Go to x, y (in the surface's pixels). */
  to(x, y, event) {
    const from = this.last ?? { x, y };
    const size = wide(this.way.size, event);
    this.context.globalCompositeOperation = this.way.clears ? "destination-out" : "source-over";
    if (this.way.hard) this.stamps(from, { x, y }, size);
    else this.curve(from, { x, y }, size);
    this.last = { x, y };
    this.context.globalCompositeOperation = "source-over";
  }

  /** From the middle of the last way to the middle of this one, bent at the point between: no corners are seen. */
  curve(from, to, size) {
    const middle = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 };
    const begin = this.middle ?? from;
    Object.assign(this.context, { lineCap: "round", lineJoin: "round", lineWidth: size, strokeStyle: this.way.colour });
    this.context.beginPath();
    this.context.moveTo(begin.x, begin.y);
    this.context.quadraticCurveTo(from.x, from.y, middle.x + 0.01, middle.y); // without length it would leave no dot
    this.context.stroke();
    this.middle = middle;
    this.size = size;
  }

  /** Go the rest of the way, from the last middle to where the pen was lifted. */
  end() {
    if (!this.middle) return;
    const { context } = this;
    context.globalCompositeOperation = this.way.clears ? "destination-out" : "source-over";
    Object.assign(context, { lineCap: "round", lineWidth: this.size, strokeStyle: this.way.colour });
    context.beginPath();
    context.moveTo(this.middle.x, this.middle.y);
    context.lineTo(this.last.x, this.last.y);
    context.stroke();
    context.globalCompositeOperation = "source-over";
  }

  /** Discs of whole pixels, one at each pixel of the way. */
  stamps(from, to, size) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
    this.context.fillStyle = this.way.colour;
    for (let step = 0; step <= steps; step++) {
      const share = step / steps;
      this.stamp(from.x + share * (to.x - from.x), from.y + share * (to.y - from.y), size);
    }
  }

  stamp(x, y, size) {
    const side = Math.max(1, Math.round(size));
    const [left, top] = [Math.round(x - side / 2), Math.round(y - side / 2)];
    for (let row = 0; row < side; row++) {
      const above = row + 0.5 - side / 2;
      const half = Math.round(Math.sqrt(Math.max(0.25, (side * side) / 4 - above * above)) + side / 2) - side / 2;
      this.context.fillRect(Math.round(left + side / 2 - half), top + row, Math.max(1, Math.round(2 * half)), 1);
    }
  }
}

const NEAR = 24; // how far a channel may be from the colour that is filled: strokes have soft borders

/** Fill the region of like colour around x, y. */
export function fill(surface, x, y, colour) {
  const context = surface.getContext("2d");
  const { width, height } = surface;
  const whole = context.getImageData(0, 0, width, height);
  const region = flood(whole.data, width, height, Math.floor(y) * width + Math.floor(x));
  const [red, green, blue] = bytes(colour);
  region.forEach((inside, at) => {
    if (inside) whole.data.set([red, green, blue, 255], 4 * at);
  });
  context.putImageData(whole, 0, 0);
}

function flood(data, width, height, start) {
  const seen = new Uint8Array(width * height);
  const like = [0, 1, 2].map((channel) => data[4 * start + channel]);
  const fits = (at) => !seen[at] && like.every((value, channel) => Math.abs(data[4 * at + channel] - value) <= NEAR);
  const waiting = [start];
  seen[start] = 1;
  while (waiting.length) {
    const at = waiting.pop();
    for (const next of neighbours(at, width, height)) {
      if (!fits(next)) continue;
      seen[next] = 1;
      waiting.push(next);
    }
  }
  return seen;
}

function neighbours(at, width, height) {
  const column = at % width;
  const found = [];
  if (column > 0) found.push(at - 1);
  if (column < width - 1) found.push(at + 1);
  if (at >= width) found.push(at - width);
  if (at < width * (height - 1)) found.push(at + width);
  return found;
}

/** #rrggbb as three bytes. */
const bytes = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

/** Three bytes as #rrggbb. */
export const hex = (parts) => `#${Array.from(parts, (part) => part.toString(16).padStart(2, "0")).join("")}`;

/** The colour of a surface at x, y. */
export function colourAt(surface, x, y) {
  return hex(surface.getContext("2d").getImageData(Math.floor(x), Math.floor(y), 1, 1).data.slice(0, 3));
}
