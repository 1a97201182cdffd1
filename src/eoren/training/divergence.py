"""Networks that diverge are taken back to where they were well, and go on with smaller steps.

A rate that is right for most images is too large for some, and one network of a mosaic may blow up while the
others do well. So every network is judged by its own running error, and taken back on its own.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eoren.errors import DivergenceWarning, ImageError

LOOK_EVERY = 25
"""Steps between looks: a network that diverges loses at most this many, and a copy of the state now and then costs
less than half a per cent of them."""

# A running error so many times its best, 9 dB, is divergence: those of fits that do well stay within 3 times.
_FAR = 8.0
# What is good enough to go back to.
_NEAR = 1.5
# Below this error, 50 dB, no network is judged: there its numbers are noise.
_GOOD_ENOUGH = 1e-5
_SLOWER = 0.25
# 4^-20 is 1e-12: if such steps are too large, no step is small enough.
_MOST_TIMES = 20


class DivergenceMonitor:
    """What every network of a batch was when it was last seen well, and how much smaller its steps are.

    Args:
        parameters: of all networks, ``(B, ...)`` each; the optimisers move them in place.
        others: whatever else belongs to single networks, ``(B, ...)`` each: optimisers' memories, running errors.

    Example:
        >>> weights = torch.ones(3, 2)
        >>> guard = DivergenceMonitor([weights], [])
        >>> guard.check_and_rollback(torch.tensor([1.0, 1.0, 1.0]), step=0).tolist()
        []
        >>> weights.fill_(7.0)[0, 0].item()
        7.0
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     guard.check_and_rollback(torch.tensor([1.0, torch.nan, 90.0]), step=8).tolist()
        [1, 2]
        >>> weights.tolist()
        [[7.0, 7.0], [1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, parameters: Sequence[Tensor], others: Sequence[Tensor]) -> None:
        """The beginning counts as well: nothing is known of it yet."""
        self._parameters, self._guarded = list(parameters), [*parameters, *others]
        self._kept = [t.clone() for t in self._guarded]
        like = self._parameters[0]
        self._best = like.new_full((len(like),), torch.inf)
        self._pace = like.new_ones(len(like))
        self._slowed: Int[Tensor, " slowed"] | None = None

    def check_and_rollback(self, errors: Float[Tensor, " networks"], *, step: int) -> Int[Tensor, " diverged"]:
        """Take back what has diverged; if nothing has, remember how all stand. Says what it did.

        Args:
            errors: running ones, of the parameters as they stand.
            step: of the fit, for the message.

        Returns:
            The networks that were taken back.

        Raises:
            ImageError: a network diverges however small its steps are.
        """
        diverged = self._diverged(errors)
        if not bool(diverged.any()):
            self._keep(errors)
            return diverged.nonzero()[:, 0]
        for kept, own in zip(self._kept, self._guarded, strict=True):
            own[diverged] = kept[diverged]
        self._pace[diverged] *= _SLOWER
        self._count_slowed()
        if float(self._pace.min()) < _SLOWER**_MOST_TIMES:
            raise ImageError(
                f"the fit diverges at step {step:,} however small its steps are; give smaller rates and omegas"
            )
        which = diverged.nonzero()[:, 0]
        who = "the fit" if len(errors) == 1 else f"{len(which)} of {len(errors)} networks"
        warnings.warn(
            f"{who} diverged at step {step:,}: back to the last good state, on with a quarter of the rate",
            DivergenceWarning,
            stacklevel=2,
        )
        return which

    def _keep(self, errors: Float[Tensor, " networks"]) -> None:
        torch.minimum(self._best, errors, out=self._best)
        good = errors <= (_NEAR * self._best).clamp(min=_GOOD_ENOUGH)
        which = slice(None) if bool(good.all()) else good
        for kept, own in zip(self._kept, self._guarded, strict=True):
            kept[which] = own[which]

    def last_finite_parameters(self, errors: Float[Tensor, " networks"]) -> list[Tensor]:
        """The parameters, those of networks that have diverged as they were when last seen well."""
        diverged = self._diverged(errors)
        for own in self._parameters:
            diverged |= ~own.isfinite().flatten(1).all(1)
        if not bool(diverged.any()):
            return self._parameters
        found = [own.clone() for own in self._parameters]
        for own, kept in zip(found, self._kept, strict=False):
            own[diverged] = kept[diverged]
        return found

    @contextmanager
    def scaled_updates(self) -> Iterator[None]:
        """Within it optimisers move the parameters; of networks that diverged once, less far.

        Steps are proportional to the rate, so part of a step is a step at part of the rate.
        """
        if self._slowed is None:
            yield
            return
        before = [p[self._slowed] for p in self._parameters]
        yield
        for p, start in zip(self._parameters, before, strict=True):
            pace = self._pace[self._slowed].view(-1, *[1] * (p.ndim - 1))
            p[self._slowed] = start + pace * (p[self._slowed] - start)

    def state(self) -> list[Tensor]:
        """What it remembers, as the tensors themselves."""
        return [self._best, self._pace, *self._kept]

    def restored(self) -> None:
        """Somebody put other numbers into :meth:`state`."""
        self._count_slowed()

    def _count_slowed(self) -> None:
        slowed = (self._pace < 1).nonzero()[:, 0]
        self._slowed = slowed if len(slowed) else None

    def _diverged(self, errors: Float[Tensor, " networks"]) -> Bool[Tensor, " networks"]:
        # Said so that what is not a number counts.
        return ~((errors <= (_FAR * self._best).clamp(min=_GOOD_ENOUGH)) & errors.isfinite())
