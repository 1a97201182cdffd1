"""Many small pictures: how many a second, beside a vmapped SIREN in JAX and a loop of siren-pytorch.

    python -m venv peers && peers/bin/pip install jax optax numpy      # not dependencies of this project
    pip install siren-pytorch==0.1.7
    EOREN_DATA=... python -m benchmarks.many --jax peers/bin/python

MNIST's test set. Ours is the command line, from the file of digits to the store, its start and its metrics included.
The peers have the same network (three sine layers of 16, omega 30 and 20), the same steps, full batches and colours
alone; Adam at the best of some rates (``--rate``). Their times begin after the first step has been compiled and end
before anything is measured. siren-pytorch is timed on fewer digits: it takes them one by one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

import eoren
from benchmarks.record import data, run_eoren, write_table
from eoren.datasets import mnist

WIDTH, OMEGA_FIRST, OMEGA = 16, 30.0, 20.0

# Path of the digits first, then numbers; prints seconds and mean PSNR.
JAX = """
import json, sys, time
import jax, jax.numpy as jnp, numpy as np, optax

path, steps, rate, width, first, hidden, batch = sys.argv[1], *map(float, sys.argv[2:])
steps, width, batch = int(steps), int(width), int(batch)
images = jnp.asarray(np.load(path))
count, side, _ = images.shape
at = (jnp.arange(side) + 0.5) / side * 2 - 1
grid = jnp.stack(jnp.meshgrid(at, at), -1).reshape(-1, 2)
sizes = [2, width, width, width, 1]

def start(key):
    found = []
    for layer, (n, m) in enumerate(zip(sizes, sizes[1:])):
        key, a, b = jax.random.split(key, 3)
        bound = 1 / n if layer == 0 else (6 / n) ** 0.5 / hidden
        found.append((jax.random.uniform(a, (n, m), minval=-bound, maxval=bound),
                      jax.random.uniform(b, (m,), minval=-(n ** -0.5), maxval=n ** -0.5)))
    return found

def siren(parameters, xy):
    for layer, (w, b) in enumerate(parameters[:-1]):
        xy = jnp.sin((first if layer == 0 else hidden) * (xy @ w + b))
    return xy @ parameters[-1][0] + parameters[-1][1]

def loss(parameters, image):
    return jnp.mean((siren(parameters, grid)[:, 0] - (image.reshape(-1) * 2 - 1)) ** 2)

optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

def step(carry, image):
    parameters, state = carry
    updates, state = optimizer.update(jax.grad(loss)(parameters, image), state)
    return optax.apply_updates(parameters, updates), state

@jax.jit
def fit(keys, images):
    def one(key, image):
        parameters = start(key)
        carry = parameters, optimizer.init(parameters)
        carry = jax.lax.fori_loop(0, steps, lambda _, c: step(c, image), carry)
        said = (siren(carry[0], grid)[:, 0] + 1) / 2
        return -10 * jnp.log10(jnp.mean((said.clip(0, 1) - image.reshape(-1)) ** 2))
    return jax.vmap(one)(keys, images)

keys = jax.random.split(jax.random.PRNGKey(0), count)
fit(keys[:batch], images[:batch]).block_until_ready()
began = time.perf_counter()
psnr = [np.asarray(fit(keys[k:k + batch], images[k:k + batch])) for k in range(0, count, batch)]
print(json.dumps({"seconds": time.perf_counter() - began, "psnr": float(np.concatenate(psnr).mean()),
                  "version": "JAX " + jax.__version__}))
"""


def ours(count: int, options: list[str]) -> dict[str, Any]:
    """The command line, from the file to the store."""
    with tempfile.TemporaryDirectory() as folder:
        digits = Path(folder, "digits-images-idx3-ubyte")
        images = np.rint(mnist("test").images[:count, ..., 0] * 255).astype(np.uint8)
        digits.write_bytes(bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes() + images.tobytes())
        start = perf_counter()
        _, peak = run_eoren("fit-many", str(digits), "-o", f"{folder}/store", "--quiet", *options)
        seconds = perf_counter() - start
        found = eoren.Collection(f"{folder}/store")
        size = found.store.bytes() / (found.summary()["parameters"] * 2)
        psnr = found.summary()["psnr"]
    return _row("eoren " + " ".join(options), count, seconds, psnr) | {"memory_mib": peak, "store_per_weight": size}


def jax(python: str, count: int, steps: int, rate: float, batch: int) -> dict[str, Any]:
    """A vmapped SIREN."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits.npy")
        np.save(path, mnist("test").images[:count, ..., 0])
        given = [str(x) for x in (path, steps, rate, WIDTH, OMEGA_FIRST, OMEGA, batch)]
        done = subprocess.run([python, "-c", JAX, *given], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return _row(f"{found['version']}, vmap of {batch}, Adam {rate:g}", count, found["seconds"], found["psnr"])


def siren_pytorch(count: int, steps: int, rate: float) -> dict[str, Any]:
    """Its README in a loop."""
    package: Any = import_module("siren_pytorch")
    images = torch.from_numpy(mnist("test").images[:count, ..., 0])[:, None, None]
    torch.manual_seed(0)
    quality = []
    start = perf_counter()
    for image in images:
        net = package.SirenNet(dim_in=2, dim_hidden=WIDTH, dim_out=1, num_layers=3, w0_initial=OMEGA_FIRST)
        wrapper = package.SirenWrapper(net, image_width=28, image_height=28)
        optimizer = torch.optim.Adam(wrapper.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = wrapper(image)
            loss.backward()
            optimizer.step()
            schedule.step()
        quality.append(-10 * np.log10(loss.item()))
    return _row(f"siren-pytorch, Adam {rate:g}", count, perf_counter() - start, float(np.mean(quality)))


def _row(what: str, count: int, seconds: float, psnr: float) -> dict[str, Any]:
    return {
        "what": what,
        "digits": count,
        "seconds": seconds,
        "digits_per_second": count / seconds,
        "mean_psnr": psnr,
        "memory_mib": "-",
        "store_per_weight": "-",
    }


def main() -> None:
    """Measure all in turn and write results/many.tsv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=30, help="digits for siren-pytorch")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--jax", help="a Python that has jax and optax; left out without it")
    parser.add_argument("--batch", type=int, default=500, help="of JAX")
    parser.add_argument("--rate", type=float, nargs="*", default=[3e-3, 1e-2, 2e-2], help="of Adam, the peers'")
    parser.add_argument("--ray", action="store_true", help="our local engine beside Ray, one and two workers")
    given = parser.parse_args()
    data()
    steps = ["--steps", str(given.steps), "--objective", "pixel"]
    rows = [ours(given.digits, steps)]
    rows.append(ours(given.digits, []))
    if given.ray:
        for engine in ("local", "ray"):
            rows += [ours(given.digits, [*steps, "--engine", engine, "--workers", str(n)]) for n in (1, 2)]
    for rate in given.rate:
        if given.jax:
            rows.append(jax(given.jax, given.digits, given.steps, rate, given.batch))
        try:
            rows.append(siren_pytorch(given.few, given.steps, rate))
        except ImportError:
            print("siren-pytorch is not installed; left out", file=sys.stderr)
    write_table("many", rows)


if __name__ == "__main__":
    main()
