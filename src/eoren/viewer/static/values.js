// Values of a field at a point, requested from the server, as rows of text.

import { requestJson } from "./api.js";
import { make } from "./dom.js";

// Evaluate field and image at a place { entry, x, y } of the unit square.
export async function evaluate({ entry, x, y }) {
  const values = await requestJson(`/api/probe/${encodeURIComponent(entry.name)}?x=${x}&y=${y}`);
  // Of the brightness: the mean over the colour channels, without alpha.
  const channels = values.gradient.length < 3 ? 1 : 3;
  const mean = (numbers) => numbers.slice(0, channels).reduce((sum, value) => sum + value, 0) / channels;
  const [dx, dy] = [0, 1].map((axis) => mean(values.gradient.map((gradient) => gradient[axis])));
  return { ...values, x: x * entry.width, y: y * entry.height, dx, dy, laplacian: mean(values.laplacian) };
}

export const signed = (value, digits = 3) => (value < 0 ? "−" : "\u2007") + Math.abs(value).toFixed(digits);
export const numbers = (channels) => channels.map((value) => value.toFixed(3)).join("  ");
export const differences = (channels) => channels.map((value) => signed(value)).join("  ");

const bytes = (channels) => channels.map((value) => Math.round(255 * Math.min(1, Math.max(0, value))));
export const inBytes = (channels) => bytes(channels).join("  ");
export const inHex = (channels) => `#${bytes(opaque(channels)).map((value) => value.toString(16).padStart(2, "0")).join("")}`;

const opaque = (channels) => (channels.length < 3 ? [channels[0], channels[0], channels[0]] : channels.slice(0, 3));

export function swatch(channels) {
  const box = make("span", { className: "swatch" });
  box.style.background = inHex(channels);
  return box;
}
