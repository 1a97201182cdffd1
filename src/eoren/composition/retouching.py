"""Retouching: change an image through its gradients."""

import warnings
from collections.abc import Callable
from math import pi
from typing import Any

import numpy as np

from eoren.composition.operands import LoadedOperand, Operand, join_alpha, open_operand, split_alpha
from eoren.composition.operations import Composition, describe_operation
from eoren.composition.poisson import forward_differences, solve_rectangle
from eoren.errors import EorenError
from eoren.image.arrays import Gradient, Image

# Cutoff wavelengths of illumination and detail, as fractions of the longer side of the image.
_LIGHT_FRACTION = 1
_DETAIL_FRACTION = 16
_DENOISING_ITERATIONS = 40


def flatten_light(image: Operand) -> Composition:
    """Remove illumination that changes slowly over an image. Mean and alpha stay.

    The smooth function nearest to the gray values is subtracted (Morel, Petro and Sbert, "Screened Poisson equation
    for image contrast enhancement", 2014). Waves as long as the longer side of the image lose half of their
    amplitude; shorter waves lose less.

    Args:
        image: image or field to change; it is not modified.

    Raises:
        EorenError: the image cannot be read.
    """
    operand = open_operand(image)

    def guide(colors: Image) -> Gradient:
        gray = colors.mean(2, keepdims=True)
        still = np.zeros((*gray.shape, 2), np.float32)
        light = solve_rectangle(still, colors=gray, weight=_color_weight(operand, _LIGHT_FRACTION))
        flattened: Gradient = forward_differences(colors) - forward_differences(light)
        return flattened

    return _retouching(operand, guide, flatten_light=True)


def boost_detail(image: Operand, factor: float | int) -> Composition:
    """Amplify the fine detail of an image. Alpha stays.

    Gradients are multiplied by the factor while colours stay near their values: waves much shorter than a sixteenth
    of the longer side grow by the factor, longer waves stay.

    Args:
        image: image or field to change; it is not modified.
        factor: amplification of the gradients, above zero; below 1 it softens the image.

    Raises:
        EorenError: the image cannot be read, or the factor is not a finite number above zero.
    """
    if not 0 < factor < float("inf"):
        raise EorenError(f"the factor of boost_detail must be a finite number above 0, got {factor:g}")
    operand = open_operand(image)

    def guide(colors: Image) -> Gradient:
        return np.float32(factor) * forward_differences(colors)

    return _retouching(operand, guide, _color_weight(operand, _DETAIL_FRACTION), boost_detail=factor)


def denoise(image: Operand) -> Composition:
    """Remove noise from an image and keep its edges. Mean and alpha stay.

    The total variation is minimized (Rudin, Osher and Fatemi, 1992) by split Bregman iteration (Goldstein and Osher,
    2009), as strongly as the estimated noise demands (Immerkaer, 1996, with the median).

    Args:
        image: image or field to change; it is not modified.

    Raises:
        EorenError: the image cannot be read.
    """
    return _retouching(
        open_operand(image), lambda colors: forward_differences(_denoise_tv(colors)), denoise_edges=True
    )


# The parameters of retouch() have the names of these functions.
_flatten_light, _boost_detail = flatten_light, boost_detail


def retouch(
    image: Operand,
    *,
    flatten_light: bool = False,
    boost_detail: float | int | None = None,
    denoise_edges: bool = False,
) -> Composition:
    """Apply :func:`flatten_light`, :func:`boost_detail` or :func:`denoise`, whichever option is given.

    Deprecated; call these functions.

    Raises:
        EorenError: not exactly one option is given, or the chosen function refuses its arguments.
    """
    warnings.warn(
        "eoren.retouch is deprecated and will be removed in 0.4; use eoren.flatten_light, eoren.boost_detail or "
        "eoren.denoise",
        DeprecationWarning,
        stacklevel=2,
    )
    if sum([flatten_light, boost_detail is not None, denoise_edges]) != 1:
        raise EorenError("retouch takes exactly one of flatten_light, boost_detail and denoise_edges")
    if boost_detail is not None:
        return _boost_detail(image, boost_detail)
    return _flatten_light(image) if flatten_light else denoise(image)


def _retouching(
    operand: LoadedOperand, guide: Callable[[Image], Gradient], weight: float = 0.0, **chosen: Any
) -> Composition:
    """Compose from a gradient field of the colours; their weight, if any, replaces their mean as the constraint."""
    colors, alpha = split_alpha(operand.pixels)
    options = {"flatten_light": False, "boost_detail": None, "denoise_edges": False, **chosen}

    def solve() -> Image:
        mean = colors.mean((0, 1), dtype=np.float64)
        return join_alpha(solve_rectangle(guide(colors), mean=mean, colors=colors, weight=weight), alpha)

    def guide_all() -> Gradient:
        guidance = guide(colors)
        return guidance if alpha is None else np.concatenate([guidance, forward_differences(alpha[..., None])], 2)

    return Composition(
        operand.pixels,
        np.zeros(colors.shape[:2], bool),
        describe_operation("retouch", (operand,), **options),
        solve,
        guide_all,
        operand.notes,
        operand.profile,
    )


def _color_weight(operand: LoadedOperand, fraction: int) -> float:
    """Weight of colours against differences at which waves of a fraction of the longer side follow both equally."""
    wavelength = float(max(operand.pixels.shape[:2])) / fraction
    return (2 * pi / wavelength) ** 2


def _estimate_noise(colors: Image) -> float:
    """Estimate the standard deviation of the noise from second differences, which edges hardly affect."""
    if min(colors.shape[:2]) < 3:
        return 0.0
    rows = colors[2:] - 2 * colors[1:-1] + colors[:-2]
    response = rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2]
    return float(np.median(np.abs(response))) / (6 * 0.6745)


def _denoise_tv(colors: Image) -> Image:
    """Minimize ``TV(u) + sum (u - f)^2 / (2 sigma)`` over u, channel by channel."""
    sigma = _estimate_noise(colors)
    if sigma == 0:
        return colors
    denoised, bregman = colors, np.zeros((*colors.shape, 2), np.float32)
    # With half the weight on the colours the iteration converges fast.
    threshold = np.float32(sigma / 2)
    for _ in range(_DENOISING_ITERATIONS):
        gradient = forward_differences(denoised)
        # Differences across the border of the image do not count.
        gradient[:, -1, :, 0] = gradient[-1, :, :, 1] = 0
        gradient += bregman
        length = np.sqrt(np.square(gradient).sum(-1, keepdims=True))
        shrunk = gradient * (np.maximum(length - threshold, 0) / np.maximum(length, np.float32(1e-20)))
        bregman = gradient - shrunk
        denoised = solve_rectangle(shrunk - bregman, colors=colors, weight=0.5)
    return denoised
