"""Whether a field gets the edge prior: the prior has to help with the image itself, one octave further down.

The decoded pixels are reduced by two, as images usually are, by an antialiased bicubic filter. Spline and prior
then predict the image from them, at known pixels. What helps there helps between the pixels as well, because edges
look alike at all scales. Masks, drawings and measured data that do not gain keep the spline.
"""

import logging
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from eoren.backends.dispatch import choose_latent_evaluator
from eoren.backends.latents.windows import pixel_centers
from eoren.coding.bands import Box
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.model.latents.edge_prior import SCALE, VERSION, edge_prior, to_detail_image
from eoren.model.latents.spline_basis import sampling_matrix

_log = logging.getLogger(__name__)

_GAIN = 0.01  # share of the squared error that the prior has to remove
_SIDE, _PLACES = 256, 4  # windows of larger images: their side, and their number along each axis
_SMALLEST, _BORDER = 32, 4  # pixels: of an image that can be tested, and of windows that do not count
_SHARPNESS = -0.5  # of the bicubic filter
_WEIGHT = 15 / 16  # of the details at the pixels of an image of twice the size


@torch.no_grad()
def choose_prior(field: WaveletSiren, image: Image) -> int:
    """Return the version of the edge prior for a field, or 0 if it does not help.

    Args:
        field: fitted field without prior.
        image: point values ``(H, W, C)``.
    """
    height, width, channels = image.shape
    if min(height, width) < _SMALLEST:
        return 0
    prior = edge_prior(VERSION, 3 if channels >= 3 else 1)
    predict = choose_latent_evaluator(field.decoder).predict_details
    without = with_prior = 0.0
    for box in _windows(width, height):
        true = torch.from_numpy(image[box.y0 : box.y1, box.x0 : box.x1, : prior.colors]).permute(2, 0, 1).double()
        decoded = _pixels(field, box)[: prior.colors]
        small = (_halving(true.shape[1]) @ decoded @ _halving(true.shape[2]).T).to(field.decoder.linear)
        radius = prior.radius
        details = to_detail_image(predict(prior, pad(small[None], (radius,) * 4, mode="replicate")[0]))
        weighted = _WEIGHT * details.cpu()
        errors = _spline(true.shape[1]) @ small.cpu().double() @ _spline(true.shape[2]).T - true
        inner = np.s_[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
        without += float(errors[inner].square().sum())
        with_prior += float((errors + weighted)[inner].square().sum())
    _log.info("squared error of the halved image: %.4g with the edge prior, %.4g without", with_prior, without)
    return VERSION if with_prior < (1 - _GAIN) * without else 0


def _windows(width: int, height: int) -> Iterator[Box]:
    """Yield windows with even sides: the whole image, or some that cover a large one evenly."""
    columns, rows = (_spans(side) for side in (width, height))
    for y0, y1 in rows:
        for x0, x1 in columns:
            yield Box(x0, y0, x1, y1)


def _spans(side: int) -> list[tuple[int, int]]:
    if side <= _PLACES * _SIDE:
        return [(0, side // 2 * 2)]
    starts = np.linspace(0, side - _SIDE, _PLACES).astype(int).tolist()
    return [(start, start + _SIDE) for start in starts]


def _pixels(field: WaveletSiren, box: Box) -> Float[Tensor, "channels rows columns"]:
    """Decode the pixels of a window."""
    colors = field.sample(*pixel_centers(box, field.size), "color")[0]
    return torch.from_numpy(colors).permute(2, 0, 1).double()


@lru_cache(maxsize=2)  # for both sides of an image
def _halving(length: int) -> Float[Tensor, "half length"]:
    """Return the matrix of a bicubic filter that halves a line, float64; the same as Pillow's."""
    centers = SCALE * (np.arange(length // SCALE) + 0.5)
    distance = np.abs(np.arange(length) + 0.5 - centers[:, None]) / SCALE
    near = ((_SHARPNESS + 2) * distance - (_SHARPNESS + 3)) * distance**2 + 1
    far = _SHARPNESS * (((distance - 5) * distance + 8) * distance - 4)
    taps = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    return torch.from_numpy(taps / taps.sum(1, keepdims=True))


@lru_cache(maxsize=2)  # for both sides of an image
def _spline(length: int) -> Float[Tensor, "length half"]:
    """Return the matrix from the pixels of half a line to the spline at those of the line."""
    return torch.from_numpy(sampling_matrix((np.arange(length) + 0.5) / SCALE - 0.5, length // SCALE))
