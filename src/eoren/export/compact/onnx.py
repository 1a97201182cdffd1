"""A compact field as the template and the tensors of an ONNX graph from points to colours and gradients.

The graph (``field.onnxtxt``) holds the latents as they are, integers of 8 bits mostly, the inverse wavelet transform
and the network of the edge prior: one byte a pixel and channel. The spline coefficients that points are evaluated
from depend on no input, so that runtimes compute them once, when they load the graph. There are no loops, no
branches, and no sizes that depend on the data.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Shaped

from eoren.export.compact.parts import Parts
from eoren.model.latents.edge_prior import LEAK, SCALE
from eoren.model.latents.features import FINE_LEVELS
from eoren.model.latents.spline_basis import PADDING, REACH, TAPS, odd_reflection, pieces, prefilter
from eoren.model.latents.wavelet import Details, flatten, synthesize_level

_ORIENTATIONS = {"horizontal": ("low", "high"), "vertical": ("high", "low"), "diagonal": ("high", "high")}
"""Filters of the detail bands along y and along x."""
_EARLIER, _TAPS = 3, 9
"""Samples that a low-pass sample contributes to: the three before its own place, nine in all, as a high-pass one."""
_BEYOND = 2  # samples by which bands are extended on either side

Tensor = Shaped[np.ndarray, "..."]


class Axis(NamedTuple):
    """One axis of one level of the inverse transform, as indices into bands and a transposed convolution."""

    low: Int[np.ndarray, " extended"]  # indices of low-pass samples, which extend them by symmetry
    high: Int[np.ndarray, " extended"]
    kernels: Float32[np.ndarray, "filters taps"]  # of the low-pass samples, and of the high-pass samples
    stride: int
    first: int  # place of the first sample in the result
    length: int

    @classmethod
    def of(cls, length: int) -> "Axis":
        """Return the axis of an image of a number of samples; a single one is not transformed."""
        if length == 1:
            return cls(np.zeros(1, int), np.zeros(0, int), np.ones((1, 1), np.float32), 1, 0, 1)
        place = 2 * np.arange(-_BEYOND, length // 2 + _BEYOND + 1)
        indices = [(_mirrored(place + odd, length) - odd) // 2 for odd in (0, 1)]
        return cls(indices[0], indices[1], _kernels(), 2, 2 * _BEYOND + _EARLIER, length)


class Level(NamedTuple):
    """One level of the inverse wavelet transform."""

    number: int
    axes: tuple[Axis, Axis]  # along y, along x
    apart: bool  # whether its details are features of their own

    @property
    def details(self) -> list[tuple[str, str, str]]:
        """Names of its detail bands, and of the indices of their rows and columns."""
        return [
            (f"{name}_{self.number}", f"{y}_rows_{self.number}", f"{x}_columns_{self.number}")
            for name, filters in _ORIENTATIONS.items()
            for y, x in [filters]
            if all(axis.stride > 1 or name == "low" for axis, name in zip(self.axes, filters, strict=True))
        ]

    @property
    def strides(self) -> list[int]:
        """Strides of its transposed convolution."""
        return [axis.stride for axis in self.axes]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield indices, kernels in the order of the bands, and the part of the result that is the image."""
        first = np.array([axis.first for axis in self.axes])
        yield f"first_{self.number}", first
        yield f"behind_{self.number}", first + [axis.length for axis in self.axes]
        for name, axis in zip(("rows", "columns"), self.axes, strict=True):
            yield f"low_{name}_{self.number}", axis.low.astype(np.int32)
            if axis.stride > 1:
                yield f"high_{name}_{self.number}", axis.high.astype(np.int32)
        outer = [np.outer(y, x) for y, x in product(*(axis.kernels for axis in self.axes))]
        kernel = np.stack(outer)[:, None]
        if self.apart:
            yield f"low_kernel_{self.number}", kernel[:1]
            yield f"details_kernel_{self.number}", kernel[1:]
        else:
            yield f"kernel_{self.number}", kernel


def levels_of(parts: Parts) -> list[Level]:
    """Return the levels of a field's transform, the coarsest first."""
    levels, rows, columns = [], parts.features.height, parts.features.width
    for number in range(1, len(parts.features.latents.details) + 1):
        apart = parts.features.separate and number <= FINE_LEVELS
        levels.append(Level(number, (Axis.of(rows), Axis.of(columns)), apart))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return levels[::-1]


def template_values(parts: Parts, *, gradient: bool) -> dict[str, Any]:
    """Return the values of the template for a field, with or without the gradient."""
    levels = levels_of(parts)
    prior = parts.details and parts.details.prior
    return {
        "channels": parts.linear.shape[1],
        "layers": len(parts.layers),
        "bands": ["coarse", *(name for level in levels for name, _, _ in level.details)],
        "levels": levels,
        "prior_layers": len(prior.weights) if prior else 0,
        "radius": prior.radius if prior else 0,
        "leak": LEAK,
        "gradient": gradient,
    }


