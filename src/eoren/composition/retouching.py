"""Retouching: images changed by their gradients."""

from math import pi

import numpy as np

from eoren.composition.operands import Operand, joined, opened_as, split
from eoren.composition.operations import Composition, origin_of
from eoren.composition.poisson import Guidance, Image, differences, over_rectangle
from eoren.errors import EorenError

# Light is what changes over the whole image, detail what changes within a sixteenth of it.
_LIGHT_WAVES = 1
_DETAIL_WAVES = 16
_DENOISING_ROUNDS = 40


def retouch(
    image: Operand,
    *,
    flatten_light: bool = False,
    boost_detail: float | int | None = None,
    denoise_edges: bool = False,
) -> Composition:
    """Change an image by its gradients; exactly one of three ways. Alpha stays.

    Args:
        image: to change.
        flatten_light: take away the light that changes slowly over the image: the smooth function that is nearest
            to its gray values (Morel, Petro and Sbert, "Screened Poisson equation for image contrast enhancement",
            2014). Waves as long as the image's longer side lose half; shorter ones, less. The mean stays.
        boost_detail: K: multiply gradients by it, and stay near the colours: waves much shorter than a sixteenth of
            the image's longer side grow K-fold, longer ones stay. Below 1 it softens.
        denoise_edges: take away noise and keep edges: the least total variation (Rudin, Osher and Fatemi, 1992), by
            split Bregman iteration (Goldstein and Osher, 2009), as strong as the noise that is found (Immerkaer,
            1996, with the median).

    Raises:
        EorenError: none or several ways, or a boost that is not above zero.
    """
    chosen = [flatten_light, boost_detail is not None, denoise_edges]
    if sum(chosen) != 1:
        raise EorenError("retouch does one thing at a time; give one of flatten_light, boost_detail, denoise_edges")
    if boost_detail is not None and not 0 < boost_detail < float("inf"):
        raise EorenError(f"boost_detail is {boost_detail:g}, but must be a number above zero")
    opened = opened_as(image)
    colors, alpha = split(opened.pixels)
    longest = max(colors.shape[:2])
    mean = colors.mean((0, 1), dtype=np.float64)

    def guide_colors() -> Guidance:
        if boost_detail is not None:
            stronger: Guidance = np.float32(boost_detail) * differences(colors)
            return stronger
        if flatten_light:
            gray = colors.mean(2, keepdims=True)
            still = np.zeros((*gray.shape, 2), np.float32)
            light = over_rectangle(still, colors=gray, weight=_weight_of(longest / _LIGHT_WAVES))
            without: Guidance = differences(colors) - differences(light)
            return without
        return differences(_least_variation(colors))

    def solve() -> Image:
        if boost_detail is not None:
            weight = _weight_of(longest / _DETAIL_WAVES)
            return joined(over_rectangle(guide_colors(), colors=colors, weight=weight), alpha)
        return joined(over_rectangle(guide_colors(), mean=mean), alpha)

    def guide() -> Guidance:
        return guide_colors() if alpha is None else np.concatenate([guide_colors(), differences(alpha[..., None])], 2)

    return Composition(
        opened.pixels,
        np.zeros(colors.shape[:2], bool),
        origin_of(
            "retouch",
            (opened,),
            flatten_light=flatten_light,
            boost_detail=boost_detail,
            denoise_edges=denoise_edges,
        ),
        solve,
        guide,
        opened.notes,
    )


def _weight_of(wavelength: float) -> float:
    """Of colours beside differences, so that waves so long, in pixels, follow either by half."""
    return (2 * pi / wavelength) ** 2


def _noise(colors: Image) -> float:
    """Standard deviation of the noise: what a difference of Laplacians, blind to edges and slopes, sees mostly."""
    if min(colors.shape[:2]) < 3:
        return 0.0
    rows = colors[2:] - 2 * colors[1:-1] + colors[:-2]
    response = rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2]
    return float(np.median(np.abs(response))) / (6 * 0.6745)


def _least_variation(colors: Image) -> Image:
    """The u with the least ``TV(u) + sum (u - f)^2 / (2 sigma)``, each channel on its own."""
    sigma = _noise(colors)
    if sigma == 0:
        return colors
    found, extra = colors, np.zeros((*colors.shape, 2), np.float32)
    # Half the colours' weight beside the differences' converges fast.
    limit = np.float32(sigma / 2)
    for _ in range(_DENOISING_ROUNDS):
        now = differences(found)
        # No difference leads out of the image.
        now[:, -1, :, 0] = now[-1, :, :, 1] = 0
        now += extra
        length = np.sqrt(np.square(now).sum(-1, keepdims=True))
        shrunk = now * (np.maximum(length - limit, 0) / np.maximum(length, np.float32(1e-20)))
        extra = now - shrunk
        found = over_rectangle(shrunk - extra, colors=colors, weight=0.5)
    return found
