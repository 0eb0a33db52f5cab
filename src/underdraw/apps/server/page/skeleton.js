/** People as OpenPose's 18 points: how they are drawn, read and written. A point is {x, y, on} in shares of the drawing. */

const JOINTS = 18;
export const LIMBS = [
  [1, 2],
  [1, 5],
  [2, 3],
  [3, 4],
  [5, 6],
  [6, 7],
  [1, 8],
  [8, 9],
  [9, 10],
  [1, 11],
  [11, 12],
  [12, 13],
  [1, 0],
  [0, 14],
  [14, 16],
  [0, 15],
  [15, 17],
];
const DOTS = Array.from({ length: JOINTS }, (_, place) => hue(place / JOINTS, 1));
const STICKS = Array.from({ length: LIMBS.length }, (_, place) => hue(place / JOINTS, 0.6));
const STICK = 4; // half the width of a limb where the longer side has 512 pixels, as ControlNet 1.1 draws them
/** BODY_25 has the middle of the hips as its ninth point, and feet after the ears. */
const MIDDLE_HIP = 8;

/** Somebody who stands and looks at us, about a drawing's height. */
const STANDING = [
  [0.5, 0.17],
  [0.5, 0.28],
  [0.42, 0.28],
  [0.38, 0.42],
  [0.36, 0.54],
  [0.58, 0.28],
  [0.62, 0.42],
  [0.64, 0.54],
  [0.45, 0.54],
  [0.445, 0.72],
  [0.44, 0.9],
  [0.55, 0.54],
  [0.555, 0.72],
  [0.56, 0.9],
  [0.48, 0.15],
  [0.52, 0.15],
  [0.455, 0.165],
  [0.545, 0.165],
];

function hue(turn, light) {
  const part = (shift) => {
    const at = (turn * 6 + shift) % 6;
    return Math.floor(255 * light * Math.max(0, Math.min(1, Math.abs(at - 3) - 1)));
  };
  return `rgb(${part(0)}, ${part(4)}, ${part(2)})`;
}

/** A new person, `shift` shares to the right. */
export const standing = (shift = 0) => STANDING.map(([x, y]) => ({ x: x + shift, y, on: true }));

/** Draw people on a canvas of width × height, limbs first. */
export function drawPeople(context, people, width, height) {
  const stick = (STICK * Math.max(width, height)) / 512;
  for (const person of people) {
    LIMBS.forEach(([from, to], place) =>
      drawLimb(context, person[from], person[to], STICKS[place], { width, height, stick }),
    );
    person.forEach((joint, place) => {
      if (joint.on) disc(context, joint.x * width, joint.y * height, stick, DOTS[place]);
    });
  }
}

function drawLimb(context, from, to, colour, { width, height, stick }) {
  if (!from.on || !to.on) return;
  const [x, y] = [(to.x - from.x) * width, (to.y - from.y) * height];
  const middle = [((from.x + to.x) * width) / 2, ((from.y + to.y) * height) / 2];
  context.fillStyle = colour;
  context.beginPath();
  context.ellipse(...middle, Math.hypot(x, y) / 2, stick, Math.atan2(y, x), 0, 2 * Math.PI);
  context.fill();
}

function disc(context, x, y, radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

/** People as OpenPose writes them. */
export function toOpenPose(people, [width, height]) {
  const flat = (person) => person.flatMap(({ x, y, on }) => (on ? [x * width, y * height, 1] : [0, 0, 0]));
  return {
    people: people.map((person) => ({ pose_keypoints_2d: flat(person) })),
    canvas_width: width,
    canvas_height: height,
  };
}

/** People in OpenPose's JSON (18 or 25 points; pixels of its canvas, or shares). Throws for anything else. */
export function fromOpenPose(text, size) {
  const read = JSON.parse(text);
  const whole = Array.isArray(read) ? read[0] : read;
  const [width, height] = [whole.canvas_width ?? size[0], whole.canvas_height ?? size[1]];
  if (!Array.isArray(whole.people)) throw new Error("no people");
  return whole.people
    .filter((one) => one.pose_keypoints_2d?.length)
    .map((one) => person(one.pose_keypoints_2d, width, height));
}

function person(numbers, width, height) {
  const points = Array.from({ length: Math.floor(numbers.length / 3) }, (_, place) =>
    numbers.slice(3 * place, 3 * place + 3),
  );
  if (points.length === 25) points.splice(MIDDLE_HIP, 1);
  if (points.length < JOINTS) throw new Error("fewer than 18 points");
  const seen = points.filter(([, , sure]) => sure > 0);
  const shares = seen.every(([x, y]) => Math.abs(x) <= 1 && Math.abs(y) <= 1);
  const [across, down] = shares ? [1, 1] : [width, height];
  return points.slice(0, JOINTS).map(([x, y, sure]) => ({ x: x / across, y: y / down, on: sure > 0 }));
}
