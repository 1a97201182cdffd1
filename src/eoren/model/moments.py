"""Moments of predictions and targets, from which channel tuning follows by least squares.

``Phi = alpha g + beta`` with g held fixed (arXiv 2209.11697, section 3.3) is linear least squares in two unknowns,
so five running sums give its exact minimum, without an optimizer.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.model.channel_tuning import Tuning
from eoren.model.devices import widest_float_dtype


class Moments:
    """Running sums over the pixels of B networks, from which least squares follows.

    Accumulated in the widest floating-point type of the device: variances are differences of large sums.
    """

    def __init__(self, batch: int, channels: int, device: torch.device) -> None:
        dtype = widest_float_dtype(device)
        self._sums = torch.zeros(5, batch, 1, channels, dtype=dtype, device=device)
        self._count = torch.zeros(batch, 1, 1, dtype=dtype, device=device)

    def add(
        self,
        networks: slice | Tensor,
        prediction: Float[Tensor, "batch points channels"],
        target: Float[Tensor, "batch points channels"],
    ) -> None:
        """Add predictions and targets of some networks at some points."""
        g, f = prediction.detach().to(self._sums.dtype), target.to(self._sums.dtype)
        for total, term in zip(self._sums, (g, f, g * g, g * f, f * f), strict=True):
            total[networks] += term.sum(1, keepdim=True)
        self._count[networks] += g.shape[1]

    def add_sums(self, networks: slice | Tensor, sums: Float[Tensor, "batch channels 5"], points: int) -> None:
        """Add sums over ``points`` points of g, f, gg, gf and ff, with g the prediction and f the target."""
        self._sums[:, networks] += sums.movedim(-1, 0).unsqueeze(2)
        self._count[networks] += points

    def tuning(self) -> Tuning:
        """Solve the least-squares problem, float32.

        A constant prediction (a dead network, or one before training) leaves alpha undetermined: it is 1, and beta
        corrects the mean. A constant target channel, or a single pixel, gives alpha = 0: its derivative is zero.
        """
        mean_g, mean_f, variance, covariance, target_variance = self._central()
        # Below the rounding error of the sums there is no slope to fit.
        is_dead, is_flat = _is_rounding(variance, mean_g), _is_rounding(target_variance, mean_f)
        # Networks without any point stay as they are.
        fallback = ~is_flat | (self._count == 0)
        alpha = torch.where(is_dead, fallback, covariance / torch.where(is_dead, 1.0, variance))
        return Tuning(alpha.float(), (mean_f - alpha * mean_g).float())

    def target_mean_and_deviation(self) -> tuple[Tensor, Tensor]:
        """Compute mean and standard deviation of the target, ``(B, 1, C)`` each, float32."""
        _, mean, _, _, variance = self._central()
        return mean.float(), variance.sqrt().float()

    def squared_errors(self) -> Float[Tensor, "batch 1 channels"]:
        """Compute the mean squared error that remains after tuning, per network and channel."""
        _, _, variance, covariance, target_variance = self._central()
        explained = torch.where(variance > 0, covariance.square() / variance.clamp(min=1e-30), 0.0)
        return (target_variance - explained).clamp(min=0)

    def _central(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        g, f, gg, gf, ff = self._sums / self._count.clamp(min=1)
        return g, f, (gg - g * g).clamp(min=0), gf - g * f, (ff - f * f).clamp(min=0)


def _is_rounding(variance: Tensor, mean: Tensor) -> Tensor:
    return variance <= 1e-12 * mean.square() + 1e-30
