// The dialog about the field on the left, its layers and the keys.

import { $, make, pairs } from "./dom.js";
import { panes } from "./panes.js";

export function about() {
  const entry = panes.left.choice?.entry;
  if (!entry) return;
  const decibels = (value) => (value == null ? "unknown" : `${value.toFixed(2)} dB`);
  const link = (path) => make("a", { href: path, textContent: `${location.origin}${path}` });
  pairs($("facts"), [
    ["field", entry.title],
    ["image", `${entry.width} × ${entry.height}, ${entry.channels} channels`],
    ["parameters", entry.parameters.toLocaleString("en")],
    ["PSNR", decibels(entry.metrics.psnr)],
    ["gradient PSNR", decibels(entry.metrics.gradient_psnr)],
    ["IIIF image", link(`/iiif/${encodeURIComponent(entry.name)}/info.json`)],
  ]);
  pairs($("layer-descriptions"), entry.layers.map((layer) => [layer.label, layer.description]));
  $("panel").showModal();
}

$("about").addEventListener("click", about);
