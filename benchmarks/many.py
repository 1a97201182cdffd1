"""Many small images: images per second of EoREN, of a vmapped SIREN in JAX and of a loop of siren-pytorch.

    python -m venv peers && peers/bin/pip install jax optax            # not dependencies of this project
    pip install siren-pytorch==0.1.7
    EOREN_DATA=... python -m benchmarks.many --jax peers/bin/python

MNIST. Every part writes ``results/many-PART.tsv``, and is skipped if the file exists (``--again`` measures again):

- ``ours``: the 10,000 digits of the test set, by the command line, from the file of digits to the store, start-up and
  metrics included.
- ``jax``, ``siren-pytorch``: a part of them. The peers have the same network (three sine layers of 16), as many
  steps, and colours alone; with all pixels in every step, as is usual, and with as many as EoREN uses. Adam with a
  cosine schedule, at several learning rates. Their times exclude compilation and files.
- ``everything``: all 70,000 digits by one command.
- ``ray``: the local executor and Ray with one and two workers, on 30,000 digits. ``digits_per_second`` is that of the
  whole command; ``steady``, from the end of the second shard to the end of the last one.
"""

import argparse
import csv
import json
import subprocess
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch

import eoren
from benchmarks.record import RESULTS, data, run_eoren, write_table
from eoren.experiments.datasets import mnist
from eoren.training.presets import PRESETS

SETTINGS = PRESETS["small"]
STEPS, WIDTH, OMEGA_FIRST, OMEGA = SETTINGS.steps or 0, SETTINGS.width, 30.0, SETTINGS.omega_hidden
PIXELS = 28 * 28
# Every step uses a third of the pixels.
POINTS = PIXELS // 3
RATES = (3e-3, 1e-2)
Row = dict[str, Any]
Set = Literal["train", "test"]

# Path of the digits first, then numbers; prints seconds and mean PSNR.
JAX = """
import json, sys, time
import jax, jax.numpy as jnp, numpy as np, optax

path, steps, points, rate, width, first, hidden, batch = sys.argv[1], *map(float, sys.argv[2:])
steps, points, width, batch = int(steps), int(points), int(width), int(batch)
images = jnp.asarray(np.load(path))
count, side, _ = images.shape
images = images.reshape(count, -1)
at = (jnp.arange(side) + 0.5) / side * 2 - 1
grid = jnp.stack(jnp.meshgrid(at, at), -1).reshape(-1, 2)
sizes = [2, width, width, width, 1]
draw = np.random.default_rng(0)
a_step = len(grid) // points
epochs = [draw.permutation(len(grid))[:a_step * points].reshape(a_step, points) for _ in range(steps // a_step + 1)]
order = jnp.asarray(np.concatenate(epochs)[:steps])

def start(key):
    parameters = []
    for layer, (n, m) in enumerate(zip(sizes, sizes[1:])):
        key, a, b = jax.random.split(key, 3)
        bound = 1 / n if layer == 0 else (6 / n) ** 0.5 / hidden
        parameters.append((jax.random.uniform(a, (n, m), minval=-bound, maxval=bound),
                           jax.random.uniform(b, (m,), minval=-(n ** -0.5), maxval=n ** -0.5)))
    return parameters

def siren(parameters, xy):
    for layer, (w, b) in enumerate(parameters[:-1]):
        xy = jnp.sin((first if layer == 0 else hidden) * (xy @ w + b))
    return xy @ parameters[-1][0] + parameters[-1][1]

def loss(parameters, image, which):
    xy, goal = (grid, image) if points == len(grid) else (grid[which], image[which])
    return jnp.mean((siren(parameters, xy)[:, 0] - (goal * 2 - 1)) ** 2)

optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

def step(k, carry, image):
    parameters, state = carry
    updates, state = optimizer.update(jax.grad(loss)(parameters, image, order[k]), state)
    return optax.apply_updates(parameters, updates), state

@jax.jit
def fit(keys, images):
    def one(key, image):
        parameters = start(key)
        carry = parameters, optimizer.init(parameters)
        carry = jax.lax.fori_loop(0, steps, lambda k, c: step(k, c, image), carry)
        colors = (siren(carry[0], grid)[:, 0] + 1) / 2
        return -10 * jnp.log10(jnp.mean((colors.clip(0, 1) - image) ** 2))
    return jax.vmap(one)(keys, images)

keys = jax.random.split(jax.random.PRNGKey(0), count)
fit(keys[:batch], images[:batch]).block_until_ready()
began = time.perf_counter()
psnr = [np.asarray(fit(keys[k:k + batch], images[k:k + batch])) for k in range(0, count, batch)]
print(json.dumps({"seconds": time.perf_counter() - began, "psnr": float(np.concatenate(psnr).mean()),
                  "version": "JAX " + jax.__version__}))
"""


def ours(sets: tuple[Set, ...], count: int, *options: str) -> Row:
    """Run the command line, from the files of digits to the store."""
    with tempfile.TemporaryDirectory() as folder:
        files = [_file(Path(folder), name, count) for name in sets]
        store = Path(folder, "store")
        start = perf_counter()
        _, peak = run_eoren("fit-many", *files, "-o", str(store), "--quiet", *options)
        seconds = perf_counter() - start
        summary = eoren.Collection(store).summary()
        bits = summary["settings"]["bits"]
        extra = {
            "steady": _steady(store),
            "memory_mib": peak,
            "store_per_weight": summary["bytes"] / (summary["parameters"] * bits / 8),
        }
    return _row(" ".join(["eoren", *options]), summary["pictures"], seconds, summary["psnr"]) | extra


