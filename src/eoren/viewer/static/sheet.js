// A layer on the stage: a small image of the whole, so that no hole shows while zooming and panning, and above it tiles
// of the part in view. While a fit runs, one image of that part replaces the tiles: drawing it takes as long at any zoom.

import { request, requestJson } from "./api.js";
import { Point, Rect, regionInView, viewer } from "./stage.js";

const LONGEST_SIDE = 512; // of the image of the whole, and of that of a part

export class Sheet {
  constructor(choice, tiled) {
    Object.assign(this, { choice, tiled, whole: null, part: null, region: null, closed: new AbortController() });
  }

  get items() {
    return [this.whole, this.part].filter(Boolean);
  }

  // Whether tiles replace the whole: below tiles that let it through, it would be seen twice.
  get isCovered() {
    return this.tiled && this.choice.entry.channels % 2 === 0 && Boolean(this.part?.getFullyLoaded());
  }

  // Resolve once the whole is drawn; afterwards the part in view is loaded. Throw an Error if a request fails.
  async open(onChange) {
    const entry = this.choice.entry;
    const whole = this.#image([0, 0, 1, 1], 0);
    const description = this.tiled && requestJson(`${this.choice.layer.iiif}/info.json`, { signal: this.closed.signal });
    // Without tiles, both images appear at once: they may show two different steps of a fit.
    const region = !this.tiled && this.#isMagnified() ? regionInView(entry, false) : null;
    this.region = region || null;
    const images = await Promise.allSettled([whole, region && this.#image(region), description]);
    [this.whole, this.part] = images.map(({ value }) => value ?? null);
    for (const { reason } of images) if (reason) throw reason;
    await Promise.all(this.items.map(isDrawn));
    this.description = await description;
    if (this.tiled) this.#addTiles(onChange);
  }

  // Load the image of the part in view again, after the view has moved.
  async refine(onChange) {
    if (this.tiled || !this.whole) return;
    const region = this.#isMagnified() ? regionInView(this.choice.entry, false) : null;
    if (String(region) === String(this.region)) return;
    this.region = region;
    const request = (this.refining = {});
    const old = this.part;
    const part = region && (await this.#image(region).catch((error) => {
      this.region = null; // to be tried again
      throw error;
    }));
    if (part) await isDrawn(part);
    if (this.refining !== request || this.closed.signal.aborted) return part && viewer.world.removeItem(part);
    this.part = part;
    onChange();
    if (old) viewer.world.removeItem(old);
  }

  reload() {
    for (const item of this.items) item.reset();
  }

  close() {
    this.closed.abort();
    for (const item of this.items) viewer.world.removeItem(item);
    this.whole = this.part = null;
  }

  #isMagnified() {
    // Before the first image, the view is that of a square.
    return viewer.isOpen() && viewer.viewport.getZoom() > 1.2 * viewer.viewport.getHomeZoom();
  }

  async #addTiles(onChange) {
    const tiles = await add({ tileSource: this.description });
    if (this.closed.signal.aborted) return viewer.world.removeItem(tiles);
    this.part = tiles;
    tiles.addHandler("fully-loaded-change", onChange);
    onChange();
  }

  // Add one image of a part of the unit square.
  async #image([x0, y0, x1, y1], index) {
    const { entry, layer } = this.choice;
    const [width, height] = [entry.width, entry.height].map((side) => side * entry.magnification);
    const [left, top, right, bottom] = [Math.floor(x0 * width), Math.floor(y0 * height), Math.ceil(x1 * width), Math.ceil(y1 * height)];
    const [across, down] = [right - left, bottom - top];
    const scale = Math.min(1, LONGEST_SIDE / Math.max(across, down));
    const size = [across, down].map((side) => Math.max(1, Math.round(scale * side)));
    // While a fit runs, the image is drawn for a few seconds: JPEG takes half the time of PNG, and has no transparency.
    const format = this.tiled || entry.channels % 2 === 0 ? "png" : "jpg";
    const url = `${layer.iiif}/${left},${top},${across},${down}/${size}/0/default.${format}`;
    const image = new Image();
    image.src = URL.createObjectURL(await (await request(url, { signal: this.closed.signal })).blob());
    await image.decode();
    URL.revokeObjectURL(image.src);
    // One tile as large as the part: it has the exact shape of the part, which the image has up to rounding.
    const tileSource = {
      ...{ width: across, height: down, tileWidth: across, tileHeight: down, minLevel: 0, maxLevel: 0 },
      getTileUrl: () => url,
      downloadTileStart: (job) => job.finish(image, null, "image"),
      downloadTileAbort: () => {},
    };
    const item = await add({ tileSource, x: left / width, y: top / width, width: across / width, index });
    if (this.closed.signal.aborted) {
      viewer.world.removeItem(item);
      throw new DOMException("closed", "AbortError");
    }
    return item;
  }
}

// Items are added invisible, and loaded; the wipe shows them.
const add = (options) =>
  new Promise((resolve, reject) => {
    viewer.addTiledImage({
      ...{ width: 1, opacity: 0, preload: true, ...options },
      success: ({ item }) => {
        origins.set(item, item.getBoundsNoRotate().getTopLeft());
        resolve(item);
      },
      error: ({ message }) => reject(new Error(message)),
    });
  });

const isDrawn = (item) => new Promise((resolve) => item.whenFullyLoaded(resolve));

const origins = new WeakMap(); // the place of each item in the left pane

// Move an item to the right of its place in the left pane, by a number of widths of the field.
export function shift(item, by) {
  const { x, y } = origins.get(item);
  if (Math.abs(item.getBoundsNoRotate().x - x - by) > 1e-9) item.setPosition(new Point(x + by, y), true);
}

// The navigator shows the whole of what the left pane shows.
if (viewer.navigator)
  viewer.navigator._matchBounds = (item, original) => {
    item.setPosition(origins.get(original) ?? original.getBoundsNoRotate().getTopLeft(), true);
    item.setWidth(original.getBoundsNoRotate().width, true);
  };

// Show the columns from one position on the stage to another, in units of the field's width.
export function clip(item, from, to, opacity) {
  const bounds = item.getBoundsNoRotate();
  const size = item.getContentSize();
  const [left, right] = [from, to].map((x) => Math.min(1, Math.max(0, (x - bounds.x) / bounds.width)) * size.x);
  const state = [left, right, opacity].join(" ");
  if (state === shown.get(item)) return; // OpenSeadragon would draw again
  shown.set(item, state);
  item.setOpacity(right > left ? opacity : 0);
  if (right > left) item.setClip(left > 0 || right < size.x ? new Rect(left, 0, right - left, size.y) : null);
}

const shown = new WeakMap(); // the columns and the opacity of each item
