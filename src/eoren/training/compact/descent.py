"""Gradient descent on the latents of one block: distortion plus the price of the bits.

Latents are real numbers here. During most of the descent they are rounded softly, with noise that stands for the
rounding error, so that the loss is smooth in them; in the last part they are rounded, and gradients pass as if they
were not (Agustsson and Theis, "Universally quantized neural compression", arXiv 2006.09952; Ladune et al.,
"COOL-CHIC", arXiv 2212.05458). The color decoder is linear and stays. It is applied to the coefficients, before the
inverse wavelet transform, which costs a fourth of applying it to the features.
"""

from math import sqrt, tanh

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eoren.backends.dispatch import choose_distortion, choose_rate
from eoren.coding.bands import Box
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.model.latents.distortion import Distortion, DistortionTarget
from eoren.model.latents.features import FINE_LEVELS, mix
from eoren.model.latents.wavelet import flatten, unflatten

_REACH = 32  # pixels around a block that its latents change
_FIRST_TEMPERATURE, _LAST_TEMPERATURE, _HARD_TEMPERATURE = 0.4, 0.1, 0.2
_SOFT = 0.8  # share of the descent with soft rounding
_RATE, _LAST_RATE = 3e-2, 0.02  # of Adam, in steps of quantisation, and its last value relative to the first
_RATE_EVERY = 2  # steps: the bits are half of the work, and their gradient changes slowly
_BETAS, _EPSILON = (0.9, 0.99), 1e-8


