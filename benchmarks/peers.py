"""EoREN and other SIREN implementations: equal time on the CPU, the same images, taking turns image by image.

    pip install siren-pytorch==0.1.7        # not a dependency of this project
    EOREN_DATA=... python -m benchmarks.peers --pictures 1 5 8 13 20 23 --seconds 60

*siren-pytorch* trains as its README shows: ``SirenNet`` in ``SirenWrapper``, the whole image in every step. *plain
SIREN* is the official set-up for images (arXiv 2006.09661) in plain PyTorch; *SIREN, batches* is the same network
with a training suited to a minute on two cores: random pixels, a larger learning rate, a cosine schedule. *ours* is
the command line. Each runs in a separate process. Loading PyTorch is not counted; building networks and targets is.
The peers start a step as long as there is time, and finish it.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from math import cos, pi, sqrt
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

import eoren
from benchmarks.kodak import fit, with_preset
from benchmarks.record import data, run_eoren, write_table
from eoren.evaluation.metrics import decibel

PARAMETERS = 300_000
SIREN_PYTORCH = "0.1.7"
# siren-pytorch names no optimizer: Adam, as in the SIREN paper. The paper's rate of 1e-4 belongs to hidden weights
# that are 30 times smaller (w0 is 30 there, 1 here). kodim23 made 8 times smaller, 25 steps: 11.1 dB at 1e-4, 18.2 at
# 1e-3, 18.9 at 3e-3, 16.6 at 1e-2; after 15 steps, and on kodim05 after 20, 2e-3 is best, 0.6 dB over 1e-3.
SIREN_PYTORCH_RATE = 2e-3
SIREN_RATE = 1e-4
BATCH, BATCH_RATE = 1 << 14, 1e-3
_CHUNK = 1 << 14

Network = Callable[[torch.Tensor], torch.Tensor]


def siren_pytorch(image: torch.Tensor, seconds: float, rate: float = SIREN_PYTORCH_RATE) -> dict[str, Any]:
    """Train as in the README of siren-pytorch; values are in [0, 1]."""
    package: Any = import_module("siren_pytorch")
    height, width, channels = image.shape
    start = perf_counter()
    net = package.SirenNet(dim_in=2, dim_hidden=256, dim_out=channels, num_layers=5, w0_initial=30.0)
    wrapper = package.SirenWrapper(net, image_width=width, image_height=height)
    batch = image.permute(2, 0, 1)[None]
    steps = train(lambda: wrapper(batch), wrapper.parameters(), rate, start + seconds)
    return {**_spent(net, steps, start), **measure(net, wrapper.grid, image)}


class PlainSiren(nn.Module):
    """The official network for images: four sine layers of 256, a linear last layer, omega 30."""

    def __init__(self, channels: int, width: int = 256, hidden: int = 3, omega: float = 30.0) -> None:
        super().__init__()
        sizes = [2, *[width] * (hidden + 1), channels]
        self.omega = omega
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        for number, layer in enumerate(layers):
            bound = sqrt(6 / layer.in_features) / omega if number else 1 / layer.in_features
            nn.init.uniform_(layer.weight, -bound, bound)
        self.layers = nn.ModuleList(layers)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        *sines, last = self.layers
        for layer in sines:
            points = torch.sin(self.omega * layer(points))
        colors: torch.Tensor = last(points)
        return colors


def plain_siren(
    image: torch.Tensor, seconds: float, rate: float = SIREN_RATE, batch: int | None = None
) -> dict[str, Any]:
    """Train as in the official code: the whole image or random pixels in every step, values in [-1, 1]."""
    height, width, channels = image.shape
    start = perf_counter()
    net = PlainSiren(channels)
    axes = [torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)]
    grid = torch.stack(torch.meshgrid(axes, indexing="ij"), -1).reshape(-1, 2)
    goal = image.reshape(-1, channels) * 2 - 1

    def loss() -> torch.Tensor:
        batch_pixels = slice(None) if batch is None else torch.randint(len(grid), (batch,))
        error: torch.Tensor = (net(grid[batch_pixels]) - goal[batch_pixels]).square().mean()
        return error

    steps = train(loss, net.parameters(), rate, start + seconds, cosine=batch is not None)
    return {**_spent(net, steps, start), **measure(lambda points: (net(points) + 1) / 2, grid, image)}


PEERS: dict[str, Callable[..., dict[str, Any]]] = {
    "siren-pytorch": siren_pytorch,
    "plain SIREN": plain_siren,
    "SIREN, batches": partial(plain_siren, rate=BATCH_RATE, batch=BATCH),
}


def train(
    loss: Callable[[], torch.Tensor],
    parameters: Iterable[nn.Parameter],
    rate: float,
    deadline: float,
    *,
    cosine: bool = False,
) -> int:
    """Train with Adam until a deadline, and return the number of steps, at least one."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    steps, begin = 0, perf_counter()
    while steps == 0 or perf_counter() < deadline:
        if cosine:
            done = min((perf_counter() - begin) / (deadline - begin), 1.0)
            optimizer.param_groups[0]["lr"] = rate * (1 + cos(pi * done)) / 2
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        steps += 1
    return steps


