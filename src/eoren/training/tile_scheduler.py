"""Selection of the tiles of a training step: hard tiles in every step, easy tiles in some.

If a tile's squared error falls as C n^-a with its number of steps n, the sum over all tiles is least, for a fixed
total number of steps, with n proportional to C^(1/(1+a)). Doubling the steps gains about 1 dB, that is a = 1/3, so
steps are shared out in proportion to the error to the power 0.75.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_POWER = 0.75
# Tiles above this quantile of difficulty take part in every step; every tile takes part in the least share of them.
_HARD_QUANTILE = 0.8
_LEAST_SHARE = 0.3
# Selecting tiles costs a few per cent of a step. Above this mean share all tiles are trained instead.
_WORTHWHILE = 0.75
# Share of the running error that each step replaces.
_SMOOTHING = 0.2
# First steps, which train all tiles until the errors tell how difficult they are.
_WARM_UP = 20
# Steps in which a selection holds: a tile in every second step would see only one axis of the gradient.
_HOLD = 2


class TileScheduler:
    """Assignment of training steps to tiles by their running errors and their areas in pixels."""

    def __init__(self, areas: Float[Tensor, " tiles"]) -> None:
        self._areas = areas
        self.errors: Float[Tensor, " tiles"] = torch.zeros_like(areas)
        self.selected: Bool[Tensor, " tiles"] = torch.ones_like(areas, dtype=torch.bool)
        # Steps that each tile is owed.
        self._credit = self._next_credit = torch.ones_like(areas)
        self._steps = torch.zeros((), dtype=torch.int64)

    def select(self, multiple: int) -> Int[Tensor, " selected"]:
        """Select the tiles of the next step and return their numbers in order.

        Their count is rounded up to a multiple of ``multiple``, so that the backend works on full chunks. A step that
        is abandoned before :meth:`update` selects the same tiles again.
        """
        self._next_credit = self._credit
        if multiple < len(self._areas) and int(self._steps) >= _WARM_UP and int(self._steps) % _HOLD == 0:
            share = self._shares()
            if float(share.mean()) > _WORTHWHILE:
                self.selected.fill_(True)
                self._next_credit = torch.ones_like(self._credit)
            else:
                owed = int((self._credit > 1 - 1e-5).sum())
                by_credit = torch.argsort(self._credit, descending=True, stable=True)
                self.selected.zero_()
                self.selected[by_credit[: -(-owed // multiple) * multiple]] = True
                self._next_credit = self._credit + _HOLD * (share - self.selected.float())
        return self.selected.nonzero()[:, 0]

    def update(self, tiles: Int[Tensor, " selected"], errors: Float[Tensor, " selected"]) -> None:
        """Record the mean squared errors of the tiles that took part in a step."""
        self._credit.copy_(self._next_credit)
        first = int(self._steps) == 0
        self._steps += 1
        self.errors[tiles] = errors if first else torch.lerp(self.errors[tiles], errors, _SMOOTHING)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that change from step to step, not copies."""
        return {"errors": self.errors, "credit": self._credit, "selected": self.selected, "steps": self._steps}

    def _shares(self) -> Float[Tensor, " tiles"]:
        """Compute each tile's share of the steps from its difficulty."""
        difficulty = (self.errors * self._areas) ** _POWER
        hard = torch.quantile(difficulty, _HARD_QUANTILE)
        # If most tiles have no error, their difficulties cannot be compared.
        return (difficulty / hard).clamp(_LEAST_SHARE, 1) if float(hard) > 0 else torch.ones_like(difficulty)
