"""Enlarge a detail eight times: the field next to cubic spline interpolation of the pixels.

python examples/zoom.py [--seconds S] [-o zoom.png]
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates

import eoren

REGION = (0.35, 0.08, 0.6, 0.33)  # x0, y0, x1, y1 of the unit square: the photographer's head
SIZE = 512


def main() -> None:
    """Fit an image, sample the field, interpolate the pixels, and write both side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("-o", "--output", type=Path, default=Path("zoom.png"))
    args = parser.parse_args()

    image = eoren.read_image("sample:camera")
    field = eoren.fit(image, preset="mosaic", seconds=args.seconds, seed=0).field
    ours = field.render(SIZE, SIZE, region=REGION)

    # The same positions in rows and columns; the centre of the first pixel is at half a pixel.
    x0, y0, x1, y1 = REGION
    steps = (np.arange(SIZE) + 0.5) / SIZE
    rows = (y0 + steps * (y1 - y0)) * image.shape[0] - 0.5
    columns = (x0 + steps * (x1 - x0)) * image.shape[1] - 0.5
    cubic = map_coordinates(image[..., 0], np.meshgrid(rows, columns, indexing="ij"), order=3, mode="nearest")

    eoren.write_image(args.output, np.concatenate([ours, cubic[..., None]], 1))
    print(f"{args.output}: the field left, cubic splines right; {field.provenance.metrics}")


if __name__ == "__main__":
    main()
