"""Channel tuning with more freedom: what EoREN's straight line leaves wrong at low frequency, and what mends it.

The paper's tuning is ``Phi = alpha g + beta`` (arXiv 2209.11697, section 3.3). Here alpha and beta may change over
the image, sums of smooth functions whose coefficients are found by least squares, like alpha and beta themselves.
Values and derivatives are those of the function that results: it is differentiated, not resampled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.model.tiling import smooth_step


class Said(NamedTuple):
    """What a function says at the pixel centres of a grid.

    Attributes:
        color: ``(H, W, C)``, intensity.
        gradient: ``(H, W, C, 2)``, along x and y, per unit of the image's sides.
    """

    color: Float[np.ndarray, "height width channels"]
    gradient: Float[np.ndarray, "height width channels 2"]


class Lines(NamedTuple):
    """Functions of one variable: values and derivatives, ``(points, K)`` each."""

    value: Float[np.ndarray, "points terms"]
    slope: Float[np.ndarray, "points terms"]


def cosines(at: Float[np.ndarray, " points"], terms: int) -> Lines:
    """``cos(pi k x)`` for k from 0: smooth, and free at the borders of [0, 1].

    Example:
        >>> cosines(np.array([0.0, 1.0]), 2).value.tolist()
        [[1.0, 1.0], [1.0, -1.0]]
    """
    waves = np.pi * np.arange(terms)
    return Lines(np.cos(at[:, None] * waves), -np.sin(at[:, None] * waves) * waves)


def windows(at: Float[np.ndarray, " points"], terms: int) -> Lines:
    """One window an equal part of [0, 1], that goes over into its neighbours between their middles; they sum to one.

    The transition is the mosaic's own, :func:`eoren.model.tiling.smooth_step`.

    Example:
        >>> windows(np.array([0.0, 0.25, 0.5, 1.0]), 2).value[:, 0].tolist()
        [1.0, 1.0, 0.5, 0.0]
    """
    # How far the step into the next window has gone, at every cut.
    cuts = np.arange(1, terms) / terms
    step, slope, _ = (each.numpy() for each in smooth_step(torch.from_numpy((at[:, None] - cuts) * 2 * terms)))
    nothing = np.zeros((len(at), 1))
    value = np.hstack([nothing + 1, step]) - np.hstack([step, nothing])
    return Lines(value, -2 * terms * np.diff(np.hstack([nothing, slope, nothing])))


@dataclass(frozen=True)
class Correction:
    """``Phi = a g + b``, where a and b are sums of products of functions of x and of y.

    Attributes:
        key: as tables call it.
        lines: the functions.
        terms: how many along each axis.
        scales: whether a changes over the image as b does; without it a is one number.
    """

    key: str
    lines: Callable[[Float[np.ndarray, " points"], int], Lines]
    terms: int
    scales: bool

    @property
    def coefficients(self) -> int:
        """Numbers a channel: the paper's tuning has two."""
        return self.terms**2 * (2 if self.scales else 1) + (0 if self.scales else 1)

    def tuned(
        self, field: Field, image: Float[np.ndarray, "height width channels"], sizes: list[tuple[int, int]]
    ) -> list[Said]:
        """Fit a and b to the colours of an image, by least squares over its pixels.

        Args:
            field: that says g.
            image: ``(H, W, C)``, of any size.
            sizes: of the grids to sample, width and height each.

        Returns:
            For every size, what the corrected field says there.

        Raises:
            EorenError: there are more coefficients than pixels.

        Example:
            >>> import eoren
            >>> image = np.random.default_rng(0).random((12, 12, 1), np.float32)
            >>> field = eoren.fit(image, steps=1, width=8, depth=2).field
            >>> [said] = Correction("smooth", cosines, 12, scales=False).tuned(field, image, [(12, 12)])
            >>> bool(np.abs(said.color - image).max() < 1e-4)  # as many waves as pixels
            True
        """
        height, width, channels = image.shape
        if self.coefficients > height * width + 1:
            raise EorenError(f"{self.coefficients} coefficients for {width}x{height} pixels; take fewer terms")
        color, _ = self._terms(field, width, height)
        weights = np.stack(
            [
                np.linalg.lstsq(color[..., c].reshape(height * width, -1), image[..., c].ravel(), rcond=1e-10)[0]
                for c in range(channels)
            ],
            -1,
        )
        found = []
        for size in sizes:
            color, gradient = self._terms(field, *size)
            found.append(
                Said(np.einsum("yxkc,kc->yxc", color, weights), np.einsum("yxkcd,kc->yxcd", gradient, weights))
            )
        return found

    def _terms(self, field: Field, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Values ``(H, W, K, C)`` and derivatives ``(H, W, K, C, 2)`` of what the coefficients multiply."""
        g, slope = (each.astype(np.float64) for each in field.sample(width, height, "color", "gradient"))
        x, y = (self.lines((np.arange(size) + 0.5) / size, self.terms) for size in (width, height))

        def product(along_y: np.ndarray, along_x: np.ndarray) -> np.ndarray:
            every: np.ndarray = np.einsum("yk,xl->yxkl", along_y, along_x)
            return every.reshape(height, width, -1, 1)

        w = product(y.value, x.value)
        slopes = np.stack([product(y.value, x.slope), product(y.slope, x.value)], -1)
        b, b_slope = np.broadcast_to(w, (*w.shape[:3], g.shape[-1])), np.repeat(slopes, g.shape[-1], 3)
        g, slope = g[:, :, None], slope[:, :, None]
        # The product rule: grad (w g) = g grad w + w grad g.
        a, a_slope = (w * g, slopes * g[..., None] + w[..., None] * slope) if self.scales else (g, slope)
        return np.concatenate([a, b], 2), np.concatenate([a_slope, b_slope], 2)
