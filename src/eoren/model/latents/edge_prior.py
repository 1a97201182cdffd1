"""The edge prior: what photographs have between the pixels, as a small network that is part of the format.

A spline does not use what edges look like. The network does: a stack of convolutions reads the pixels of a field
once, and returns a *detail image* of twice as many columns and rows. The field becomes

    colour(x, y) = base(x, y) + (1 - cos^4 pi x cos^4 pi y) details(x, y)        x, y in pixels, centres at integers

with `details` the quintic spline through the detail image. The weight and its slope vanish at the centres of pixels,
so that the fitted colours and gradients stay what they are; it is 1 at their edges, and 15/16 at the pixels of a
image of twice the size. Everything is smooth: derivatives follow by the product rule.

The network is trained once, on free photographs (``tools/train_edge_prior.py``), with the noise of coding. Its first
layer does not see the mean of the pixels. Weights have 8 bits and one scale for each output.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float16, Float32, Int8

from eoren.model.arrays import Array, Tensor, as_tensor, namespace

VERSION = 1
"""Version of the prior that new fields refer to; a field without prior has version 0."""
LEAK = 0.1
"""Slope of the layers' nonlinearity for negative numbers."""
SCALE = 2
"""Detail pixels for each pixel, along both axes."""

_WEIGHTS = Path(__file__).with_name("edge_prior.npz")


@dataclass(frozen=True, eq=False)
class EdgePrior:
    """A stack of convolutions from pixels to a detail image.

    The last layer has `SCALE` squared outputs for each colour: detail pixels in the order of rows.

    Attributes:
        weights: correlation weights of each layer, ``(outputs, inputs, side, side)``; sides are odd.
        biases: biases of each layer.
    """

    weights: tuple[Float32[np.ndarray, "_ _ _ _"], ...]
    biases: tuple[Float32[np.ndarray, " _"], ...]

    @property
    def colors(self) -> int:
        """Number of colours, 1 or 3."""
        return int(self.weights[0].shape[1])

    @property
    def radius(self) -> int:
        """Pixels in every direction that a detail pixel depends on, beside its own."""
        return sum(weight.shape[-1] // 2 for weight in self.weights)

    def __call__(
        self, pixels: Float[Tensor, "colors rows columns"]
    ) -> Float[Tensor, "outputs inner_rows inner_columns"]:
        """Compute the outputs of the last layer at all pixels but a border of `radius`, with PyTorch."""
        from torch.nn.functional import conv2d, leaky_relu

        x = pixels[None]
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = leaky_relu(x, LEAK) if number else x
            x = conv2d(x, as_tensor(weight).to(x), as_tensor(bias).to(x))
        return x[0]

    def gray(self) -> "EdgePrior":
        """Return the network of one colour that computes what this one does if all colours are equal."""
        first, last, bias = self.weights[0], self.weights[-1], self.biases[-1]
        first = first.sum(1, keepdims=True)
        last = last.reshape(self.colors, -1, *last.shape[1:]).mean(0)
        bias = bias.reshape(self.colors, -1).mean(0)
        return EdgePrior((first, *self.weights[1:-1], last), (*self.biases[:-1], bias))


class StoredLayer(NamedTuple):
    """One layer of the network as it is shipped.

    Attributes:
        integers: weights in units of the scales, ``(outputs, inputs, side, side)``, from -127 to 127.
        scale: unit of each output's weights, with so few bits that the products are exact in float32.
        bias: biases.
    """

    integers: Int8[np.ndarray, "outputs inputs side side"]
    scale: Float16[np.ndarray, " outputs"]
    bias: Float32[np.ndarray, " outputs"]

    def weights(self) -> Float32[np.ndarray, "outputs inputs side side"]:
        """Return the weights."""
        weights: np.ndarray = self.integers * self.scale.astype(np.float32)[:, None, None, None]
        return weights


@cache
def edge_prior(version: int, colors: int) -> EdgePrior:
    """Read a version of the edge prior.

    Args:
        version: version of the prior.
        colors: 1 for gray, 3 for colour.
    """
    if colors == 1:
        return edge_prior(version, 3).gray()
    layers = stored_layers(version)
    return EdgePrior(tuple(layer.weights() for layer in layers), tuple(layer.bias for layer in layers))


@cache
def stored_layers(version: int) -> tuple[StoredLayer, ...]:
    """Read the layers of a version of the edge prior of three colours, in 8 bits."""
    assert version == VERSION, "a reader of files refuses other versions"
    with np.load(_WEIGHTS, allow_pickle=False) as arrays:
        layers = range(len(arrays.files) // len(StoredLayer._fields))
        return tuple(StoredLayer(*(arrays[f"{name}{k}"] for name in StoredLayer._fields)) for k in layers)


def to_detail_image(
    outputs: Float[Array, "outputs rows columns"],
) -> Float[Array, "colors twice_rows twice_columns"]:
    """Arrange the outputs of the network as an image; they may have more axes before these."""
    *batch, count, rows, columns = outputs.shape
    apart = outputs.reshape(*batch, count // SCALE**2, SCALE, SCALE, rows, columns)
    pixels = namespace(outputs).moveaxis(apart, (-2, -1), (-4, -2))
    return pixels.reshape(*batch, count // SCALE**2, SCALE * rows, SCALE * columns)


def center_bump(position: Float[Array, "..."], side: int, order: int = 0) -> Float[Array, "..."]:
    """Compute one axis' factor of the difference from 1 of the details' weight, or one of its derivatives.

    Args:
        position: positions in pixels; beyond the image, the bump is 0 as at its edges.
        side: pixels of the image along this axis.
        order: order of the derivative by the position, 0 to 2.
    """
    xp, angle = namespace(position), math.pi * position.clip(-0.5, side - 0.5)
    cos, sin = xp.cos(angle), xp.sin(angle)
    if order == 0:
        return cos**4
    if order == 1:
        return -4 * math.pi * cos**3 * sin
    return 4 * math.pi**2 * cos**2 * (3 * sin**2 - cos**2)
