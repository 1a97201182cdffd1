// The banner for what went wrong, with a button that tries again. One notice for each subject; the newest is shown.

import { $ } from "./dom.js";

const notices = new Map(); // subject -> { text, retry }

function show() {
  const notice = [...notices.values()].at(-1);
  $("banner").hidden = !notice;
  $("banner-text").textContent = notice?.text ?? "";
  $("retry").hidden = !notice?.retry;
}

export function notify(subject, text, retry = null) {
  if (notices.get(subject)?.text === text) return; // do not interrupt a screen reader again
  notices.delete(subject);
  notices.set(subject, { text, retry });
  show();
}

export function withdraw(subject) {
  if (notices.delete(subject)) show();
}

$("retry").addEventListener("click", () => {
  const [subject, { retry }] = [...notices].at(-1);
  withdraw(subject);
  retry();
});
$("dismiss").addEventListener("click", () => withdraw([...notices.keys()].at(-1)));

let timer = 0;

// Confirm an action for a moment.
export function say(text) {
  $("said").textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => ($("said").textContent = ""), 2500);
}
