"""The distortion of wavelet coefficients on the native backend: errors and gradient in one pass."""

from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from eoren.backends.latents.native import describe_window
from eoren.backends.native import array_obstacle, check_status, data_ptr, set_pointers
from eoren.backends.native_library import FINE_LEVELS, MAX_CHANNELS, DistortionProblem, loaded_library, thread_count
from eoren.coding.bands import band_shapes
from eoren.model.latents.distortion import SLOPE_REACH, Distortion, DistortionTarget, slope_taps
from eoren.model.latents.wavelet import Subbands, flatten, synthesize, unflatten


class NativeDistortion:
    """Errors like those of :func:`eoren.model.latents.distortion.distortion`.

    Results do not depend on the number of threads.
    """

    name = "native"

    def __init__(self, target: DistortionTarget) -> None:
        obstacle = self.obstacle(target)
        if obstacle is not None:
            raise ValueError(f"the image must suit the native backend, but {obstacle}; use distortion")
        self._target, self._lock = target, Lock()
        channels, rows, columns = target.image.shape
        x0, y0, x1, y1 = target.inner
        if not (0 <= x0 <= x1 <= columns and 0 <= y0 <= y1 <= rows):
            raise ValueError(f"inner must be a box of the {columns} x {rows} pixels, got {tuple(target.inner)}")
        self._stride = -(-channels * columns // 16) * 16
        self._image = torch.zeros(rows, self._stride, dtype=torch.float32)
        self._image[:, : channels * columns].view(rows, columns, channels).copy_(target.image.permute(1, 2, 0))
        self._errors = torch.empty_like(self._image)
        self._taps = torch.from_numpy(slope_taps()).float()

    @staticmethod
    def obstacle(target: DistortionTarget) -> str | None:
        """Return why the library cannot compare with this image, or None if it can."""
        if obstacle := array_obstacle(target.image):
            return obstacle
        if len(target.image) > MAX_CHANNELS:
            return f"channels must be at most {MAX_CHANNELS}, got {len(target.image)}"
        return None

    def __call__(self, bands: Subbands) -> Distortion:
        """Compute the distortion of the coefficients of the window. `total` is differentiable once."""
        lowpass = synthesize(Subbands(bands.coarse, bands.details[FINE_LEVELS:]))
        fine = flatten(Subbands(lowpass, bands.details[:FINE_LEVELS]))
        errors: list[Distortion] = []
        total: Tensor = _Total.apply(self, errors, *fine)
        return errors[0]._replace(total=total)

    def compute(self, bands: Subbands) -> tuple[Distortion, list[Tensor]]:
        """Compute the distortion of at most three levels, and its gradient by the bands."""
        channels, rows, columns = self._target.image.shape
        tensors = [band.contiguous() for band in flatten(bands)]
        expected = band_shapes((channels, rows, columns), len(bands.details))
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if shapes != expected:
            raise ValueError(f"bands must have the shapes {expected}, got {shapes}")
        gradients = [torch.empty_like(band) for band in tensors]
        sums, target = torch.empty(2, dtype=torch.float64), self._target
        with self._lock:
            window = describe_window(unflatten(tensors), self._errors, groups=1, padding=0, stride=self._stride)
            problem = DistortionProblem(
                window=window,
                image=data_ptr(self._image),
                left=target.inner.x0,
                top=target.inner.y0,
                right=target.inner.x1,
                bottom=target.inner.y1,
                tap=data_ptr(self._taps),
                reach=SLOPE_REACH,
                weight=target.gradient_weight,
                by_lowpass=data_ptr(gradients[0]),
                errors=data_ptr(sums, "float64"),
            )
            set_pointers(problem, by_detail=gradients[1:])
            check_status(loaded_library().eoren_latent_distortion(problem, thread_count()))
        color, gradient = float(sums[0]) / channels, float(sums[1]) / (2 * channels)
        total = torch.tensor(color + target.gradient_weight * gradient, dtype=torch.float32)
        return Distortion(total, color, gradient), [by.div_(channels) for by in gradients]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, native: NativeDistortion, errors: list[Distortion], *bands: Tensor) -> Tensor:
        result, ctx.gradients = native.compute(unflatten(list(bands)))
        errors.append(result)
        return result.total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(by_total * gradient for gradient in ctx.gradients)
