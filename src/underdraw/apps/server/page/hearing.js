/** Which net hears a layer: that of its condition, or else a stand-in, said openly. */

import { about, state } from "./state.js";

/** Kinds whose regions or figures a net for edges can be shown as outlines. */
const OUTLINED = new Set(["segmentation", "labels", "pose", "boxes", "tile", "blur", "invert"]);

const isLines = (one) => one.channels === 1 && /line|edge|stroke|segment/.test(one.polarity);
const isDepth = (one) => one.channels === 1 && one.polarity.startsWith("near is white");

/**
 * {net, way}: the net's kind (or null) and how it is shown the map. "own": made for it; "lines": the map itself, by a net
 * for other maps of the same sort; "outlines": what the net's own annotator finds in the map; "none": nobody hears it.
 */
export function hearing(layer) {
  const one = about(layer.kind);
  const named = layer.net === "auto" ? standIn(one) : layer.net;
  const net = state.nets.find((each) => each.kind === named);
  if (!one || !net) return { net: null, way: "none" };
  return { net: net.kind, way: wayOf(one, net) };
}

function wayOf(one, net) {
  if (takes(net, one)) return "own";
  const target = about(net.kind);
  return (isLines(one) && isLines(target)) || (isDepth(one) && isDepth(target)) ? "lines" : "outlines";
}

const takes = (net, one) => net.annotators.includes(one.kind) || net.kind === one.condition;

function standIn(one) {
  if (!one) return null;
  const own = state.nets.find((net) => takes(net, one));
  if (own) return own.kind;
  const like = isDepth(one) ? isDepth : isLines(one) || OUTLINED.has(one.kind) ? isLines : () => false;
  return state.nets.find((net) => like(about(net.kind) ?? { channels: 0, polarity: "" }))?.kind ?? null;
}

/** Whether a layer says anything at all. */
export const speaks = (layer) => layer.on && (layer.touched || layer.edited) && hearing(layer).net !== null;
