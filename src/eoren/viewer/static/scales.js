// How far the stage is zoomed in, a scale bar, and the meaning of the colours of each side.

import { $, make } from "./dom.js";
import { changes, panes, sides } from "./panes.js";
import { scale, viewer } from "./stage.js";

const LONGEST_BAR = 120; // CSS pixels

function showScale() {
  const entry = panes.left.sheet?.choice.entry;
  $("scale").hidden = !entry;
  if (!entry) return;
  const pixel = scale() / entry.width; // in CSS pixels
  const factor = pixel * devicePixelRatio;
  $("zoom").textContent = `${factor < 0.995 ? factor.toFixed(2) : factor < 9.95 ? factor.toFixed(1) : Math.round(factor)}×`;
  const power = 10 ** Math.floor(Math.log10(LONGEST_BAR / pixel));
  const length = [5, 2, 1].map((times) => times * power).find((size) => size * pixel <= LONGEST_BAR);
  $("bar").style.width = `${length * pixel}px`;
  $("bar-length").textContent = `${Number(length.toPrecision(1))} px`;
}

function keyTo({ layer }) {
  const { colors, low, high, unit } = layer.key;
  const isWheel = layer.key.kind === "wheel";
  const field = make("span", { className: isWheel ? "wheel" : "ramp" });
  // Colours grow darker towards the middle of the wheel.
  field.style.background = isWheel
    ? `radial-gradient(closest-side, #000, transparent), conic-gradient(from 90deg, ${[...colors, colors[0]]})`
    : `linear-gradient(to right, ${colors})`;
  return isWheel ? [field, `rim: ${high} ${unit}, or more`] : [low, field, `${high} ${unit}`];
}

function showKeys() {
  for (const side of sides) {
    const choice = panes[side].sheet && panes[side].choice;
    $(`${side}-key`).hidden = !choice?.layer.key;
    if (choice?.layer.key) $(`${side}-key`).replaceChildren(...keyTo(choice));
  }
}

viewer.addHandler("viewport-change", showScale);
viewer.addHandler("resize", () => requestAnimationFrame(showScale));
changes.addEventListener("sheet", showScale);
changes.addEventListener("sheet", showKeys);
