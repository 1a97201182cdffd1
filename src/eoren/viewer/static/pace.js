// OpenSeadragon draws every frame, always. While nothing moves or loads, limit it to a frame a second, to leave the
// processor to a running fit and to save battery.

const nextFrame = OpenSeadragon.requestAnimationFrame;
const pace = { awakeUntil: 0, waiting: [], timer: 0 };

OpenSeadragon.requestAnimationFrame = (draw) => {
  if (performance.now() < pace.awakeUntil) return nextFrame(draw);
  if (!pace.waiting.length) pace.timer = setTimeout(() => wake(0), 1000);
  pace.waiting.push(draw);
};

export function wake(milliseconds = 500) {
  pace.awakeUntil = Math.max(pace.awakeUntil, performance.now() + milliseconds);
  clearTimeout(pace.timer);
  pace.waiting.splice(0).forEach((draw) => nextFrame(draw));
}

for (const type of ["pointerdown", "pointermove", "wheel", "keydown", "resize"]) addEventListener(type, () => wake(), { capture: true, passive: true });
