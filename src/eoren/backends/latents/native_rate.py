"""The differentiable rate of latents on the native backend: bits and gradient in one pass."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from eoren.backends.native import NOT_BUILT, check_status, data_ptr, set_pointers
from eoren.backends.native_library import MAX_CHANNELS, WIDTH_MULTIPLE, Rate, library, loaded_library
from eoren.coding.bands import MAX_LEVELS
from eoren.coding.context_model import CHANNELS, LEVELS
from eoren.coding.contexts import SLOTS
from eoren.coding.distributions import LEAST_MASS, MIXTURE_RATIO, MIXTURE_WEIGHT
from eoren.model.latents.rate import Bands, Tables, lowpass_bands, tables
from eoren.model.latents.wavelet import band_shapes, image_size, unflatten


class NativeRate:
    """Bits of latents like :func:`eoren.model.latents.rate.latent_bits`, on as many threads as PyTorch has.

    Results do not depend on the number of threads. Working memory, about 45 bytes per latent, is kept for the next
    call.
    """

    name = "native"

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._lock = Lock()

    @staticmethod
    def obstacle(bands: Bands) -> str | None:
        """Return why the library cannot compute with these latents, or None if it can."""
        if library() is None:
            return NOT_BUILT
        if any(band.device.type != "cpu" for band in bands):
            return f"the native backend computes on the CPU, not on {bands[0].device}"
        if any(band.dtype != torch.float32 for band in bands):
            return "the native backend computes in float32"
        if len(bands) > 1 + 3 * MAX_LEVELS:
            return f"latents must have at most {MAX_LEVELS} levels, got {(len(bands) - 1) // 3}"
        if len(bands[0]) > MAX_CHANNELS:
            return f"channels must be at most {MAX_CHANNELS}, got {len(bands[0])}"
        return None

    def __call__(self, bands: Bands) -> Float[Tensor, ""]:
        """Compute the bits of the latents of a block. Differentiable once."""
        obstacle = self.obstacle(bands)
        if obstacle is not None:
            raise ValueError(f"the latents must suit the native backend, but {obstacle}; use latent_bits")
        bits: Tensor = _Bits.apply(self, len(bands), *bands, *lowpass_bands(bands))
        return bits

    def compute(
        self, bands: Sequence[Tensor], low: Sequence[Tensor], *, gradient: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute bits, and their gradient by the latents and by the low-pass bands of the levels.

        Returns:
            Bits, and gradients by `bands` and by `low`; an empty list if no gradient is requested.
        """
        levels, weights = len(low), tables(torch.device("cpu"), torch.float32)
        rows, columns = image_size(unflatten(list(bands)))
        _check_shapes(bands, low, rows, columns)
        bands, low = [t.contiguous() for t in bands], [t.contiguous() for t in low]
        gradients = [torch.empty_like(t) for t in (*bands, *low)] if gradient else []
        bits = torch.empty((), dtype=torch.float64)
        rate = Rate(
            levels=levels,
            channels=len(bands[0]),
            rows=rows,
            columns=columns,
            offset_levels=LEVELS,
            offset_channels=CHANNELS,
            weight=MIXTURE_WEIGHT,
            ratio=MIXTURE_RATIO,
            least=LEAST_MASS,
            bits=data_ptr(bits, torch.float64),
        )
        set_pointers(rate, band=bands, low=low)
        if gradient:
            set_pointers(rate, gradient=gradients[: len(bands)], low_gradient=gradients[len(bands) :])
        _set_weights(rate, weights)
        with self._lock:
            size = loaded_library().eoren_rate_bytes(rate) + 64
            if len(self._memory) != size:
                self._memory = torch.empty(size, dtype=torch.uint8)
            rate.memory = -(-data_ptr(self._memory, torch.uint8) // 64) * 64
            check_status(loaded_library().eoren_latent_rate(rate, torch.get_num_threads()))
        return bits.float(), gradients


class _Bits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rate: NativeRate, count: int, *tensors: Tensor) -> Tensor:
        needed = any(ctx.needs_input_grad)
        bits, ctx.gradients = rate.compute(tensors[:count], tensors[count:], gradient=needed)
        return bits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_bits: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(by_bits * gradient for gradient in ctx.gradients)


def _check_shapes(bands: Sequence[Tensor], low: Sequence[Tensor], rows: int, columns: int) -> None:
    """Check that the library may read all bands as those of an image of a size."""
    image = len(bands[0]), rows, columns
    lowpass = [band_shapes(image, level)[0] for level in range(1, len(low) + 1)]
    wanted = [*band_shapes(image, len(low)), *lowpass]
    shapes = [tuple(t.shape) for t in (*bands, *low)]
    if shapes != wanted:
        raise ValueError(f"bands must have the shapes {wanted[: len(bands)]}, got {shapes[: len(bands)]}")


def _set_weights(rate: Rate, weights: Tables) -> None:
    rate.hidden = weights.second.shape[-1]
    if weights.first.shape[1] != SLOTS or rate.hidden % WIDTH_MULTIPLE:
        raise ValueError(
            f"weights must be those of {SLOTS} slots and a multiple of {WIDTH_MULTIPLE} hidden values, "
            f"got {tuple(weights.first.shape)}"
        )
    for name, tensor in vars(weights).items():
        setattr(rate, name, data_ptr(tensor))
