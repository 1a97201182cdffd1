"""Where is an edge, to a fraction of a pixel? A disc of known radius, asked of its field.

    python examples/edges.py [--steps N]

An edge is where the Laplacian changes its sign. Along rays from the disc's middle the field is asked for it at points
a hundredth of a pixel apart. The same zero crossings of the pixels' own discrete Laplacian stand beside it: where an
edge is soft over several pixels they are as good; where it is as sharp as here the field is twice as close.
"""

import argparse

import numpy as np
from scipy.ndimage import laplace, map_coordinates

import eoren

SIZE, RADIUS, SOFTNESS = 64, 20.3, 0.8  # pixels
MIDDLE = np.array([31.7, 32.4])


def disc() -> np.ndarray:
    """A disc with a soft edge, which is steepest, and its second derivative zero, at the radius."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    distance = np.hypot(x - MIDDLE[0], y - MIDDLE[1])
    soft: np.ndarray = 1 / (1 + np.exp((distance - RADIUS) / SOFTNESS))
    return soft[..., None].astype(np.float32)


def crossings(values: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Per ray, the distance at which values go from below zero to above it, nearest to the edge."""
    found = []
    for ray in values:
        (rises,) = np.nonzero((ray[:-1] < 0) & (ray[1:] >= 0))
        share = ray[rises] / (ray[rises] - ray[rises + 1])
        places = distances[rises] + share * (distances[rises + 1] - distances[rises])
        found.append(places[np.abs(places - RADIUS).argmin()] if len(places) else np.nan)
    return np.array(found)


def main() -> None:
    """Fit, find, say how far off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    steps = parser.parse_args().steps

    image = disc()
    field = eoren.fit(image, steps=steps, tile=32, seed=0).field
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    distances = np.arange(RADIUS - 2, RADIUS + 2, 0.01)
    rays = MIDDLE + distances[None, :, None] * np.stack([np.cos(angles), np.sin(angles)], -1)[:, None]

    by_field = crossings(field.laplacian(rays / SIZE)[..., 0], distances)
    by_pixels = crossings(
        map_coordinates(laplace(image[..., 0]), np.moveaxis(rays - 0.5, -1, 0)[::-1], order=1), distances
    )
    # The Laplacian of a function of the distance r is f'' + f'/r: zero where f = (1 - softness / r) / 2, a little
    # outside the radius.
    truth = RADIUS
    for _ in range(9):
        truth = RADIUS + SOFTNESS * np.log((truth + SOFTNESS) / (truth - SOFTNESS))
    for name, places in (("field", by_field), ("pixels", by_pixels)):
        print(f"{name}: {np.sqrt(np.nanmean((places - truth) ** 2)):.4f} pixels off, in the mean square of 180 rays")


if __name__ == "__main__":
    main()
