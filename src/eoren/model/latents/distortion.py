"""The distortion of wavelet coefficients: squared errors of the colours and of the gradients of an image.

Colours are the inverse wavelet transform of the coefficients, and gradients those of the quintic spline through them
(:mod:`eoren.image.spline`). Both are linear, so that errors of gradients are gradients of the errors.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from eoren.coding.bands import Box
from eoren.model.latents.spline_basis import sampling_matrix
from eoren.model.latents.wavelet import Subbands, synthesize

SLOPE_REACH = 20
"""Samples on either side that a derivative depends on: their weights fall by 0.43 a sample, to 1e-7 of a slope."""
_CHUNK = 128  # samples whose derivatives one product computes


@dataclass(frozen=True, eq=False)
class DistortionTarget:
    """What coefficients are compared with.

    Attributes:
        image: colours of a window, ``(C, rows, columns)``, less one half.
        inner: pixels of the window at which errors count.
        gradient_weight: weight of the errors of gradients.
    """

    image: Float[Tensor, "channels rows columns"]
    inner: Box
    gradient_weight: float

    @property
    def pixels(self) -> int:
        """Number of pixels at which errors count."""
        return (self.inner.x1 - self.inner.x0) * (self.inner.y1 - self.inner.y0)


class Distortion(NamedTuple):
    """Squared errors summed over pixels and averaged over channels.

    Attributes:
        total: colours, plus the weighted gradients.
        color: colours.
        gradient: gradients in intensity per pixel, averaged over both axes.
    """

    total: Float[Tensor, ""]
    color: float
    gradient: float


def distortion(bands: Subbands, target: DistortionTarget) -> Distortion:
    """Compute the distortion of the coefficients of a window. `total` is differentiable.

    Args:
        bands: coefficients of the colours less one half, of any number of levels.
        target: image of the window.

    Example:
        >>> from eoren.model.latents.wavelet import analyze
        >>> image = torch.rand(3, 16, 24) - 0.5
        >>> target = DistortionTarget(image, Box(0, 0, 24, 16), gradient_weight=0.1)
        >>> distortion(analyze(image, levels=2), target).color < 1e-9
        True
    """
    errors, (x0, y0, x1, y1) = synthesize(bands) - target.image, target.inner
    inner = np.s_[..., y0:y1, x0:x1]
    color = errors[inner].square().sum() / len(errors)
    slopes = torch.stack([_slopes(errors)[inner], _slopes(errors.mT).mT[inner]])
    gradient = slopes.square().sum() / (2 * len(errors))
    return Distortion(color + target.gradient_weight * gradient, float(color.detach()), float(gradient.detach()))


@cache
def slope_taps() -> Float64[np.ndarray, " reach"]:
    """Return the weights of ``x[k] - x[-k]``, k = 1 ... `SLOPE_REACH`, in the slope of the spline at ``x[0]``."""
    length = 4 * SLOPE_REACH + 1
    row = sampling_matrix(np.array([2.0 * SLOPE_REACH]), length, 1)[0]
    taps: Float64[np.ndarray, " reach"] = row[2 * SLOPE_REACH + 1 : 3 * SLOPE_REACH + 1]
    return taps


def _slopes(x: Float[Tensor, "channels rows columns"]) -> Float[Tensor, "channels rows columns"]:
    """Compute the derivative of the quintic spline along the last axis, at the samples, in units of one sample."""
    length = x.shape[-1]
    if length < 2 * SLOPE_REACH:
        matrix = torch.from_numpy(sampling_matrix(np.arange(length, dtype=np.float64), length, 1))
        return x @ matrix.T.to(x)
    before, after = (
        2 * x[..., :1] - x[..., 1 : SLOPE_REACH + 1].flip(-1),
        2 * x[..., -1:] - x[..., -SLOPE_REACH - 1 : -1].flip(-1),
    )
    padded = torch.nn.functional.pad(torch.cat([before, x, after], -1), (0, -length % _CHUNK))
    chunks = padded.unfold(-1, _CHUNK + 2 * SLOPE_REACH, _CHUNK)
    return (chunks @ _slope_matrix().to(x)).flatten(-2)[..., :length]


@cache
def _slope_matrix() -> Float[Tensor, "inputs outputs"]:
    taps = np.concatenate([-slope_taps()[::-1], [0.0], slope_taps()])
    matrix = np.zeros((_CHUNK + 2 * SLOPE_REACH, _CHUNK))
    for k in range(_CHUNK):
        matrix[k : k + len(taps), k] = taps
    return torch.from_numpy(matrix)
