"""Batched optimisers: Adam, and Muon for square matrices. Every network of a batch moves on its own."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

# Some networks of a batch; indices are in order, none twice.
Networks = slice | Tensor
_ALL = slice(None)

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, Jordan's: they trade exactness for speed."""
ITERATIONS = 5
"""Enough for singular values down to about 1/100 of the largest."""


@runtime_checkable
class Optimizer(Protocol):
    """Moves its parameters in place; its state can be stored and put back."""

    def step(self, gradients: Sequence[Tensor], rate: float, networks: Networks = _ALL) -> None:
        """One step down the given gradients, in the parameters' order, of some networks of the batch."""

    def state(self) -> list[Tensor]:
        """What it remembers, as the tensors themselves."""


class Adam:
    """Adam (arXiv 1412.6980) with bias correction.

    PyTorch's own rule, for tensors whose gradients come from outside, and with a step counter that can be
    restored; the two agree to rounding. Epsilon is far below PyTorch's: gradients per pixel are small numbers.
    """

    def __init__(
        self, parameters: Sequence[Tensor], betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-12
    ) -> None:
        """Take over the parameters; nothing is moved yet."""
        self._parameters = list(parameters)
        self._betas = betas
        self._epsilon = epsilon
        self._mean = [torch.zeros_like(p) for p in self._parameters]
        self._square = [torch.zeros_like(p) for p in self._parameters]
        self._count = torch.zeros((), dtype=torch.int64)

    def step(self, gradients: Sequence[Tensor], rate: float, networks: Networks = _ALL) -> None:
        """One step of length about ``rate`` for every number.

        Steps are counted for all networks together: that matters to those that sat out some of the first thousand,
        a little.
        """
        self._count += 1
        count = int(self._count)
        first, second = self._betas
        self._move(gradients, rate / (1 - first**count), (1 - second**count) ** 0.5, networks)

    def _move(self, gradients: Sequence[Tensor], rate: float, scale: float, networks: Networks) -> None:
        """The step itself: rate and scale of the square root have their bias corrections in them."""
        first, second = self._betas
        for whole, every in zip(zip(self._parameters, self._mean, self._square, strict=True), gradients, strict=True):
            g, (p, mean, square) = every[networks], [t[networks] for t in whole]
            mean.lerp_(g, 1 - first)
            square.mul_(second).addcmul_(g, g, value=1 - second)
            p.addcdiv_(mean, (square.sqrt() / scale).add_(self._epsilon), value=-rate)
            _put_back(whole, networks, (p, mean, square))

    def state(self) -> list[Tensor]:
        """Step counter and moments."""
        return [self._count, *self._mean, *self._square]


class Muon:
    """Muon (K. Jordan, 2024): momentum, then the nearest orthogonal matrix, one for each network of a batch.

    Every singular direction of a weight matrix moves by the same amount, where Adam lets a few large ones win.
    Meant for the hidden matrices; the first layer, the last and the biases go to :class:`Adam`.
    """

    def __init__(self, parameters: Sequence[Tensor], momentum: float = 0.95) -> None:
        """Take over parameters of one shape ``(B, n, n)`` each; nothing is moved yet."""
        self._parameters = list(parameters)
        self._momentum = momentum
        self._mean = [torch.zeros_like(p) for p in self._parameters]

    def step(self, gradients: Sequence[Tensor], rate: float, networks: Networks = _ALL) -> None:
        """One step: every number of a matrix moves by about ``rate / sqrt(n)``."""
        ahead = []
        for every, whole in zip(gradients, self._mean, strict=True):
            g, mean = every[networks], whole[networks]
            mean.lerp_(g, 1 - self._momentum)
            _put_back([whole], networks, [mean])
            ahead.append(torch.lerp(g, mean, self._momentum))  # Nesterov's look ahead
        if not ahead:
            return
        # One product for all layers: small matrices are slow one by one.
        for p, update in zip(self._parameters, orthogonalize(torch.stack(ahead)), strict=True):
            own = p[networks].add_(update, alpha=-rate)
            _put_back([p], networks, [own])

    def state(self) -> list[Tensor]:
        """Momenta."""
        return self._mean


def _put_back(whole: Sequence[Tensor], networks: Networks, parts: Sequence[Tensor]) -> None:
    """What an index took out as a copy; a slice is a view, and has moved already."""
    if isinstance(networks, Tensor):
        for tensor, part in zip(whole, parts, strict=True):
            tensor[networks] = part


def orthogonalize(matrices: Float[Tensor, "*batch n n"], iterations: int = ITERATIONS) -> Float[Tensor, "*batch n n"]:
    """About the nearest orthogonal matrix to each, by a quintic Newton-Schulz iteration.

    Singular values end between 0.7 and 1.2.

    Args:
        matrices: of any scale; a zero matrix stays zero.
        iterations: how many.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.reshape(-1, *matrices.shape[-2:])
    x = x / x.abs().amax((-2, -1), keepdim=True).clamp(min=1e-38)  # the squares of tiny numbers vanish
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-38)
    for _ in range(iterations):
        square = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.view(matrices.shape)
