"""The Channel Tuning Module: per network and channel, the straight line from what it says to the true colour.

``Phi = alpha g + beta`` with g held fixed (arXiv 2209.11697, section 3.3) is linear least squares in two unknowns,
so its exact minimum needs five running sums and no optimiser.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.model.devices import widest_float_dtype


@dataclass(frozen=True, eq=False)
class Tuning:
    """``Phi = alpha g + beta``, and so ``grad Phi = alpha grad g``.

    Attributes:
        alpha: ``(B, 1, C)``, one a network and channel.
        beta: ``(B, 1, C)``, intensity.
    """

    alpha: Float[Tensor, "batch 1 channels"]
    beta: Float[Tensor, "batch 1 channels"]

    def apply(
        self, said: Float[Tensor, "batch streams points channels"]
    ) -> Float[Tensor, "batch streams points channels"]:
        """Tune the streams of :func:`eoren.model.siren.propagate`: beta belongs to the value, the first, alone."""
        said = self.alpha.unsqueeze(1) * said
        return torch.cat([said[:, :1] + self.beta.unsqueeze(1), said[:, 1:]], 1)

    def select(self, networks: slice | Tensor) -> "Tuning":
        """The tuning of some networks of the batch."""
        return Tuning(self.alpha[networks], self.beta[networks])

    def to(self, device: torch.device | str) -> "Tuning":
        """The same tuning on another device."""
        return Tuning(self.alpha.to(device), self.beta.to(device))


class Moments:
    """Running sums over the pixels of B networks, from which least squares follows.

    Kept in the finest numbers of the device: variances are differences of large sums.

    Example:
        >>> g = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0))
        >>> moments = Moments(1, 3, g.device)
        >>> moments.add(slice(None), g, 0.25 * g + 0.5)
        >>> tuning = moments.tuning()
        >>> round(tuning.alpha[0, 0, 0].item(), 6), round(tuning.beta[0, 0, 0].item(), 6)
        (0.25, 0.5)
    """

    def __init__(self, batch: int, channels: int, device: torch.device) -> None:
        """Start at nothing seen, for ``batch`` networks."""
        dtype = widest_float_dtype(device)
        self._sums = torch.zeros(5, batch, 1, channels, dtype=dtype, device=device)
        self._count = torch.zeros(batch, 1, 1, dtype=dtype, device=device)

    def add(
        self,
        networks: slice | Tensor,
        said: Float[Tensor, "batch points channels"],
        target: Float[Tensor, "batch points channels"],
    ) -> None:
        """Take in what some networks say, and should say, at some points."""
        g, f = said.detach().to(self._sums.dtype), target.to(self._sums.dtype)
        for total, term in zip(self._sums, (g, f, g * g, g * f, f * f), strict=True):
            total[networks] += term.sum(1, keepdim=True)
        self._count[networks] += g.shape[1]

    def add_sums(self, networks: slice | Tensor, sums: Float[Tensor, "batch channels 5"], points: int) -> None:
        """Take in sums, over so many points, of g, f, gg, gf and ff: g what is said, f what should be."""
        self._sums[:, networks] += sums.movedim(-1, 0).unsqueeze(2)
        self._count[networks] += points

    def tuning(self) -> Tuning:
        """The exact least-squares solution, float32.

        A network that says one thing everywhere (dead, or not yet trained) leaves alpha undetermined: it keeps
        alpha = 1, and beta brings the mean right. A constant channel gets alpha = 0: its derivative is zero. So is
        that of a single pixel.
        """
        mean_g, mean_f, variance, covariance, target_variance = self._central()
        # Below the rounding of what was summed there is no slope to be found.
        dead, flat = _is_rounding(variance, mean_g), _is_rounding(target_variance, mean_f)
        # Nothing is known of a network that was not asked: it stays as it is.
        left = ~flat | (self._count == 0)
        alpha = torch.where(dead, left, covariance / torch.where(dead, 1.0, variance))
        return Tuning(alpha.float(), (mean_f - alpha * mean_g).float())

    def target_mean_and_deviation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the target, ``(B, 1, C)`` each, float32."""
        _, mean, _, _, variance = self._central()
        return mean.float(), variance.sqrt().float()

    def squared_errors(self) -> Float[Tensor, "batch 1 channels"]:
        """Mean squared error that is left after tuning, of every network and channel."""
        _, _, variance, covariance, target_variance = self._central()
        explained = torch.where(variance > 0, covariance.square() / variance.clamp(min=1e-30), 0.0)
        return (target_variance - explained).clamp(min=0)

    def _central(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        g, f, gg, gf, ff = self._sums / self._count.clamp(min=1)
        return g, f, (gg - g * g).clamp(min=0), gf - g * f, (ff - f * f).clamp(min=0)


def _is_rounding(variance: Tensor, mean: Tensor) -> Tensor:
    return variance <= 1e-12 * mean.square() + 1e-30
