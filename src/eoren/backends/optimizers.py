"""Optimizers for a batch of networks: Adam, and Muon for square matrices. Every network moves independently."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan's quintic iteration, which trade accuracy for speed."""
ITERATIONS = 5
"""Number of iterations, enough for singular values down to about 1/100 of the largest."""


@runtime_checkable
class Optimizer(Protocol):
    """Moves parameters in place; its state can be saved and restored."""

    parameters: list[Tensor]  # with a leading axis of networks

    def step(self, gradients: Sequence[Tensor], lr: float, networks: slice | Tensor = slice(None)) -> None:
        """Move some networks, given by a slice or ascending indices, by gradients in the order of the parameters."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state, by name, as the tensors themselves: copy into them to restore it."""


class Adam:
    """Adam (arXiv 1412.6980) with bias correction.

    Agrees with :class:`torch.optim.Adam` to rounding, for gradients that are computed elsewhere. ``eps`` is far below
    PyTorch's default, because gradients of a mean over pixels are small.
    """

    def __init__(
        self, parameters: Sequence[Tensor], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-12
    ) -> None:
        self.parameters = list(parameters)
        self.betas, self.eps = betas, eps
        self.exp_avg = [torch.zeros_like(p) for p in self.parameters]
        self.exp_avg_sq = [torch.zeros_like(p) for p in self.parameters]
        self.step_count = torch.zeros((), dtype=torch.int64)

    def step(self, gradients: Sequence[Tensor], lr: float, networks: slice | Tensor = slice(None)) -> None:
        """Move every number by about ``lr``, see :class:`Optimizer`.

        Steps are counted for all networks together, which makes a small difference to networks that skipped some of
        the first thousand.
        """
        self.step_count += 1
        count = int(self.step_count)
        beta1, beta2 = self.betas
        self._update(gradients, lr / (1 - beta1**count), (1 - beta2**count) ** 0.5, networks)

    def _update(self, gradients: Sequence[Tensor], lr: float, denominator: float, networks: slice | Tensor) -> None:
        """Make the step itself; ``lr`` and ``denominator`` include the bias corrections."""
        beta1, beta2 = self.betas
        state = zip(self.parameters, self.exp_avg, self.exp_avg_sq, strict=True)
        for tensors, gradient in zip(state, gradients, strict=True):
            g, (p, exp_avg, exp_avg_sq) = gradient[networks], [t[networks] for t in tensors]
            exp_avg.lerp_(g, 1 - beta1)
            exp_avg_sq.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            p.addcdiv_(exp_avg, (exp_avg_sq.sqrt() / denominator).add_(self.eps), value=-lr)
            _write_back(tensors, networks, (p, exp_avg, exp_avg_sq))

    def state_dict(self) -> dict[str, Tensor]:
        """Return step count and running means, see :class:`Optimizer`."""
        return {"step": self.step_count} | _named("exp_avg", self.exp_avg) | _named("exp_avg_sq", self.exp_avg_sq)


class Muon:
    """Muon (K. Jordan, 2024): momentum, then the nearest orthogonal matrix, for each network of a batch.

    Every singular direction of a weight matrix moves by the same amount, where Adam favours a few large ones.
    Meant for the hidden matrices ``(B, n, n)``; all other parameters go to :class:`Adam`.
    """

    def __init__(self, parameters: Sequence[Tensor], momentum: float = 0.95) -> None:
        self.parameters = list(parameters)
        self.momentum = momentum
        self.momentum_buffer = [torch.zeros_like(p) for p in self.parameters]

    def step(self, gradients: Sequence[Tensor], lr: float, networks: slice | Tensor = slice(None)) -> None:
        """Move every number of a matrix by about ``lr / sqrt(n)``, see :class:`Optimizer`."""
        lookahead = []
        for gradient, momentum_buffer in zip(gradients, self.momentum_buffer, strict=True):
            g, mean = gradient[networks], momentum_buffer[networks]
            mean.lerp_(g, 1 - self.momentum)
            _write_back([momentum_buffer], networks, [mean])
            lookahead.append(torch.lerp(g, mean, self.momentum))  # Nesterov
        if not lookahead:
            return
        # One batched product for all layers: small matrices are slow one by one.
        for p, update in zip(self.parameters, orthogonalize(torch.stack(lookahead)), strict=True):
            moved = p[networks].add_(update, alpha=-lr)
            _write_back([p], networks, [moved])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the momentum buffers, see :class:`Optimizer`."""
        return _named("momentum_buffer", self.momentum_buffer)


def _named(name: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{k}": tensor for k, tensor in enumerate(tensors)}


def _write_back(tensors: Sequence[Tensor], networks: slice | Tensor, parts: Sequence[Tensor]) -> None:
    """Store what an index copied out; a slice is a view, which changed in place."""
    if isinstance(networks, Tensor):
        for tensor, part in zip(tensors, parts, strict=True):
            tensor[networks] = part


def orthogonalize(matrices: Float[Tensor, "*batch n n"], iterations: int = ITERATIONS) -> Float[Tensor, "*batch n n"]:
    """Approximate the nearest orthogonal matrix to each, by a quintic Newton-Schulz iteration.

    Singular values of the results lie between 0.7 and 1.2; a zero matrix stays zero.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.reshape(-1, *matrices.shape[-2:])
    x = x / x.abs().amax((-2, -1), keepdim=True).clamp(min=1e-38)  # or the squares of tiny numbers would vanish
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-38)
    for _ in range(iterations):
        square = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.view(matrices.shape)
