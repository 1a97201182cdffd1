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
import { connect, invite } from "./workbench.js";

async function refresh() {
  await loadCatalog();
  $("fit").hidden = !catalog.live;
  invite();
  if (!catalog.entries.length && !catalog.live) return;
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
  // The result of a fit has another name than the versions before it.
  const isNext = (choice, other) => choice && other.entry.title === choice.entry.title && other.layer.name === choice.layer.name;
  const find = (choice) => choices().find((other) => keyOf(other) === keyOf(choice)) ?? choices().findLast((other) => isNext(choice, other)) ?? null;
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

connect(refresh);

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
