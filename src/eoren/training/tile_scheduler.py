"""Which tiles a step trains: hard ones always, easy ones now and then.

If a tile's squared error falls as C n^-a with its steps n, the sum over tiles is least, for a given number of steps
in all, with n proportional to C^(1/(1+a)). Twice the steps bring about 1 dB, a = 1/3, so steps go by the 0.75th
power.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_POWER = 0.75
# Tiles above this quantile are in every step; none is in fewer than the least share of them.
_HARD = 0.8
_LEAST = 0.3
# Picking tiles costs a few per cent of a step: it has to save more.
_WORTH_IT = 0.75
# How much of the running error each step replaces.
_SMOOTHING = 0.2
# Steps for all, before errors say anything about difficulty.
_FIRST = 20
# A choice holds for so many steps: a tile that is in every second step would see one axis of the gradient alone.
_BOUT = 2


class TileScheduler:
    """Shares out the steps among tiles by their running errors.

    Args:
        areas: of the tiles, in pixels.

    Example:
        >>> effort = TileScheduler(torch.ones(8))
        >>> errors = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        >>> for step in range(24):
        ...     awake = effort.select(1)
        ...     effort.update(awake, errors[awake])
        >>> effort.select(1).tolist()
        [0, 1, 2]
    """

    def __init__(self, areas: Float[Tensor, " tiles"]) -> None:
        """Nothing is known yet: all are awake."""
        self._areas = areas
        self._error = torch.zeros_like(areas)
        # Steps that a tile is owed.
        self._credit = torch.ones_like(areas)
        self._awake = torch.ones_like(areas, dtype=torch.bool)
        self._steps = torch.zeros((), dtype=torch.int64)

    def select(self, multiple: int) -> Int[Tensor, " awake"]:
        """Tiles of the next step, in order.

        Args:
            multiple: of which their number is to be, so that work comes in pieces of one size.
        """
        if multiple < len(self._areas) and int(self._steps) >= _FIRST and int(self._steps) % _BOUT == 0:
            share = self._share()
            if float(share.mean()) > _WORTH_IT:
                self._awake.fill_(True)
                self._credit.fill_(1)
            else:
                owed = int((self._credit > 1 - 1e-5).sum())
                most_owed = torch.argsort(self._credit, descending=True, stable=True)
                self._awake.zero_()
                self._awake[most_owed[: -(-owed // multiple) * multiple]] = True
                self._credit += _BOUT * (share - self._awake.float())
        return self._awake.nonzero()[:, 0]

    @property
    def chosen(self) -> Bool[Tensor, " tiles"]:
        """Whether each is among the tiles that :meth:`awake` said last."""
        return self._awake

    def update(self, awake: Int[Tensor, " awake"], errors: Float[Tensor, " awake"]) -> None:
        """A step was made.

        Args:
            awake: the tiles that were in it.
            errors: of each, mean squared.
        """
        first = int(self._steps) == 0
        self._steps += 1
        self._error[awake] = errors if first else torch.lerp(self._error[awake], errors, _SMOOTHING)

    @property
    def errors(self) -> Float[Tensor, " tiles"]:
        """Running errors, mean squared."""
        return self._error

    def _share(self) -> Float[Tensor, " tiles"]:
        """Of all steps, by difficulty."""
        difficulty = (self._error * self._areas) ** _POWER
        hard = torch.quantile(difficulty, _HARD)
        # Where most tiles are without error there is no telling them apart.
        return (difficulty / hard).clamp(_LEAST, 1) if float(hard) > 0 else torch.ones_like(difficulty)

    def state(self) -> list[Tensor]:
        """What it remembers, as the tensors themselves."""
        return [self._error, self._credit, self._awake, self._steps]