def _file(folder: Path, name: Set, count: int) -> str:
    """Write the first digits of a set to an IDX file."""
    images = np.rint(mnist(name).images[:count, ..., 0] * 255).astype(np.uint8)
    path = folder / f"{name}-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes() + images.tobytes())
    return str(path)


def _steady(store: Path) -> float | str:
    """Compute the digits per second between the end of the second shard and the end of the last one."""
    ends = sorted((path.stat().st_mtime, path) for path in (store / "index").iterdir())
    if len(ends) < 6:
        return "-"
    import pyarrow.parquet

    digits = sum(pyarrow.parquet.read_metadata(path).num_rows for _, path in ends[2:])
    return float(digits / (ends[-1][0] - ends[1][0]))


def jax(python: str, count: int, points: int, rate: float) -> Row:
    """Run a vmapped SIREN in JAX, in batches of 250."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits.npy")
        np.save(path, mnist("test").images[:count, ..., 0])
        arguments = [str(x) for x in (path, STEPS, points, rate, WIDTH, OMEGA_FIRST, OMEGA, min(count, 250))]
        done = subprocess.run([python, "-c", JAX, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    summary = json.loads(done.stdout)
    return _row(
        f"{summary['version']}, vmap, {points} pixels a step, Adam {rate:g}",
        count,
        summary["seconds"],
        summary["psnr"],
    )


def siren_pytorch(count: int, points: int, rate: float) -> Row:
    """Run siren-pytorch in a loop as in its README; only its network, if a step does not use all pixels."""
    package: Any = import_module("siren_pytorch")
    images = torch.from_numpy(mnist("test").images[:count, ..., 0])[:, None, None]
    torch.manual_seed(0)
    quality = []
    start = perf_counter()
    for image in images:
        net = package.SirenNet(dim_in=2, dim_hidden=WIDTH, dim_out=1, num_layers=3, w0_initial=OMEGA_FIRST)
        wrapper = package.SirenWrapper(net, image_width=28, image_height=28)
        colors = image.reshape(-1, 1)
        optimizer = torch.optim.Adam(wrapper.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            optimizer.zero_grad()
            if points == PIXELS:
                loss = wrapper(image)
            else:
                pixels = torch.randint(PIXELS, (points,))
                loss = torch.nn.functional.mse_loss(net(wrapper.grid[pixels]), colors[pixels])
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            quality.append(-10 * np.log10((wrapper().clamp(0, 1) - image).square().mean().item()))
    what = f"siren-pytorch, {points} pixels a step, Adam {rate:g}"
    return _row(what, count, perf_counter() - start, float(np.mean(quality)))


def _row(what: str, count: int, seconds: float, psnr: float) -> Row:
    return {
        "what": what,
        "digits": count,
        "seconds": seconds,
        "digits_per_second": count / seconds,
        "mean_psnr": psnr,
    }


def measure(part: str, rows: Callable[[], list[Row]], *, again: bool) -> None:
    """Measure a part and write its table, unless it exists."""
    if again or not (RESULTS / f"many-{part}.tsv").exists():
        write_table(f"many-{part}", rows())


def rates(part: str) -> list[tuple[str, float]]:
    """Read the digits per second of every row of a part that was measured."""
    path = RESULTS / f"many-{part}.tsv"
    if not path.exists():
        return []
    with path.open() as file:
        lines = [line for line in file if not line.startswith("#")]
    return [(row["what"], float(row["digits_per_second"])) for row in csv.DictReader(lines, delimiter="\t")]


def main() -> None:
    """Measure the missing parts, then print how many times faster EoREN is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jax", default="python", metavar="PYTHON", help="interpreter with jax and optax")
    parser.add_argument("--parts", nargs="+", default=["ours", "jax", "siren-pytorch", "ray", "everything"])
    parser.add_argument("--digits", type=int, default=10_000, help="digits of ours; three times as many of ray")
    parser.add_argument("--some", type=int, default=500, help="digits for JAX, a tenth of them for siren-pytorch")
    parser.add_argument("--again", action="store_true", help="measure parts again that have a table")
    args = parser.parse_args()
    data()
    pairs = [(points, rate) for points in (PIXELS, POINTS) for rate in RATES]
    parts: dict[str, Callable[[], list[Row]]] = {
        "ours": lambda: [ours(("test",), args.digits)],
        "jax": lambda: [jax(args.jax, args.some, *pair) for pair in pairs],
        "siren-pytorch": lambda: [siren_pytorch(max(1, args.some // 10), *pair) for pair in pairs],
        "ray": lambda: [
            ours(("train",), 3 * args.digits, "--executor", executor, "--workers", workers)
            for workers in ("2", "1")
            for executor in ("local", "ray")
        ],
        "everything": lambda: [ours(("train", "test"), 70_000)],
    }
    for part in args.parts:
        measure(part, parts[part], again=args.again)
    for _, our_rate in rates("ours"):
        for what, rate in rates("jax") + rates("siren-pytorch"):
            print(f"{our_rate / rate:.1f} times {what}")


if __name__ == "__main__":
    main()
