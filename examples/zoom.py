"""A detail, eight times as large: the field beside cubic spline interpolation of the pixels.

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
    """Fit, sample, interpolate, put side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("-o", "--output", type=Path, default=Path("zoom.png"))
    given = parser.parse_args()

    image = eoren.read_image("sample:camera")
    field = eoren.fit(image, seconds=given.seconds, seed=0).field
    ours = field.render(SIZE, SIZE, region=REGION)

    # The same places, in rows and columns of pixels, whose centres are half a pixel in.
    x0, y0, x1, y1 = REGION
    steps = (np.arange(SIZE) + 0.5) / SIZE
    rows = (y0 + steps * (y1 - y0)) * image.shape[0] - 0.5
    columns = (x0 + steps * (x1 - x0)) * image.shape[1] - 0.5
    cubic = map_coordinates(image[..., 0], np.meshgrid(rows, columns, indexing="ij"), order=3, mode="nearest")

    eoren.write_image(given.output, np.concatenate([ours, cubic[..., None]], 1))
    print(f"{given.output}: the field left, cubic splines right; {field.provenance.metrics}")


if __name__ == "__main__":
    main()