class BlockDescent:
    """The descent of one block, while the rest of the image stays as it is.

    Args:
        image: point values of the whole image.
        field: field to begin with, whose decoder is linear.
        box: the block.
        coefficients: coefficients of the block in quantisation steps, to begin with.
        gradient_weight: weight of the gradients' errors.
        price: what one bit is worth, in squared errors summed over pixels and averaged over channels.
        seed: seed of the noise.
        device: device to compute on.
    """

    def __init__(
        self,
        image: Image,
        field: WaveletSiren,
        box: Box,
        coefficients: list[np.ndarray],
        *,
        gradient_weight: float,
        price: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self._seed, self._price, self._device = seed, price, device
        self.steps = 0
        self.latents = [torch.from_numpy(np.array(c, np.float32)).to(device) for c in coefficients]
        self._mean = [torch.zeros_like(latent) for latent in self.latents]
        self._square = [torch.zeros_like(latent) for latent in self.latents]
        self._rate = choose_rate(self.latents)
        self._window = _Window(image, field, box, gradient_weight=gradient_weight, device=device)
        whole = box == Box(0, 0, field.width, field.height)
        count = 3 * min(FINE_LEVELS, field.latents.levels)
        # Coarse latents of an image of several blocks reach beyond the block, and stay.
        self._variable = [whole or 1 <= k <= count for k in range(len(self.latents))]
        self.pixels = self._window.pixels
        self.bits = self.color_error = self.gradient_error = 0.0  # of the last step

    def step(self, used: float, total: float) -> None:
        """Make one step of Adam.

        Args:
            used: share of the descent that is used up, 0..1.
            total: number of steps that the descent is expected to have.
        """
        with torch.enable_grad():
            latents = [t.detach().requires_grad_(v) for t, v in zip(self.latents, self._variable, strict=True)]
            rounded = self._round(latents, used, _noise_width(total))
            errors = self._window.distortion(rounded)
            loss = errors.total / self._price
            if self.steps % _RATE_EVERY == 0:
                bits = self._rate(rounded)
                loss = loss + _RATE_EVERY * bits.to(loss)
                self.bits = float(bits.detach())
            loss.backward()
        self.color_error, self.gradient_error = errors.color, errors.gradient
        self.steps += 1
        self._update(
            latents, _learning_rate(total) * (_LAST_RATE + (1 - _LAST_RATE) * (1 + float(np.cos(np.pi * used))) / 2)
        )

    def coefficients(self) -> list[np.ndarray]:
        """Return the latents as they are, in quantisation steps."""
        return [latent.cpu().numpy() for latent in self.latents]

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, as views: latents and moments of Adam."""
        lists = {"latent": self.latents, "mean": self._mean, "square": self._square}
        return {f"{name}.{k}": t for name, tensors in lists.items() for k, t in enumerate(tensors)}

    def _update(self, latents: list[Tensor], rate: float) -> None:
        first, second = _BETAS
        unbias = np.sqrt(1 - second**self.steps) / (1 - first**self.steps)
        for k, latent in enumerate(latents):
            if latent.grad is not None:
                self._mean[k].lerp_(latent.grad, 1 - first)
                self._square[k].mul_(second).addcmul_(latent.grad, latent.grad, value=1 - second)
                self.latents[k].addcdiv_(self._mean[k], self._square[k].sqrt().add_(_EPSILON), value=-rate * unbias)

    def _round(self, latents: list[Tensor], used: float, noise: float) -> list[Tensor]:
        if used >= _SOFT:
            return [t if not v else _hard(t) for t, v in zip(self._fixed(latents), self._variable, strict=True)]
        temperature = _FIRST_TEMPERATURE + (_LAST_TEMPERATURE - _FIRST_TEMPERATURE) * used / _SOFT
        generator = torch.Generator(self._device).manual_seed(self._seed * 1_000_003 + self.steps)
        return [
            soft_round(soft_round(t, temperature) + noise * _noise(t, generator), temperature) if v else t
            for t, v in zip(self._fixed(latents), self._variable, strict=True)
        ]

    def _fixed(self, latents: list[Tensor]) -> list[Tensor]:
        return [t if v else t.round() for t, v in zip(latents, self._variable, strict=True)]


def soft_round(x: Float[Tensor, "*shape"], temperature: float) -> Float[Tensor, "*shape"]:
    """Round softly: integers and their midpoints stay, and steps are steeper the lower the temperature."""
    middle = x.detach().floor() + 0.5
    return middle + torch.tanh((x - middle) / temperature) / (2 * tanh(0.5 / temperature))


def _noise_width(total: float) -> float:
    """Return the width of the noise in steps of quantisation: short descents do not converge under all of it."""
    return min(1.0, 0.5 + total / 250)


def _learning_rate(total: float) -> float:
    """Return the learning rate of Adam: larger in short descents. Measured in docs/measurements.md."""
    return _RATE * min(max(sqrt(100 / max(total, 1.0)), 1.0), 1.7)


def _hard(x: Tensor) -> Tensor:
    soft = soft_round(x, _HARD_TEMPERATURE)
    return soft + (x.round() - soft).detach()


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(x.shape, generator=generator, device=x.device) - 0.5


class _Window:
    """The pixels that a block's latents change, and the colours that they should have."""

    def __init__(
        self, image: Image, field: WaveletSiren, box: Box, *, gradient_weight: float, device: torch.device
    ) -> None:
        width, height = field.size
        features = field.features.mixed(field.decoder.linear)
        bands, outer = features.window_bands(box)
        inner = Box(
            max(0, box.x0 - _REACH) - outer.x0,
            max(0, box.y0 - _REACH) - outer.y0,
            min(width, box.x1 + _REACH) - outer.x0,
            min(height, box.y1 + _REACH) - outer.y0,
        )
        colors = np.moveaxis(image[outer.y0 : outer.y1, outer.x0 : outer.x1], 2, 0)
        colors = np.ascontiguousarray(colors - 0.5, np.float32)
        target = DistortionTarget(torch.from_numpy(colors).to(device), inner, gradient_weight)
        self.pixels = target.pixels
        self._distortion = choose_distortion(target)
        assert features.matrices is not None
        # From latents of a band to coefficients of the colours: steps, then the decoder of the group.
        self._matrices = [matrix.to(device) for matrix in features.matrices]
        self._around: list[tuple[Tensor, tuple[int, int, int, int]]] | None = None
        if box != Box(0, 0, width, height):
            self._around = _surroundings(flatten(bands), outer, box, device)

    def distortion(self, latents: list[Tensor]) -> Distortion:
        """Compute the distortion of the window, given the latents of the block."""
        if self._around is None:
            return self._distortion(unflatten([*map(mix, latents, self._matrices)]))
        coefficients = [self._around[0][0]]
        for k, (around, missing) in enumerate(self._around[1:], 1):
            coefficients.append(around + torch.nn.functional.pad(mix(latents[k], self._matrices[k]), missing))
        return self._distortion(unflatten(coefficients))


def _surroundings(
    bands: list[Tensor], outer: Box, box: Box, device: torch.device
) -> list[tuple[Tensor, tuple[int, int, int, int]]]:
    """Return coefficients of a window without those of a block, and how many are left, right, above and below it."""
    around = [(bands[0].to(device), (0, 0, 0, 0))]
    for k, band in enumerate(bands[1:], 1):
        level, kind = (k + 2) // 3, (k - 1) % 3
        (outer_rows, outer_columns), (rows, columns) = (_band_bounds(b, level, kind) for b in (outer, box))
        before = columns.start - outer_columns.start, rows.start - outer_rows.start
        behind = outer_columns.stop - columns.stop, outer_rows.stop - rows.stop
        rest = band.to(device).clone()
        rest[:, before[1] : rest.shape[1] - behind[1], before[0] : rest.shape[2] - behind[0]] = 0
        around.append((rest, (before[0], behind[0], before[1], behind[1])))
    return around


def _band_bounds(box: Box, level: int, kind: int) -> tuple[slice, slice]:
    high, low = box.bounds(level, high=True), box.bounds(level, high=False)
    return (low if kind == 0 else high)[0], (low if kind == 1 else high)[1]
