// Copying text, where the browser permits it; elsewhere a dialog shows the text, selected.

import { $ } from "./dom.js";
import { say } from "./notices.js";

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text); // undefined unless the page is local or encrypted
    say(`${what} copied`);
  } catch {
    $("copied-text").value = text;
    $("copy-panel").showModal();
    $("copied-text").select();
  }
}
