// The fields on display and their layers. A choice is an entry and one of its layers.

import { requestJson } from "./api.js";

export const catalog = { entries: [], live: false, workbench: false };

export async function loadCatalog() {
  Object.assign(catalog, await requestJson("/api/catalog"));
  // While a fit runs, only the newest version of its field is of interest.
  if (catalog.live) catalog.entries = catalog.entries.slice(-1);
}

export function choices() {
  return catalog.entries.flatMap((entry) => entry.layers.map((layer) => ({ entry, layer })));
}

export function keyOf(choice) {
  // While a fit runs, each new version of its field has a new name but the same title. Otherwise titles may repeat.
  return choice ? `${catalog.live ? choice.entry.title : choice.entry.name}~${choice.layer.name}` : "";
}

export const find = (key) => choices().find((choice) => keyOf(choice) === key) || null;

// Layers of the image alone are the same in every version of a field.
export const isOfImage = (choice) => ["original", "spline"].includes(choice.layer.name);

// The layer first: a narrow screen cuts the end.
export function labelOf(choice) {
  if (!choice) return "";
  return catalog.entries.length > 1 ? `${choice.layer.label} · ${choice.entry.name}` : choice.layer.label;
}
