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
from eoren.model.latents.features import FINE_LEVELS, MARGIN, group_count
from eoren.model.latents.wavelet import Subbands, flatten, synthesize, unflatten

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
        right, bottom = (
            side if end + MARGIN >= side else -(-(end + MARGIN) // 8) * 8
            for end, side in zip((box.x1, box.y1), field.size, strict=True)
        )
        outer = Box(max(0, box.x0 - MARGIN), max(0, box.y0 - MARGIN), min(right, width), min(bottom, height))
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
        self._outer, self._distortion = outer, choose_distortion(target)
        levels = field.latents.levels
        groups = field.decoder.linear.view(group_count(levels), len(colors), -1).to(device)
        steps = torch.from_numpy(field.steps()).float().to(device)
        of_band = [0] + [
            max(0, len(groups) - level) if level <= FINE_LEVELS else 0
            for level in range(1, levels + 1)
            for _ in range(3)
        ]
        # From latents of a band to coefficients of the colours: steps, then the decoder of the group.
        self._mixing = [steps[k][:, None] * groups[group] for k, group in enumerate(of_band)]
        self._whole = box == Box(0, 0, width, height)
        if not self._whole:
            self._prepare_surroundings(field, box, device)

    def distortion(self, latents: list[Tensor]) -> Distortion:
        """Compute the distortion of the window, given the latents of the block."""
        if not self._whole:
            fine = 3 * min(FINE_LEVELS, (len(latents) - 1) // 3) + 1
            mixed = [self._low, *(self._embed(k, latents[k]) for k in range(1, fine))]
        else:
            mixed = [_mix(latent, mixing) for latent, mixing in zip(latents, self._mixing, strict=True)]
        return self._distortion(unflatten(mixed))

    def _prepare_surroundings(self, field: WaveletSiren, box: Box, device: torch.device) -> None:
        """Compute what does not change: the low-pass band, and the mixed fine bands outside of the block."""
        bands = [torch.from_numpy(np.ascontiguousarray(b)).float().to(device) for b in field.latents.bands()]
        mixed = unflatten([_mix(b, m) for b, m in zip(bands, self._mixing, strict=True)])
        low = synthesize(Subbands(mixed.coarse, mixed.details[FINE_LEVELS:]))
        fine = min(FINE_LEVELS, field.latents.levels)
        rows, columns = self._outer.bounds(fine, high=False)
        self._low = low[:, rows, columns]
        self._around, self._places = {}, {}
        kept = flatten(Subbands(mixed.coarse, mixed.details[:fine]))
        for k in range(1, 3 * fine + 1):
            level, kind = (k + 2) // 3, (k - 1) % 3
            outer, inner = (_band_bounds(b, level, kind) for b in (self._outer, box))
            around = kept[k][:, outer[0], outer[1]].clone()
            place = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
            around[:, place[0], place[1]] = 0
            self._around[k], self._places[k] = around, place

    def _embed(self, k: int, latent: Tensor) -> Tensor:
        around, (rows, columns) = self._around[k], self._places[k]
        mixed = _mix(latent, self._mixing[k])
        missing = (columns.start, around.shape[2] - columns.stop, rows.start, around.shape[1] - rows.stop)
        return around + torch.nn.functional.pad(mixed, missing)


def _band_bounds(box: Box, level: int, kind: int) -> tuple[slice, slice]:
    high, low = box.bounds(level, high=True), box.bounds(level, high=False)
    return (low if kind == 0 else high)[0], (low if kind == 1 else high)[1]


def _mix(latent: Float[Tensor, "components rows columns"], mixing: Float[Tensor, "components channels"]) -> Tensor:
    return (mixing.T @ latent.flatten(1)).view(mixing.shape[1], *latent.shape[1:])