def graph_tensors(parts: Parts) -> dict[str, Tensor]:
    """Return the initializers of the graph with the gradient."""
    tensors = dict(_band_tensors(parts))
    for level in levels_of(parts):
        tensors |= dict(level.tensors())
    stencil = prefilter().astype(np.float32)
    tensors |= {
        "prefilter_columns": stencil[None, None, None],
        "prefilter_rows": stencil[None, None, :, None],
        "polynomials": pieces().T.astype(np.float32),
        "polynomial_slopes": np.pad(pieces(1), ((0, 0), (0, 1))).T.astype(np.float32),
        "linear": parts.linear.numpy(),
    }
    size, (features, channels) = (parts.features.width, parts.features.height), parts.linear.shape
    tensors |= _spline_tensors("feature", *size, features)
    for number, (weight, bias) in enumerate(parts.layers):
        tensors |= {f"weight_{number}": weight.numpy(), f"bias_{number}": bias.numpy()}
    if parts.details:
        prior, sides = parts.details.prior, np.array([size], np.float64)
        tensors |= _spline_tensors("detail", parts.details.width, parts.details.height, channels)
        tensors |= {"prior_channels": np.arange(prior.colors), "last_edge": sides - 0.5}
        tensors["four_pi_per_side"] = (4 * np.pi * sides).astype(np.float32)
        # Alpha has no details.
        alpha = np.zeros((SCALE**2 * (channels - prior.colors), *prior.weights[-1].shape[1:]), np.float32)
        weights = [*prior.weights[:-1], np.concatenate([prior.weights[-1], alpha])]
        biases = [*prior.biases[:-1], np.concatenate([prior.biases[-1], alpha[:, 0, 0, 0]])]
        for number, (kernel, offset) in enumerate(zip(weights, biases, strict=True)):
            tensors |= {f"prior_weight_{number}": kernel, f"prior_bias_{number}": offset}
    return tensors


def _spline_tensors(of: str, width: int, height: int, count: int) -> dict[str, Tensor]:
    """Return what the splines of a number of images of one size need."""
    across, down = odd_reflection(_extended(width), width), odd_reflection(_extended(height), height)
    row, tap = width + 2 * PADDING, np.arange(TAPS)
    tensors = {
        "source_columns": across.source.astype(np.int32),
        "sign_columns": across.sign.astype(np.float32),
        "end_columns": np.array([0, width - 1]),
        "factor_columns": across.ends.astype(np.float32),
        "source_rows": down.source.astype(np.int32),
        "sign_rows": down.sign[:, None].astype(np.float32),
        "end_rows": np.array([0, height - 1]),
        "factor_rows": down.ends.T.astype(np.float32),
        "by_place": np.array([-1, count]),
        "size": np.array([[width, height]], np.float64),
        "last_knot": np.array([[width - 1, height - 1]], np.float64),
        "strides": np.array([[1, row]], np.float64),
        # Of knot (0, 0): its first coefficient is at column and row PADDING - 2 of the padded ones.
        "offsets": ((PADDING - 2 + tap)[:, None] * row + PADDING - 2 + tap).reshape(1, -1),
        "per_side": np.array([[1], [width], [height]], np.float32),
    }
    return {f"{of}_{name}": tensor for name, tensor in tensors.items()}


def _band_tensors(parts: Parts) -> Iterator[tuple[str, Tensor]]:
    latents, matrices = parts.features.latents, parts.features.matrices
    names = ["coarse", *(f"{name}_{n}" for n in range(1, len(latents.details) + 1) for name in _ORIENTATIONS)]
    for name, band, matrix in zip(names, flatten(latents), matrices, strict=True):
        if band.numel():
            values = band.numpy()
            yield f"stored_{name}", values.astype(np.min_scalar_type(-int(np.abs(values).max()) - 1))[None]
            yield f"matrix_{name}", matrix.T.numpy()[:, :, None, None]


def _extended(length: int) -> Int[np.ndarray, " samples"]:
    """Return the places of samples that padded spline coefficients depend on."""
    return np.arange(-PADDING - REACH, length + PADDING + REACH)


def _mirrored(place: Int[np.ndarray, " places"], length: int) -> Int[np.ndarray, " places"]:
    """Reflect places into a signal, by whole-sample symmetry."""
    period = 2 * (length - 1)
    mirrored: np.ndarray = np.minimum(place % period, -place % period)
    return mirrored


@cache
def _kernels() -> Float32[np.ndarray, "2 taps"]:
    """Return what a low-pass and a high-pass sample contribute to the samples around."""
    impulse, zero, none = np.zeros((1, 16, 1)), np.zeros((1, 16, 1)), np.zeros((1, 16, 0))
    impulse[0, 8] = 1
    answers = [synthesize_level(low, Details(none, high, none)) for low, high in ((impulse, zero), (zero, impulse))]
    first = 16 - _EARLIER
    kernels: Float32[np.ndarray, "2 taps"] = np.concatenate(answers)[:, first : first + _TAPS, 0].astype(np.float32)
    return kernels