def measure(net: Network, grid: torch.Tensor, image: torch.Tensor) -> dict[str, float]:
    """Compute PSNR and gradient PSNR as in `eoren.evaluation.metrics`, with automatic differentiation.

    Args:
        net: ``(n, 2)`` to ``(n, C)``, values in [0, 1] as in the image.
        grid: coordinates of the pixels: y before x, both from -1 at the first pixel to 1 at the last.
        image: ``(H, W, C)``.
    """
    height, width, channels = image.shape
    reference = torch.from_numpy(eoren.reference_gradient(image.numpy(), extent=(width, height)))
    per_pixel = torch.tensor([2 / (width - 1), 2 / (height - 1)])
    color, gradient = 0.0, 0.0
    for points, goal, slope in zip(
        grid.split(_CHUNK),
        image.reshape(-1, channels).split(_CHUNK),
        reference.reshape(-1, channels, 2).split(_CHUNK),
        strict=True,
    ):
        points = points.clone().requires_grad_()
        output = net(points)
        slopes = [torch.autograd.grad(output[:, c].sum(), points, retain_graph=True)[0] for c in range(channels)]
        gradients = torch.stack(slopes, 1).flip(-1) * per_pixel
        color += (output.detach().clamp(0, 1) - goal).double().square().sum().item()
        gradient += (gradients - slope).double().square().sum().item()
    return {"psnr": decibel(color / image.numel()), "gradient_psnr": decibel(gradient / (2 * image.numel()))}


def _spent(net: nn.Module, steps: int, start: float) -> dict[str, Any]:
    seconds = perf_counter() - start
    return {"parameters": sum(p.numel() for p in net.parameters()), "steps": steps, "seconds": seconds}


def _work(name: str, path: Path, *arguments: float) -> dict[str, Any]:
    """Run one peer on one image in a new process, and return its numbers and peak memory (Linux)."""
    torch.manual_seed(0)
    image = torch.from_numpy(np.asarray(eoren.read_image(path)))
    # The first optimizer of a process imports a large part of PyTorch.
    torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    done = PEERS[name](image, *arguments)
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return {**done, "peak_memory_mib": int(peak[1]) / 1024 if peak else None}


def peer(name: str, path: Path, *arguments: float) -> dict[str, Any]:
    """Run one peer on one image in a separate process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_work, name, path, *arguments).result()


def seconds_to(psnr: float, path: Path, options: list[str]) -> float | None:
    """Return the seconds of ``eoren fit`` until it reaches a PSNR, targets included; ``None`` if it does not."""
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "field.eoren")
        command = ("fit", str(path), "-o", output, "--until-psnr", str(psnr), "--json", "--quiet")
        result = json.loads(run_eoren(*command, *with_preset(options))[0])
    return float(result["seconds"]) if result["ended"] == "target" else None


def rows_of(path: Path, seconds: float) -> list[dict[str, Any]]:
    """Measure one image, one row per method."""
    options = ["--parameters", str(PARAMETERS), "--seconds", f"{seconds:g}", "--device", "cpu"]
    rows: list[dict[str, Any]] = []

    def finished(method: str, values: dict[str, Any], reached: float | None = None) -> None:
        row = {
            "picture": path.stem,
            "method": method,
            **{name: values[name] for name in ("psnr", "gradient_psnr", "parameters", "steps", "seconds")},
            "peak_memory_mib": values["peak_memory_mib"],
            "seconds_to_siren_pytorch": reached,
            "share": None if reached is None else reached / seconds,
        }
        rows.append(row)
        print(*row.values(), sep="\t", file=sys.stderr)

    for name in PEERS:
        finished(name, peer(name, path, seconds))
    finished("ours", fit(path, options), seconds_to(rows[0]["psnr"], path, options))
    return rows


def means(rows: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """Average every column over the rows of a method; ``None`` where a value is missing."""
    selected = [row for row in rows if row["method"] == method]
    columns = {name: [row[name] for row in selected] for name in selected[0] if name not in ("picture", "method")}
    return {
        "picture": "mean",
        "method": method,
        **{name: None if None in values else mean(values) for name, values in columns.items()},
    }


def gains_over(rows: list[dict[str, Any]], method: str) -> list[float]:
    """Compute the PSNR of EoREN minus that of another method for every image, in dB."""
    psnr = {name: [row["psnr"] for row in rows if row["method"] == name] for name in ("ours", method)}
    return [ours - theirs for ours, theirs in zip(psnr["ours"], psnr[method], strict=True)]


def main() -> None:
    """Measure and write results/peers.tsv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1, 5, 8, 13, 20, 23])
    parser.add_argument("--seconds", type=float, default=60.0)
    chosen = parser.parse_args()
    try:
        installed = version("siren-pytorch")
    except PackageNotFoundError:
        raise SystemExit(f"siren-pytorch is missing: pip install siren-pytorch=={SIREN_PYTORCH}") from None
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line sets it
    rows: list[dict[str, Any]] = []
    for number in chosen.pictures:
        rows += rows_of(data() / "kodak" / f"kodim{number:02}.png", chosen.seconds)
    summary = [means(rows, method) for method in (*PEERS, "ours")]
    gains = {name: gains_over(rows, name) for name in PEERS}
    reached = [row["share"] for row in rows if row["method"] == "ours"]
    shares = [share for share in reached if share is not None]
    notes = [
        f"siren-pytorch {installed}: as in its README, Adam {SIREN_PYTORCH_RATE:g} (1e-4 to 1e-2 were tried)",
        f"plain SIREN: official set-up, four sine layers of 256 and a linear one, omega 30, Adam {SIREN_RATE:g}",
        "peers finish the step in which time ends",
        "seconds_to_siren_pytorch: of eoren fit --until-psnr, targets included; loading PyTorch is counted for none",
        f"SIREN, batches: {BATCH} random pixels a step, Adam {BATCH_RATE:g}, cosine to zero",
        *(f"ours over {name}: {mean(g):+.2f} dB in the mean, {min(g):+.2f} dB at least" for name, g in gains.items()),
        f"ours as good as siren-pytorch on {len(shares)} of {len(reached)} pictures"
        + (f", after {mean(shares):.1%} of its time in the mean, {max(shares):.1%} at most" if shares else ""),
    ]
    write_table("peers", [*rows, *summary], notes)


if __name__ == "__main__":
    main()
