// The deep-zoom view, and positions on it: of the screen, and of the unit square of a field.

import { $ } from "./dom.js";
import { wake } from "./pace.js";

const { Point, Rect } = OpenSeadragon;

export const viewer = OpenSeadragon({
  element: $("viewer"),
  drawer: "canvas",
  showNavigationControl: false,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true, pinchRotate: false },
  maxZoomPixelRatio: 4,
  minZoomImageRatio: 0.5,
  visibilityRatio: 0.4,
  animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.5,
  preserveViewport: true,
  crossOriginPolicy: false,
  imageLoaderLimit: 6,
  // Otherwise the page shows through between tiles that end within a screen pixel: edges that are not in the image.
  subPixelRoundingForTransparency: OpenSeadragon.SUBPIXEL_ROUNDING_OCCURRENCES.ALWAYS,
  immediateRender: true, // load the zoom level in view, without the coarser ones before it
});
const keyboard = viewer.canvas; // it takes the focus
keyboard.setAttribute("role", "application");
keyboard.setAttribute("aria-label", "Image: arrow keys pan, plus and minus zoom, 0 shows the whole image");
viewer.drawer.canvas.setAttribute("aria-hidden", "true");

viewer.addHandler("animation", () => wake());
viewer.world.addHandler("add-item", () => wake(100));
for (const type of ["tile-loaded", "tile-load-failed"]) viewer.addHandler(type, () => wake(100));

// Every field is one unit wide on the stage.
export function toPixel(entry, x, y) {
  return viewer.viewport.pixelFromPoint(new Point(x, (y * entry.height) / entry.width), true);
}

export function toUnitSquare(entry, pixel) {
  const { x, y } = viewer.viewport.pointFromPixel(pixel, true);
  return { x, y: (y * entry.width) / entry.height };
}

export const isInside = ({ x, y }) => x >= 0 && y >= 0 && x <= 1 && y <= 1;

// The part of the unit square in view, as [x0, y0, x1, y1], or null.
export function regionInView(entry, current = true) {
  const { x, y, width, height } = viewer.viewport.getBoundsNoRotate(current);
  const down = entry.width / entry.height;
  const clamp = (value) => Math.min(1, Math.max(0, value));
  const [x0, y0, x1, y1] = [x, y * down, x + width, (y + height) * down].map(clamp);
  return x1 > x0 && y1 > y0 ? [x0, y0, x1, y1] : null;
}

export function zoom(by) {
  viewer.viewport.zoomBy(by);
  viewer.viewport.applyConstraints();
}

export const goHome = () => viewer.viewport.goHome();

// Whether the whole image is in view, as large as it fits.
export function isHome() {
  const [{ x, y, width }, home] = [viewer.viewport.getBoundsNoRotate(), viewer.viewport.getHomeBoundsNoRotate()];
  return [x - home.x, y - home.y, width - home.width].every((difference) => Math.abs(difference) < 1e-4 * home.width);
}

// In a stage of another size, the whole image stays in view.
let wasHome = true;
export const rememberHome = () => (wasHome = isHome());
viewer.addHandler("animation-finish", rememberHome);
viewer.addHandler("resize", () => wasHome && viewer.viewport.goHome(true));

export const centre = () => new Point($("stage").clientWidth / 2, $("stage").clientHeight / 2);

export { Point, Rect };
