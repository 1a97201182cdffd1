// A mask that is painted over the stage, in pixels of an image.

const mask = document.createElement("canvas"); // opaque where it selects
const pen = mask.getContext("2d");

export const size = () => [mask.width, mask.height];

// Start an empty mask of an image.
export function clear(width, height) {
  [mask.width, mask.height] = [width, height];
  Object.assign(pen, { lineCap: "round", lineJoin: "round", strokeStyle: "#ffffff" });
}

// Paint or erase along a line between two positions in the image.
export function stroke(from, to, width, erases) {
  pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
  pen.lineWidth = width;
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x + 1e-3, to.y); // a line of no length would not be drawn
  pen.stroke();
}

// The mask as a PNG file: white on black.
export function asFile() {
  const file = new OffscreenCanvas(mask.width, mask.height);
  const draw = file.getContext("2d");
  draw.fillRect(0, 0, file.width, file.height);
  draw.drawImage(mask, 0, 0);
  return file.convertToBlob({ type: "image/png" });
}

// Show the mask on a canvas whose transform is that of the image: tinted, or as the part of an image that it selects.
export function show(draw, { picture = null, tint = "" }) {
  draw.drawImage(mask, 0, 0);
  draw.globalCompositeOperation = "source-in";
  if (picture) draw.drawImage(picture, 0, 0, mask.width, mask.height);
  if (tint) {
    draw.fillStyle = tint;
    draw.fillRect(0, 0, mask.width, mask.height);
  }
  draw.globalCompositeOperation = "destination-over";
}
