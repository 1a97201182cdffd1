// Buttons and keys.

import { about } from "./about.js";
import { $ } from "./dom.js";
import { toggleEdgeTool } from "./edge.js";
import { toggleEdit } from "./edit.js";
import { choose, panes, swap } from "./panes.js";
import { pin } from "./points.js";
import { currentProbe, placeAt } from "./probe.js";
import { share, toggleFullScreen } from "./share.js";
import { centre, goHome, viewer, zoom } from "./stage.js";
import { moveWipe, wipePosition } from "./wipe.js";
import { chooseFile } from "./workbench.js";

const pinHere = () => pin(currentProbe() ?? placeAt(centre()));

const actions = {
  "+": () => zoom(2),
  "=": () => zoom(2),
  "-": () => zoom(0.5),
  0: goHome,
  "[": () => moveWipe(wipePosition() - 0.025),
  "]": () => moveWipe(wipePosition() + 0.025),
  x: () => $("swap").click(),
  s: () => $("split").click(),
  p: pinHere,
  e: toggleEdgeTool,
  b: toggleEdit,
  o: chooseFile,
  c: share,
  f: toggleFullScreen,
  "?": about,
};

$("swap").addEventListener("click", swap);
$("in").addEventListener("click", actions["+"]);
$("out").addEventListener("click", actions["-"]);
$("home").addEventListener("click", goHome);

function chooseByNumber(side, number) {
  const entry = (panes[side].choice || panes.left.choice)?.entry;
  const layer = entry?.layers[number - 1];
  if (layer) choose(side, { entry, layer });
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || document.querySelector("dialog[open]")) return;
  // Where a key is depends on the keyboard: its character counts before the digit that is printed on it.
  if (actions[event.key]) actions[event.key]();
  else if (/^Digit[1-9]$/.test(event.code)) chooseByNumber(event.altKey ? "right" : "left", event.code.slice(5));
  else return;
  event.preventDefault();
});

// OpenSeadragon would zoom by other steps, and rotate or mirror the view, which the wipe does not support. Arrow keys
// are left to it.
viewer.addHandler("canvas-key", (event) => {
  if (!event.originalEvent.key.startsWith("Arrow")) event.preventDefaultAction = true;
});
