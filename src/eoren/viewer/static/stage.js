// The deep-zoom view, and positions on it: of the screen, and of the unit square of a field.

import { $ } from "./dom.js";
import { wake } from "./pace.js";

const { Point, Rect } = OpenSeadragon;

// A phone has no room for a navigator.
const hasNavigator = matchMedia("(min-width: 46rem)").matches;

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
  ...(hasNavigator && { showNavigator: true, navigatorId: "navigator", navigatorBackground: "transparent", navigatorOpacity: 1 }),
  immediateRender: true, // load the zoom level in view, without the coarser ones before it
});
const keyboard = viewer.canvas; // it takes the focus
keyboard.setAttribute("role", "application");
keyboard.setAttribute("aria-label", "Image: arrow keys pan, plus and minus zoom, 0 shows the whole image");
viewer.drawer.canvas.setAttribute("aria-hidden", "true");
// The navigator repeats by pointer what the keys do.
for (const element of $("navigator").querySelectorAll("[tabindex]")) element.tabIndex = -1;

// Every field is one unit wide. OpenSeadragon would take the whole for what the wipe shows of it, so that a page whose
// right side comes late would open at the left half.
for (const { world } of [viewer, viewer.navigator].filter(Boolean))
  world.getHomeBounds = () => {
    const bounds = Array.from({ length: world.getItemCount() }, (_, k) => world.getItemAt(k).getBoundsNoRotate());
    return new Rect(0, 0, 1, bounds.length ? Math.max(...bounds.map(({ y, height }) => y + height)) : 1);
  };

viewer.addHandler("animation", () => wake());
viewer.world.addHandler("add-item", () => wake(100));
for (const type of ["tile-loaded", "tile-load-failed"]) viewer.addHandler(type, () => wake(100));

// Either one pane, or two beside each other with the same view. The viewport is that of the left one.
export const layout = { isSplit: false, isPainting: false };

// One tool at a time: "edge", "edit" or null.
export const setTool = (tool) => viewer.raiseEvent("tool", { tool });

export const paneWidth = () => $("stage").clientWidth / (layout.isSplit ? 2 : 1);
// Pixels from the left end of the stage to that of the pane of a side.
export const leftOf = (side) => (layout.isSplit && side === "right" ? paneWidth() : 0);
// Pixels of the stage per unit of the viewport.
export const scale = (current = true) => paneWidth() / viewer.viewport.getBoundsNoRotate(current).width;

function setMargins() {
  viewer.viewport.setMargins({ right: $("stage").clientWidth - paneWidth() });
}

export function split(isSplit) {
  if (isSplit === layout.isSplit) return;
  layout.isSplit = isSplit;
  const home = wasHome;
  setMargins();
  if (home) viewer.viewport.goHome(true);
  viewer.raiseEvent("viewport-change");
  wake();
}

export function toPixel(entry, x, y, side = "left") {
  const pixel = viewer.viewport.pixelFromPoint(new Point(x, (y * entry.height) / entry.width), true);
  return new Point(pixel.x + leftOf(side), pixel.y);
}

export function toUnitSquare(entry, pixel, side = "left") {
  const { x, y } = viewer.viewport.pointFromPixel(new Point(pixel.x - leftOf(side), pixel.y), true);
  return { x, y: (y * entry.width) / entry.height };
}

// Zoom about the pointer in the right pane as in the left one.
const isInRight = ({ x }) => layout.isSplit && x >= paneWidth();
for (const type of ["canvas-scroll", "canvas-double-click"])
  viewer.addHandler(type, ({ position }) => isInRight(position) && (position.x -= paneWidth()));
viewer.addHandler("canvas-pinch", (event) => {
  if (!isInRight(event.center)) return;
  event.preventDefaultPanAction = event.preventDefaultZoomAction = true;
  const at = ({ x, y }) => viewer.viewport.pointFromPixel(new Point(x - paneWidth(), y), true);
  viewer.viewport.zoomBy(event.distance / event.lastDistance, at(event.center), true);
  viewer.viewport.panBy(at(event.lastCenter).minus(at(event.center)), true);
  viewer.viewport.applyConstraints();
});

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
// OpenSeadragon restores its own view after it announces another size, and then announces a change of the view.
let isResized = false;
viewer.addHandler("resize", () => {
  isResized = true;
  setMargins();
});
viewer.addHandler("viewport-change", () => {
  if (isResized && wasHome) viewer.viewport.goHome(true);
  isResized = false;
});

// The navigator is there while a part of the image is in view.
viewer.addHandler("viewport-change", () => $("navigator").classList.toggle("idle", isHome()));

// Give the navigator the shape of the image.
export function shapeNavigator({ width, height }) {
  $("navigator").hidden = !hasNavigator;
  $("navigator").style.aspectRatio = `${width} / ${height}`;
  viewer.navigator?.updateSize();
}

export const centre = () => new Point(paneWidth() / 2, $("stage").clientHeight / 2);

export { Point, Rect };
