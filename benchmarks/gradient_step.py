"""One full-batch gradient step of the paper's network, computed in three ways in one run.

65,536 pixels, five sine layers of 256, RGB. *Double back-propagation* is the usual implementation: ``autograd.grad``
of each output channel with respect to the coordinates, with a graph, and then of the loss with respect to the
parameters. EoREN propagates the Jacobian forward. The three take turns, so that fluctuations of the machine affect
all of them.
"""

from collections.abc import Callable
from statistics import median

import torch

from benchmarks.record import sgemm_peak, timed, write_table
from eoren.model.siren import Siren, training_flops
from eoren.training.presets import make_settings
from eoren.training.trainer import Trainer

SIDE = 256
REPEATS = 5


def double_backpropagation(siren: Siren, target: torch.Tensor, chunk: int) -> list[torch.Tensor]:
    """Differentiate the mean squared gradient error with respect to the parameters, by differentiating twice."""
    leaves = [p.detach().requires_grad_() for p in siren.tensors()]
    network = siren.with_tensors(leaves)
    axis = (torch.arange(SIDE) + 0.5) / (SIDE / 2) - 1
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(1, -1, 2)
    total = [torch.zeros_like(p) for p in leaves]
    for part, goal in zip(points.split(chunk, 1), target.split(chunk), strict=True):
        local = part.clone().requires_grad_()
        output = network(local)[0, 0]
        slopes = [
            torch.autograd.grad(output[:, c].sum(), local, create_graph=True)[0][0] for c in range(output.shape[1])
        ]
        error = torch.stack(slopes, 1) / (SIDE / 2) - goal
        loss = error.square().sum() / (target.shape[0] * target.shape[1])
        for summed, gradient in zip(total, torch.autograd.grad(loss, leaves, allow_unused=True), strict=True):
            if gradient is not None:
                summed += gradient
    return total


def main() -> None:
    """Measure and write results/gradient_step.tsv."""
    image = torch.rand(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0)).numpy()
    trainer = Trainer.of_image(image, make_settings("paper"), seed=0, device=torch.device("cpu"))
    siren = Siren.init(1, width=256, depth=5, channels=3, generator=torch.Generator().manual_seed(0))
    target = trainer.gradient_target
    assert target is not None
    ways: dict[str, Callable[[], object]] = {
        "double back-propagation, whole picture": lambda: double_backpropagation(siren, target, SIDE**2),
        "double back-propagation, chunks of 1024": lambda: double_backpropagation(siren, target, 1024),
        "ours": lambda: trainer.step(1.0),
    }
    for work in list(ways.values())[1:]:
        work()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, work in ways.items():
            seconds[name].append(timed(work))
    ours = median(seconds["ours"])
    peak = sgemm_peak() * 1e9
    rows = [
        {
            "way": name,
            "median_s": median(times),
            "min_s": min(times),
            "max_s": max(times),
            "times_ours": median(a / b for a, b in zip(times, seconds["ours"], strict=True)),
        }
        for name, times in seconds.items()
    ]
    share = training_flops(siren, 3) * SIDE**2 / ours / peak
    write_table("gradient_step", rows, [f"our matrix products alone reach {share:.0%} of the sgemm peak"])


if __name__ == "__main__":
    main()
