// The workbench: an image that is dropped on the page, or chosen, is fitted; a field that has no file yet can be written.

import { send, token } from "./api.js";
import { catalog } from "./catalog.js";
import { $ } from "./dom.js";
import { notify, say, withdraw } from "./notices.js";
import { changes, choose, panes, sides } from "./panes.js";

export const isAdmitted = () => catalog.workbench && Boolean(token);

let refresh = () => {}; // read the catalog again
export const connect = (callback) => (refresh = callback);

// Offer what the workbench can do now.
export function invite() {
  const isEmpty = !catalog.entries.length && !catalog.live;
  if (isEmpty) {
    for (const side of sides) if (panes[side].choice) choose(side, null);
    delete document.body.dataset.state;
  }
  $("drop").hidden = !isEmpty;
  $("waiting").hidden = isEmpty || document.body.dataset.state === "open";
  $("drop-text").textContent = token ? "Drop an image here to make a field of it" : "This page may not fit images";
  $("drop-note").textContent = token
    ? "PNG, JPEG, TIFF, WebP, AVIF, HEIC, GIF or .npy; an .eoren file is shown. Nothing leaves this machine."
    : "Open the address that eoren view printed: it has the token of the page.";
  $("choose-file").hidden = !token;
  $("open").hidden = $("edit").hidden = !isAdmitted() || catalog.live || isEmpty;
}

async function open(file) {
  if (!isAdmitted()) return notify("open", "Open the address that eoren view printed, with its token, to fit images.");
  withdraw("open");
  say(`Reading ${file.name}`);
  try {
    const { opened } = await (await send("/api/workbench/open", { name: file.name }, file)).json();
    if (opened === "fit") return location.assign(location.pathname);
    await refresh();
    const entry = catalog.entries.at(-1);
    choose("left", { entry, layer: entry.layers[0] });
  } catch (error) {
    notify("open", error.message, () => open(file));
  }
}

export const chooseFile = () => isAdmitted() && !catalog.live && $("file").click();
for (const id of ["choose-file", "open"]) $(id).addEventListener("click", chooseFile);
$("file").addEventListener("change", () => {
  if ($("file").files.length) open($("file").files[0]);
  $("file").value = ""; // the same file may be chosen again
});

const hasFiles = ({ dataTransfer }) => dataTransfer.types.includes("Files");
const mark = (isOver) => document.body.classList.toggle("dropping", isOver && isAdmitted());
addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  mark(true);
});
addEventListener("dragleave", (event) => event.relatedTarget ?? mark(false));
addEventListener("drop", (event) => {
  mark(false);
  if (!hasFiles(event)) return;
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});

// Writing

let offered = ""; // name of the entry that can be written

function offerWriting() {
  const entry = panes.left.sheet && panes.left.choice?.entry;
  const isNew = entry && !entry.file && isAdmitted() && !catalog.live;
  $("result").hidden = !isNew;
  if (!isNew || entry.name === offered) return;
  offered = entry.name;
  $("path").value = `${entry.name}.eoren`;
  $("write-note").textContent = "";
  const { psnr } = entry.metrics;
  $("result-note").textContent = `${entry.title} is fitted${psnr == null ? "" : `, PSNR ${psnr.toFixed(1)} dB`}, and not written yet.`;
}

$("write-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { entry } = panes.left.choice;
  $("write-note").textContent = "";
  try {
    const { file } = await (await send("/api/workbench/write", { entry: entry.name, path: $("path").value })).json();
    entry.file = file;
    say(`${file} written`);
  } catch (error) {
    $("write-note").textContent = error.message;
    $("path").focus();
  }
  offerWriting();
});

changes.addEventListener("sheet", offerWriting);
