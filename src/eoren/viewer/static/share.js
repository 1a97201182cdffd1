// The dialog that copies the view as a link or a command, or saves it.

import { renderCommand, viewName } from "./address.js";
import { copy } from "./copying.js";
import { $, download } from "./dom.js";
import { panes } from "./panes.js";
import { viewer } from "./stage.js";

export function share() {
  const entry = panes.left.choice?.entry;
  if (!entry) return;
  $("link").value = location.href;
  const command = renderCommand();
  $("command").value = command ?? "";
  $("copy-command").disabled = !command;
  $("no-command").hidden = Boolean(command);
  $("manifest").href = `/iiif/${encodeURIComponent(entry.name)}/manifest.json`;
  $("share-panel").showModal();
}

$("share").addEventListener("click", share);
$("copy-link").addEventListener("click", () => copy($("link").value, "Link"));
$("copy-command").addEventListener("click", () => copy($("command").value, "Command"));
$("save").addEventListener("click", () => viewer.drawer.canvas.toBlob((blob) => download(blob, `${viewName()}.png`)));

export function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen();
}

$("full-screen").hidden = !document.fullscreenEnabled;
$("full-screen").addEventListener("click", toggleFullScreen);
