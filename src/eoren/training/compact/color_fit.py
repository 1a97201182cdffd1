"""Fitting of the color decoder to an image while the latents stay: least squares, then a SIREN by descent."""

from collections.abc import Callable
from math import cos, pi
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eoren.coding.bands import Box, blocks
from eoren.coding.parameters import encode_parameters
from eoren.image.arrays import Image
from eoren.image.gradients import pixel_gradient
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.features import LatentFeatures
from eoren.model.latents.spline_basis import sampling_matrix

_WINDOW = 256
_MOST_WINDOWS = 4
_BATCH = 4096
_RATE, _LAST_RATE = 8e-3, 4e-4  # of Adam, for the sine layers and for the last layer
_RIDGE = 1e-7  # keeps the linear part of empty features, in squared intensities a point
_EXPONENTS = range(5, 12)  # fractional bits that are tried for the decoder's numbers


class Samples(NamedTuple):
    """Features and colours with their derivatives in pixels, at some pixel centres."""

    features: Float[Tensor, "3 points features"]
    colors: Float[Tensor, "3 points channels"]

    def error(self, decoder: ColorDecoder, gradient_weight: float, some: Tensor | slice = slice(None)) -> Tensor:
        """Compute the distortion: mean squared error of colours, plus the weighted one of gradients."""
        errors: Tensor = decoder(self.features[:, some]) - self.colors[:, some]
        return errors[0].square().mean() + gradient_weight * errors[1:].square().mean()


def draw_samples(features: LatentFeatures, image: Image, count: int, *, seed: int) -> Samples:
    """Sample about ``count`` pixels of an image, or all if there are fewer, from up to four windows.

    Args:
        features: features of the image.
        image: its point values ``(H, W, C)``.
        count: number of pixels.
        seed: seed of the random generator.
    """
    generator = np.random.default_rng(seed)
    boxes = blocks(features.width, features.height, 3, _WINDOW)
    most = min(len(boxes), _MOST_WINDOWS)
    chosen = sorted(generator.choice(len(boxes), most, replace=False).tolist())
    share = count / sum((box.x1 - box.x0) * (box.y1 - box.y0) for box in map(boxes.__getitem__, chosen))
    inputs, outputs = [], []
    for number in chosen:
        box = boxes[number]
        streams, target = _window_streams(features, box), _window_colors(image, box)
        some = torch.from_numpy(np.flatnonzero(generator.random(streams.shape[1]) < share))
        inputs.append(streams[:, some])
        outputs.append(target[:, some].to(streams))
    return Samples(torch.cat(inputs, 1), torch.cat(outputs, 1))


def fit_linear(samples: Samples, decoder: ColorDecoder, gradient_weight: float) -> ColorDecoder:
    """Return the linear decoder of least distortion, in closed form."""
    z, target = samples.features.double(), samples.colors.double()
    weights = torch.tensor([1, gradient_weight / 2, gradient_weight / 2], dtype=torch.float64, device=z.device)
    target = torch.cat([target[:1] - 0.5, target[1:]])
    weighted = (weights[:, None, None] * z).flatten(0, 1).T
    squares, products = weighted @ z.flatten(0, 1), weighted @ target.flatten(0, 1)
    ridge = _RIDGE * z.shape[1] * torch.eye(len(squares), dtype=torch.float64, device=z.device)
    linear = torch.linalg.solve(squares + ridge, products + ridge @ decoder.linear.double())
    return ColorDecoder(linear.to(decoder.linear), None)


def fit_siren(
    samples: Samples,
    decoder: ColorDecoder,
    gradient_weight: float,
    *,
    generator: torch.Generator,
    done: Callable[[int], float],
) -> ColorDecoder:
    """Train the SIREN of a decoder, and its linear part, with Adam.

    Args:
        samples: points to fit.
        decoder: decoder to begin with.
        gradient_weight: weight of the gradients' errors.
        generator: random generator of the batches, on the CPU.
        done: function of the number of steps that returns the share of the budget that is used up; 1 ends the fit.
    """
    tensors = [t.clone().requires_grad_() for t in decoder.tensors()]
    trained, slow = decoder.with_tensors(tensors), {0, 3, len(tensors) - 1}
    groups = [{"params": [t], "lr": _LAST_RATE if k in slow else _RATE} for k, t in enumerate(tensors)]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    rates, count, step = [group["lr"] for group in optimizer.param_groups], samples.features.shape[1], 0
    while (used := done(step)) < 1:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (0.01 + 0.99 * (1 + cos(pi * used)) / 2)
        some = torch.randint(count, (min(_BATCH, count),), generator=generator).to(samples.features.device)
        optimizer.zero_grad()
        with torch.enable_grad():
            (1e4 * samples.error(trained, gradient_weight, some)).backward()
        optimizer.step()
        step += 1
    return decoder.with_tensors([t.detach() for t in tensors])


def round_decoder(
    samples: Samples, decoder: ColorDecoder, gradient_weight: float, price: float
) -> tuple[ColorDecoder, tuple[int, ...], float]:
    """Round a decoder's numbers where distortion and bits balance.

    Args:
        samples: points that measure the distortion.
        decoder: decoder to round.
        gradient_weight: weight of the gradients' errors.
        price: what a bit is worth in distortion.

    Returns:
        The rounded decoder, fractional bits of each of its tensors, and distortion plus price of the bits.
    """
    best: tuple[ColorDecoder, tuple[int, ...], float] | None = None
    arrays = [t.detach().cpu().double().numpy() for t in decoder.tensors()]
    for exponent in _EXPONENTS:
        exponents = (exponent + 2, *[exponent] * (len(arrays) - 1))
        rounded = [torch.round(t * 2.0**e) * 2.0**-e for t, e in zip(decoder.tensors(), exponents, strict=True)]
        candidate = decoder.with_tensors(rounded)
        error = float(samples.error(candidate, gradient_weight))
        cost = error + price * 8 * len(encode_parameters(arrays, exponents))
        if best is None or cost < best[2]:
            best = candidate, exponents, cost
    assert best is not None
    return best


def _window_streams(features: LatentFeatures, box: Box) -> Float[Tensor, "3 points features"]:
    window, (left, top) = features.window(box)
    samples = torch.from_numpy(window)
    inner = np.s_[:, box.y0 - top : box.y1 - top, box.x0 - left : box.x1 - left]
    columns = torch.from_numpy(sampling_matrix(np.arange(samples.shape[2], dtype=np.float64), samples.shape[2], 1))
    rows = torch.from_numpy(sampling_matrix(np.arange(samples.shape[1], dtype=np.float64), samples.shape[1], 1))
    planes = (samples, samples @ columns.T.to(samples), rows.to(samples) @ samples)
    return torch.stack([plane[inner].flatten(1).T for plane in planes])


def _window_colors(image: Image, box: Box) -> Float[Tensor, "3 points channels"]:
    colors = image[box.y0 : box.y1, box.x0 : box.x1]
    gradient = pixel_gradient(image, box=(box.x0, box.y0, box.x1, box.y1))
    return torch.from_numpy(np.stack([colors, gradient[..., 0], gradient[..., 1]]).reshape(3, -1, colors.shape[-1]))
