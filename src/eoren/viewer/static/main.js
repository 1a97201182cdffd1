// Two layers side by side in one deep-zoom view, values under the pointer, and the progress of a running fit.
// Layers are IIIF images; everything else comes from /api. No framework.

import "./keys.js";
import "./scales.js";
import { choicesOfAddress } from "./address.js";
import { catalog, choices, keyOf, loadCatalog } from "./catalog.js";
import { $ } from "./dom.js";
import { fit, follow } from "./live.js";
import { notify } from "./notices.js";
import { changes, choose, drawing, fillSelects, panes, sides } from "./panes.js";

async function refresh() {
  await loadCatalog();
  $("fit").hidden = !catalog.live;
  if (!catalog.entries.length) return showMessage("The first image appears after the first step.");
  const titles = catalog.entries.map((entry) => entry.title).join(", ");
  document.title = `${titles} – EoREN`;
  $("title").textContent = titles;
  fillSelects();
  for (const { name, image_notice } of catalog.entries) if (image_notice) notify(`image of ${name}`, `${image_notice}.`);
  const next = panes.left.choice ? sameChoices() : choicesOfAddress(firstChoices());
  drawing.tiled = !catalog.live || Boolean(fit.status?.ended);
  for (const side of sides) choose(side, next[side]);
}

function sameChoices() {
  const find = (choice) => choices().find((other) => keyOf(other) === keyOf(choice)) || null;
  return { left: find(panes.left.choice) || choices()[0], right: find(panes.right.choice) };
}

function firstChoices() {
  const all = choices();
  const other = catalog.entries[1];
  // The original is drawn once, also beside a running fit.
  const right = all.find(({ entry, layer }) => (other ? entry === other : layer.name === (all.length < 5 ? "gradient" : "original")));
  return { left: all[0], right };
}

function showMessage(text) {
  $("waiting").hidden = false;
  $("waiting").textContent = text;
}

changes.addEventListener("shown", () => {
  $("waiting").hidden = true;
  document.body.dataset.state = "open";
});

async function start() {
  try {
    await refresh();
  } catch (error) {
    showMessage(error.message);
    return notify("start", error.message, start);
  }
  if (catalog.live) follow(refresh);
}

start();
