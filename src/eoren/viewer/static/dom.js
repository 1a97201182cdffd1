// Elements of the page.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Let the user save a file.
export function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Direction in which an arrow key moves something, right and down; undefined for other keys.
export const arrowOf = ({ key }) => ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] })[key];

// Fill a list of terms and their details.
export function pairs(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, ...details]) => [make("dt", { textContent: name }), make("dd", {}, ...details)]));
}
