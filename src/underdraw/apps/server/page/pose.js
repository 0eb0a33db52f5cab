/** The pose editor: joints that can be dragged, people that come and go. */

import { tell } from "./bus.js";
import { LIMBS, fromOpenPose, standing, toOpenPose } from "./skeleton.js";
import { current, state } from "./state.js";
import { remember } from "./undo.js";

const GRIP = 0.035; // how near a joint must be, in shares of the longer side
const NUDGE = 1 / 128;
const held = { person: 0, joint: 0, whole: false, from: null, dragging: false };

const copy = (people) => people.map((person) => person.map((joint) => ({ ...joint })));

function rememberPeople(layer) {
  remember(
    () => copy(layer.people),
    (people) => {
      layer.people = copy(people);
      redrawn(layer);
    },
  );
}

function redrawn(layer) {
  layer.drawPose();
  tell("pose", layer);
  tell("map", layer);
}

/** Somebody new. */
export function addPerson() {
  const layer = current();
  rememberPeople(layer);
  layer.people.push(standing(0.3 * [0, 1, -1][layer.people.length % 3]));
  Object.assign(held, { person: layer.people.length - 1, joint: 0 });
  redrawn(layer);
}

/** The person whose joint was touched last goes. */
export function removePerson() {
  const layer = current();
  if (!layer.people.length) return;
  rememberPeople(layer);
  layer.people.splice(Math.min(held.person, layer.people.length - 1), 1);
  held.person = Math.max(0, held.person - 1);
  redrawn(layer);
}

/** Left becomes right. */
export function mirror() {
  const layer = current();
  rememberPeople(layer);
  for (const person of layer.people) for (const joint of person) joint.x = 1 - joint.x;
  redrawn(layer);
}

/** Take a joint in hand; `whole` takes its person. Returns whether there was one. */
export function grab(layer, share, whole) {
  const found = nearest(layer, share);
  if (!found) return false;
  rememberPeople(layer);
  Object.assign(held, found, { whole, from: share, dragging: true });
  tell("pose", layer);
  return true;
}

/** Drag what is in hand to there. */
export function drag(layer, share) {
  if (!held.dragging) return;
  const person = layer.people[held.person];
  const [x, y] = [share.x - held.from.x, share.y - held.from.y];
  for (const joint of held.whole ? person : [person[held.joint]])
    Object.assign(joint, { x: joint.x + x, y: joint.y + y, on: held.whole ? joint.on : true });
  held.from = share;
  redrawn(layer);
}

export function release() {
  held.dragging = false;
}

function nearest(layer, share) {
  const longer = Math.max(...layer.size);
  const far = (joint) =>
    Math.hypot(((joint.x - share.x) * layer.size[0]) / longer, ((joint.y - share.y) * layer.size[1]) / longer);
  const all = layer.people.flatMap((person, place) =>
    person.map((joint, index) => ({ person: place, joint: index, far: far(joint) })),
  );
  const [best] = all.sort((one, other) => one.far - other.far);
  return best && best.far <= GRIP ? { person: best.person, joint: best.joint } : null;
}

/** Keys of the editor; returns whether one was meant. */
export function poseKey(event) {
  const layer = current();
  const joint = layer.people[held.person]?.[held.joint];
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (moves[event.key] && joint) nudge(layer, joint, moves[event.key], event.shiftKey);
  else if (event.key === "," || event.key === ".") step(layer, event.key === "." ? 1 : -1);
  else if ((event.key === "Delete" || event.key === "Backspace") && joint) hide(layer, joint);
  else return false;
  return true;
}

function nudge(layer, joint, [x, y], far) {
  const way = far ? 4 * NUDGE : NUDGE;
  rememberPeople(layer);
  Object.assign(joint, { x: joint.x + x * way, y: joint.y + y * way });
  redrawn(layer);
}

function hide(layer, joint) {
  rememberPeople(layer);
  joint.on = !joint.on;
  redrawn(layer);
}

function step(layer, way) {
  const count = layer.people.length * 18;
  if (!count) return;
  const next = (held.person * 18 + held.joint + way + count) % count;
  Object.assign(held, { person: Math.floor(next / 18), joint: next % 18 });
  tell("pose", layer);
}

/** What the joint in hand is: its number, or null. */
export const heldJoint = (layer) => (layer.people[held.person] ? held.joint : null);

/** OpenPose JSON in. Throws for what is none. */
export function takePoses(text) {
  const layer = current();
  const people = fromOpenPose(text, state.size);
  rememberPeople(layer);
  layer.people = people;
  redrawn(layer);
}

/** OpenPose JSON out, as a file. */
export function givePoses() {
  const text = JSON.stringify(toOpenPose(current().people, state.size), null, 1);
  return new Blob([text], { type: "application/json" });
}

/** Rings around the joints on the stage; hidden ones are hollow. */
export function drawHandles(context, layer, width, height) {
  const size = Math.max(width, height) / 90;
  for (const [place, person] of layer.people.entries()) {
    if (place === held.person) drawBones(context, person, width, height);
    person.forEach((joint, index) => {
      const chosen = place === held.person && index === held.joint;
      context.beginPath();
      context.arc(joint.x * width, joint.y * height, chosen ? 1.5 * size : size, 0, 2 * Math.PI);
      Object.assign(context, {
        lineWidth: chosen ? 3 : 1.5,
        strokeStyle: joint.on ? "white" : "rgb(255 255 255 / 0.35)",
      });
      context.stroke();
    });
  }
}

function drawBones(context, person, width, height) {
  Object.assign(context, { lineWidth: 1, strokeStyle: "rgb(255 255 255 / 0.35)" });
  context.beginPath();
  for (const [from, to] of LIMBS) {
    context.moveTo(person[from].x * width, person[from].y * height);
    context.lineTo(person[to].x * width, person[to].y * height);
  }
  context.stroke();
}
