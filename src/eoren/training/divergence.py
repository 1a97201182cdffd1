"""Rollback of networks that diverge: they return to their last good state and continue with smaller updates.

A learning rate that suits most images is too large for some, and one network of many may diverge while the others
converge. Therefore every network is judged by its own running error and rolled back on its own.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eoren.errors import DivergenceWarning, ImageError

_log = logging.getLogger(__name__)

CHECK_EVERY = 25
"""Steps between checks: a network that diverges loses at most this many, and copying the state now and then costs
less than half a per cent of them."""

# A running error of this multiple of its best, 9 dB, is divergence: those of converging fits stay within 3 times.
_DIVERGED = 8.0
# Largest multiple of the best error at which a state is kept for a rollback.
_GOOD = 1.5
# Squared error, 50 dB, below which no network is judged: there the running error is noise.
_NEGLIGIBLE = 1e-5
# Factor of a network's updates after each of its rollbacks.
_SLOWDOWN = 0.25
# 4^-20 is 1e-12: if such updates are too large, no update is small enough.
_MAX_ROLLBACKS = 20


class DivergenceMonitor:
    """Last good state of every network of a batch, and the scale of its updates.

    Both arguments are tensors of shape ``(B, ...)``: the parameters, which the optimisers move in place, and others
    with one entry per network, such as optimiser state and running errors.
    """

    def __init__(self, parameters: Sequence[Tensor], others: Sequence[Tensor]) -> None:
        self._parameters, self._monitored = list(parameters), [*parameters, *others]
        self._good = [t.clone() for t in self._monitored]
        like = self._parameters[0]
        self._best = like.new_full((len(like),), torch.inf)
        self._lr_scale = like.new_ones(len(like))
        self._slowed: Int[Tensor, " slowed"] | None = None

    def check_and_rollback(self, errors: Float[Tensor, " networks"], *, step: int) -> Int[Tensor, " diverged"]:
        """Roll back the networks that diverged and return their numbers; if none did, keep the good states.

        ``errors`` are the running errors of the current parameters. ImageError is raised for a network that diverges
        even with the smallest updates.
        """
        diverged = self._diverged(errors)
        numbers = diverged.nonzero()[:, 0]
        if not bool(diverged.any()):
            self._keep_good(errors)
            return numbers
        for good, current in zip(self._good, self._monitored, strict=True):
            current[diverged] = good[diverged]
        self._lr_scale[diverged] *= _SLOWDOWN
        self.find_slowed()
        if float(self._lr_scale.min()) < _SLOWDOWN**_MAX_ROLLBACKS:
            raise ImageError(
                f"the fit diverges at step {step:,} even with the smallest steps; give smaller rates and omegas"
            )
        subject = "the fit" if len(errors) == 1 else f"{len(numbers)} of {len(errors)} networks"
        message = f"{subject} diverged at step {step:,}: back to the last good state, on with a quarter of the rate"
        _log.info("%s", message)
        warnings.warn(message, DivergenceWarning, stacklevel=2)
        return numbers

    def _keep_good(self, errors: Float[Tensor, " networks"]) -> None:
        torch.minimum(self._best, errors, out=self._best)
        is_good = errors <= (_GOOD * self._best).clamp(min=_NEGLIGIBLE)
        networks = slice(None) if bool(is_good.all()) else is_good
        for good, current in zip(self._good, self._monitored, strict=True):
            good[networks] = current[networks]

    def last_finite_parameters(self, errors: Float[Tensor, " networks"]) -> list[Tensor]:
        """Return the current parameters, with those of diverged networks from their last good state."""
        diverged = self._diverged(errors)
        for current in self._parameters:
            diverged |= ~current.isfinite().flatten(1).all(1)
        if not bool(diverged.any()):
            return self._parameters
        parameters = [current.clone() for current in self._parameters]
        for current, good in zip(parameters, self._good, strict=False):
            current[diverged] = good[diverged]
        return parameters

    @contextmanager
    def scaled_updates(self) -> Iterator[None]:
        """Scale down the updates that optimisers make within this context to networks that diverged before.

        Updates are proportional to the learning rate, so this is the same as a smaller learning rate.
        """
        if self._slowed is None:
            yield
            return
        before = [p[self._slowed] for p in self._parameters]
        yield
        for p, start in zip(self._parameters, before, strict=True):
            lr_scale = self._lr_scale[self._slowed].view(-1, *[1] * (p.ndim - 1))
            p[self._slowed] = start + lr_scale * (p[self._slowed] - start)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that change from check to check, not copies."""
        good = {f"good.{k}": tensor for k, tensor in enumerate(self._good)}
        return {"best": self._best, "lr_scale": self._lr_scale, **good}

    def find_slowed(self) -> None:
        """Find the networks with scaled updates; to be called after :meth:`state_dict` was restored."""
        slowed = (self._lr_scale < 1).nonzero()[:, 0]
        self._slowed = slowed if len(slowed) else None

    def _diverged(self, errors: Float[Tensor, " networks"]) -> Bool[Tensor, " networks"]:
        # Negated so that NaN counts as diverged.
        return ~((errors <= (_DIVERGED * self._best).clamp(min=_NEGLIGIBLE)) & errors.isfinite())
