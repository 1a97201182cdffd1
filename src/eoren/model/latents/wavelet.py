"""The CDF 9/7 wavelet transform of images of any size, by lifting: the analysis and synthesis of latents.

One level splits a signal into ceil(n/2) low-pass and floor(n/2) high-pass samples. Signals continue beyond their ends
by whole-sample symmetry. Low-pass filters have the gain sqrt(2), so that the transform is nearly orthonormal: equal
errors of the coefficients cause equal errors of the image, to 20 % in norm. A single sample stays as it is.

The lifting steps are those of Daubechies and Sweldens, "Factoring wavelet transforms into lifting steps", 1998, which
JPEG 2000 (ISO/IEC 15444-1, annex F) uses too. Bands are NumPy arrays or tensors.
"""

from typing import NamedTuple

from jaxtyping import Float

from eoren.coding.lowpass import LIFTING, SCALE
from eoren.model.arrays import Array, namespace


class Details(NamedTuple):
    """The detail bands of one level, each ``(..., rows, columns)``."""

    horizontal: Array  # high-pass along x, low-pass along y: vertical edges
    vertical: Array  # low-pass along x, high-pass along y: horizontal edges
    diagonal: Array  # high-pass along both axes


class Subbands(NamedTuple):
    """The bands of an image: the low-pass band of the last level, and the details from the finest level on."""

    coarse: Array
    details: tuple[Details, ...]


def analyze(image: Float[Array, "*batch rows columns"], levels: int) -> Subbands:
    """Transform an image.

    Args:
        image: ``(..., rows, columns)``, at least one pixel.
        levels: number of levels, 0 or more. Axes of length 1 are not split.

    Example:
        >>> import torch
        >>> bands = analyze(torch.ones(1, 5, 8), levels=1)
        >>> bands.coarse.shape, bands.details[0].horizontal.shape, round(float(bands.coarse[0, 1, 1]), 6)
        (torch.Size([1, 3, 4]), torch.Size([1, 3, 4]), 2.0)
    """
    details = []
    for _ in range(levels):
        low, high = _split(image.swapaxes(-1, -2))
        (image, vertical), (horizontal, diagonal) = _split(low.swapaxes(-1, -2)), _split(high.swapaxes(-1, -2))
        details.append(Details(horizontal, vertical, diagonal))
    return Subbands(image, tuple(details))


def synthesize(bands: Subbands) -> Float[Array, "*batch rows columns"]:
    """Invert :func:`analyze`, to rounding. Differentiable and linear."""
    image = bands.coarse
    for details in reversed(bands.details):
        image = synthesize_level(image, details)
    return image


def synthesize_level(low: Float[Array, "*batch rows columns"], details: Details) -> Array:
    """Invert one level."""
    low = _merge(low, details.vertical).swapaxes(-1, -2)
    high = _merge(details.horizontal, details.diagonal).swapaxes(-1, -2)
    return _merge(low, high).swapaxes(-1, -2)


def flatten(bands: Subbands) -> list[Array]:
    """Return the bands in the order of :meth:`.Latents.bands`."""
    return [bands.coarse, *(band for details in bands.details for band in details)]


def unflatten(bands: list[Array]) -> Subbands:
    """Invert :func:`flatten`."""
    return Subbands(bands[0], tuple(Details(*bands[k : k + 3]) for k in range(1, len(bands), 3)))


def image_size(bands: Subbands) -> tuple[int, int]:
    """Return rows and columns of the image of some bands."""
    if not bands.details:
        return bands.coarse.shape[-2], bands.coarse.shape[-1]
    horizontal, vertical, _ = bands.details[0]
    return horizontal.shape[-2] + vertical.shape[-2], horizontal.shape[-1] + vertical.shape[-1]


def _split(x: Array) -> tuple[Array, Array]:
    """Split along the last axis but one into low-pass and high-pass samples."""
    even, odd = x[..., 0::2, :], x[..., 1::2, :]
    if not odd.shape[-2]:
        return even, odd
    first, second, third, fourth = LIFTING
    odd = odd + first * _around_odd(even, odd.shape[-2])
    even = even + second * _around_even(odd, even.shape[-2])
    odd = odd + third * _around_odd(even, odd.shape[-2])
    even = even + fourth * _around_even(odd, even.shape[-2])
    return even / SCALE, odd * SCALE


def _merge(low: Array, high: Array) -> Array:
    """Invert :func:`_split`."""
    rows, count = low.shape[-2], high.shape[-2]
    if not count:
        return low
    first, second, third, fourth = LIFTING
    even, odd = low * SCALE, high / SCALE
    even = even - fourth * _around_even(odd, rows)
    odd = odd - third * _around_odd(even, count)
    even = even - second * _around_even(odd, rows)
    odd = odd - first * _around_odd(even, count)
    xp = namespace(low)
    both = xp.stack([even[..., :count, :], odd], -2).reshape(*low.shape[:-2], 2 * count, low.shape[-1])
    return both if rows == count else xp.concatenate([both, even[..., count:, :]], -2)


def _around_odd(even: Array, count: int) -> Array:
    """Add the two even neighbours of each odd sample."""
    right = even[..., 1:, :]
    if even.shape[-2] == count:
        right = namespace(even).concatenate([right, even[..., -1:, :]], -2)
    return even[..., :count, :] + right


def _around_even(odd: Array, count: int) -> Array:
    """Add the two odd neighbours of each even sample."""
    padded = namespace(odd).concatenate([odd[..., :1, :], odd, odd[..., -1:, :]], -2)
    return padded[..., :count, :] + padded[..., 1 : count + 1, :]
