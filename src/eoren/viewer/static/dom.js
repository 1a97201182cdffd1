// Elements of the page.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Fill a list of terms and their details.
export function pairs(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, ...details]) => [make("dt", { textContent: name }), make("dd", {}, ...details)]));
}
