"""Channel tuning that varies over the image, to correct errors at low frequency that EoREN's tuning leaves.

The paper's tuning is ``Phi = alpha g + beta`` with two numbers per channel (arXiv 2209.11697, section 3.3). Here
alpha and beta are sums of smooth functions of the position, whose coefficients are found by least squares as well.
The derivatives are those of the resulting function, computed analytically.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.image.arrays import Gradient, Image
from eoren.model.tiling import smooth_step


class FieldSamples(NamedTuple):
    """A function sampled at the pixel centres of a grid."""

    color: Image
    gradient: Gradient  # along x and y, per unit of the image's sides


class Basis(NamedTuple):
    """Functions of one variable."""

    value: Float[np.ndarray, "points terms"]
    derivative: Float[np.ndarray, "points terms"]


def cosine_basis(at: Float[np.ndarray, " points"], terms: int) -> Basis:
    """Evaluate ``cos(pi k x)`` for k from 0, whose derivatives vanish at the borders of [0, 1]."""
    waves = np.pi * np.arange(terms)
    return Basis(np.cos(at[:, None] * waves), -np.sin(at[:, None] * waves) * waves)


def window_basis(at: Float[np.ndarray, " points"], terms: int) -> Basis:
    """Evaluate a partition of unity: one window for each of ``terms`` equal parts of [0, 1].

    Neighbouring windows blend between their middles, with the transition of the tiling,
    :func:`eoren.model.tiling.smooth_step`.
    """
    cuts = np.arange(1, terms) / terms
    step, slope, _ = (part.numpy() for part in smooth_step(torch.from_numpy((at[:, None] - cuts) * 2 * terms)))
    zeros = np.zeros((len(at), 1))
    value = np.hstack([zeros + 1, step]) - np.hstack([step, zeros])
    return Basis(value, -2 * terms * np.diff(np.hstack([zeros, slope, zeros])))


@dataclass(frozen=True)
class SpatialTuning:
    """``Phi = a g + b``, where a and b are sums of products of basis functions of x and of y."""

    basis: Callable[[Float[np.ndarray, " points"], int], Basis]
    terms: int  # basis functions along each axis
    varies_scale: bool  # whether a varies over the image, as b does; without it a is one number

    @property
    def coefficients(self) -> int:
        """Numbers per channel; the paper's tuning has two."""
        return self.terms**2 * (2 if self.varies_scale else 1) + (0 if self.varies_scale else 1)

    def tune(self, field: Field, image: Image, sizes: Sequence[tuple[int, int]]) -> list[FieldSamples]:
        """Fit a and b to an image, by least squares over its pixels, and sample on grids of width and height."""
        height, width, channels = image.shape
        if self.coefficients > height * width + 1:
            raise EorenError(f"{self.coefficients} coefficients for {width}x{height} pixels; use fewer terms")
        color, _ = self._terms(field, width, height)
        factors = np.moveaxis(color, -1, 0).reshape(channels, height * width, -1)
        pixels = image.reshape(-1, channels).T
        columns = [np.linalg.lstsq(a, b, rcond=1e-10)[0] for a, b in zip(factors, pixels, strict=True)]
        weights = np.stack(columns, -1)
        return [
            FieldSamples(np.einsum("yxkc,kc->yxc", color, weights), np.einsum("yxkcd,kc->yxcd", gradient, weights))
            for color, gradient in (self._terms(field, *size) for size in sizes)
        ]

    def _terms(self, field: Field, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the factors of the coefficients: values ``(H, W, K, C)`` and derivatives ``(H, W, K, C, 2)``."""
        g, slope = (part.astype(np.float64) for part in field.sample(width, height, "color", "gradient"))
        x, y = (self.basis((np.arange(size) + 0.5) / size, self.terms) for size in (width, height))

        def product(along_y: np.ndarray, along_x: np.ndarray) -> np.ndarray:
            products: np.ndarray = np.einsum("yk,xl->yxkl", along_y, along_x)
            return products.reshape(height, width, -1, 1)

        w = product(y.value, x.value)
        slopes = np.stack([product(y.value, x.derivative), product(y.derivative, x.value)], -1)
        b, b_slope = np.broadcast_to(w, (*w.shape[:3], g.shape[-1])), np.repeat(slopes, g.shape[-1], 3)
        g, slope = g[:, :, None], slope[:, :, None]
        # The product rule: grad (w g) = g grad w + w grad g.
        a, a_slope = (w * g, slopes * g[..., None] + w[..., None] * slope) if self.varies_scale else (g, slope)
        return np.concatenate([a, b], 2), np.concatenate([a_slope, b_slope], 2)
