// Curves over a common axis as SVG.

const WIDTH = 320;
const [LEFT, RIGHT, TOP] = [44, 314, 8];
const HEIGHT = 104; // of a panel

const line = (x0, y0, x1, y1, style) => `<path class="${style}" d="M${x0} ${y0}L${x1} ${y1}"/>`;

// Draw panels below each other: { label, curves: [{ style, x, y }] }. Marks are vertical lines { style, x }.
export function plot(panels, marks, { label, description }) {
  const xs = panels.flatMap(({ curves }) => curves.flatMap(({ x }) => x));
  const last = Math.max(...xs);
  const across = (x) => (LEFT + (x / last) * (RIGHT - LEFT)).toFixed(1);
  const drawn = panels.map((panel, number) => {
    const top = TOP + number * (HEIGHT + 22);
    const ys = panel.curves.flatMap(({ y }) => y);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const span = high - low || 1;
    const down = (y) => (top + HEIGHT - ((y - low + 0.05 * span) / (1.1 * span)) * HEIGHT).toFixed(1);
    const zero = low < 0 && high > 0 ? line(LEFT, down(0), RIGHT, down(0), "grid") : "";
    const ticks = [low, high].map((y) => `<text x="${LEFT - 5}" y="${Number(down(y)) + 4}" text-anchor="end">${y.toFixed(2).replace("-", "−")}</text>`);
    const curves = panel.curves.map(({ style, x, y }) => `<polyline class="${style}" points="${x.map((at, k) => `${across(at)},${down(y[k])}`).join(" ")}"/>`);
    const edges = marks.map(({ style, x }) => line(across(x), top, across(x), top + HEIGHT, `edge ${style}`));
    return `<path class="axis" d="M${LEFT} ${top}V${top + HEIGHT}H${RIGHT}"/>${zero}${ticks.join("")}${edges.join("")}${curves.join("")}
      <text x="${LEFT + 4}" y="${top + 9}" class="panel">${panel.label}</text>`;
  });
  const bottom = TOP + panels.length * (HEIGHT + 22);
  const axis = `<text x="${LEFT}" y="${bottom - 6}">0</text><text x="${RIGHT}" y="${bottom - 6}" text-anchor="end">${last.toFixed(1)} ${label}</text>`;
  return `<svg class="plot" viewBox="0 0 ${WIDTH} ${bottom}" role="img" aria-label="${description}">${drawn.join("")}${axis}</svg>`;
}
