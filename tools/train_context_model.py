"""Train the context model of compact fields: ``src/eoren/coding/context_model.npz``.

    python -m tools.train_context_model PICTURES --samples samples.pt --output context_model.npz

``PICTURES`` is a folder with the files of ``tools/context_model_pictures.tsv`` under the paths named there, for
example the unpacked packages of Debian that the table names. All are freely licensed, and none is in a test set. They
are reduced two to six times, which removes the traces of JPEG, and cut into squares of 256 pixels. Latents are those
that a fit would choose with the model shipped so far (``--plain``: the nearest integers), at steps from 0.01 to 0.25.

Five minutes for the samples and half an hour for 7,000 steps on two cores. The model is frozen once a release
has it, because files depend on it.
"""

import argparse
import csv
import math
import random
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from eoren.coding.bands import COARSE, HORIZONTAL, PHASES, Latents
from eoren.coding.block_coder import BandKey, quantize_block, walk
from eoren.coding.context_model import CHANNELS, LEVELS, NETWORKS, OFFSETS, ContextModel, context_model, offset_of
from eoren.coding.contexts import SLOTS
from eoren.coding.distributions import FRACTIONS, TABLES
from eoren.training.compact.analysis import analyze_image, step_offsets
from eoren.training.compact.rounding import BIT_PRICE, in_steps

SIDE = 256
TABLE = Path(__file__).with_name("context_model_pictures.tsv")
# Crops of each picture, by the factor that it is brought down.
_CROPS = {2: 7, 3: 9, 4: 7, 6: 4}
_FINEST, _COARSEST = 0.01, 0.25
# Share of the places that become samples; level 1 is the finest.
_SHARES = {1: 1 / 8, 2: 1 / 8, 3: 1 / 2}
_STEPS_BATCH = 1 << 16


def crops(folder: Path, rng: random.Random) -> Iterator[np.ndarray]:
    """Yield squares ``(256, 256, 3)`` in [0, 1], in random order."""
    squares = []
    with TABLE.open() as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    for row in rows:
        with Image.open(folder / row["path"]) as file:
            picture = file.convert("RGB")
        for factor, count in _CROPS.items():
            size = picture.width // factor, picture.height // factor
            if min(size) < SIDE + 64 and not (factor == 2 and min(size) > SIDE):
                continue
            small = np.asarray(picture.resize(size, Image.Resampling.BOX))
            squares += [_square(small, rng) for _ in range(count)]
    rng.shuffle(squares)
    yield from (square.astype(np.float32) / 255 for square in squares)


def _square(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    """Cut a square that is not flat, and turn it at random."""
    for _ in range(20):
        y, x = (rng.randrange(n - SIDE + 1) for n in picture.shape[:2])
        square = picture[y : y + SIDE, x : x + SIDE]
        if square.std() > 8:
            break
    square = square[:, ::-1] if rng.random() < 0.5 else square
    return np.ascontiguousarray(square.transpose(1, 0, 2) if rng.random() < 0.5 else square)


class _Recorder(ContextModel):
    """A context model that keeps the contexts of the last phase."""

    contexts: np.ndarray
    network: int

    def predict(self, contexts: np.ndarray, network: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
        del offset
        _Recorder.contexts, _Recorder.network = contexts, network
        empty = np.zeros(len(contexts), np.int32)
        return empty, empty


def collect(folder: Path, *, plain: bool, seed: int) -> dict[str, Tensor]:
    """Make samples: contexts, latents, networks, offsets and weights."""
    rng, samples, started = random.Random(seed), _Samples(seed), monotonic()
    for number, image in enumerate(crops(folder, rng)):
        coefficients = analyze_image(image)
        step = math.exp(rng.uniform(math.log(_FINEST), math.log(_COARSEST)))
        scaled = in_steps(coefficients.bands, step, step_offsets(coefficients.levels, 3, 0.1))
        chosen = coefficients.zeros()
        if plain:
            for band, values in zip(chosen.bands(), scaled, strict=True):
                band[:] = np.rint(values)
        else:
            quantize_block(scaled, chosen, BIT_PRICE)
        samples.add(chosen, coefficients.zeros())
        if number % 100 == 0:
            print(f"{number} squares, {monotonic() - started:.0f} s", flush=True)
    return samples.tensors()


class _Samples:
    """Samples of all squares so far."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._recorder = _Recorder(*context_model())
        names = ("contexts", "latents", "networks", "offsets", "weights")
        self._parts: dict[str, list[Tensor]] = {name: [] for name in names}

    def add(self, chosen: Latents, zeros: Latents) -> None:
        """Add the latents of one square."""
        # Every square counts alike, up to those that take few bits.
        bits = sum(float(np.log2(1 + 3.0 * np.abs(band)).sum()) for band in chosen.bands()) / SIDE**2

        def choose(key: BandKey, phase: int, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
            del mean, scale
            band = chosen.coarse if key.orientation == COARSE else chosen.details[key.level - 1][key.orientation]
            plane = band[key.channel].T if key.orientation == HORIZONTAL else band[key.channel]
            values = plane[PHASES[phase].rows, PHASES[phase].columns].ravel()
            share = 1.0 if key.orientation == COARSE else _SHARES.get(key.level, 1.0)
            kept = self._generator.random(len(values)) < share
            count = int(kept.sum())
            self._parts["contexts"].append(torch.from_numpy(self._recorder.contexts[kept].astype(np.int8)))
            self._parts["latents"].append(torch.from_numpy(values[kept]))
            self._parts["networks"].append(torch.full((count,), self._recorder.network, dtype=torch.int8))
            self._parts["offsets"].append(torch.full((count,), offset_of(*key), dtype=torch.int8))
            self._parts["weights"].append(torch.full((count,), 1 / share / (bits + 0.3)))
            return values

        walk(zeros, choose, self._recorder)

    def tensors(self) -> dict[str, Tensor]:
        """Return all samples."""
        return {name: torch.cat(parts) for name, parts in self._parts.items()}


class Network(nn.Module):
    """The context model with real weights; units as in the integer one, but for the scale, a natural logarithm."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        shapes = {
            "first": (NETWORKS, SLOTS, hidden),
            "second": (NETWORKS, hidden, hidden),
            "last": (NETWORKS, hidden, 2),
            "skip": (NETWORKS, SLOTS, 2),
            "first_bias": (NETWORKS, hidden),
            "second_bias": (NETWORKS, hidden),
            "last_bias": (NETWORKS, 2),
            "first_offset": (OFFSETS, hidden),
            "last_offset": (OFFSETS, 2),
            "mixture": (2,),
        }
        for name, shape in shapes.items():
            scale = 1 / math.sqrt(shape[1]) if name in ("first", "second") else 0.0
            setattr(self, name, nn.Parameter(scale * torch.randn(shape)))

    def bits(self, contexts: Tensor, latents: Tensor, network: int, offset: Tensor) -> Tensor:
        """Return the bits of latents that one network predicts."""
        x = contexts.float() / 16
        hidden = (x @ self.first[network] + self.first_bias[network] + self.first_offset[offset]).clamp(0, 8)
        hidden = (hidden @ self.second[network] + self.second_bias[network]).clamp(0, 8)
        outputs = hidden @ self.last[network] + x @ self.skip[network]
        outputs = outputs + self.last_bias[network] + self.last_offset[offset]
        distance, width = (latents - outputs[:, 0]).abs(), 0.7 * outputs[:, 1].clamp(-4, 9).exp()
        weight, ratio = self.shape_of_mixture()
        mass = weight * _laplace(distance, width) + (1 - weight) * _laplace(distance, ratio * width)
        return -mass.clamp(min=1e-7).log2()

    def shape_of_mixture(self) -> tuple[Tensor, Tensor]:
        """Return the weight of the narrower Laplacian, and how much wider the other one is."""
        return torch.sigmoid(self.mixture[0] + 1.5), 1 + self.mixture[1].exp()


def _laplace(distance: Tensor, width: Tensor) -> Tensor:
    """Integrate a Laplace distribution over an interval of length 1."""
    near, far = distance - 0.5, torch.exp(-(distance + 0.5) / width) / 2
    outside = torch.exp(-near.clamp(min=0) / width) / 2 - far
    inside = 1 - far - torch.exp(near.clamp(max=0) / width) / 2
    return torch.where(near > 0, outside, inside)


def train(samples: dict[str, Tensor], *, hidden: int, steps: int, seed: int, rate: float = 5e-3) -> Network:
    """Minimise the weighted bits of the samples with Adam, a batch of every network a step."""
    torch.manual_seed(seed)
    model = Network(hidden)
    places = [torch.nonzero(samples["networks"] == k)[:, 0] for k in range(NETWORKS)]
    places = [p[torch.randperm(len(p))] for p in places]
    shares = [len(p) / len(samples["networks"]) for p in places]
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    average, started, at = None, monotonic(), [0] * NETWORKS
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
        loss = torch.zeros(())
        for k, (place, share) in enumerate(zip(places, shares, strict=True)):
            count = min(len(place), max(256, int(_STEPS_BATCH * share)))
            if at[k] + count > len(place):
                at[k] = 0
            batch = place[at[k] : at[k] + count]
            at[k] += count
            values = samples["latents"][batch].float()
            bits = model.bits(samples["contexts"][batch], values, k, samples["offsets"][batch].long())
            loss = loss + share * (bits * samples["weights"][batch]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average = loss.item() if average is None else 0.99 * average + 0.01 * loss.item()
        if (step + 1) % 500 == 0:
            print(f"step {step + 1}, {monotonic() - started:.0f} s, loss {average:.4f}", flush=True)
    return model


def to_integers(model: Network) -> dict[str, np.ndarray]:
    """Round the network to integers, see :class:`eoren.coding.context_model.ContextModel`, and make tables."""
    real = {name: tensor.detach().double().numpy() for name, tensor in model.named_parameters()}
    # Fractional bits: 8 of weights, 12 of sums. The scale becomes an index of four an octave. Adding one half turns
    # the rounding down of sums into rounding to nearest.
    outputs = np.array([1, 4 / math.log(2)])
    shift = np.array([0, 4 * math.log2(0.7) + 16])
    arrays = {name: np.rint(256 * real[name]) for name in ("first", "second")}
    arrays |= {name: np.rint(256 * real[name] * outputs) for name in ("last", "skip")}
    arrays |= {name: np.rint(4096 * real[name] + 128) for name in ("first_bias", "second_bias")}
    arrays["last_bias"] = np.rint(4096 * (real["last_bias"] * outputs + shift) + [128, 2048])
    arrays["first_offset"] = np.rint(4096 * real["first_offset"])
    arrays["last_offset"] = np.rint(4096 * real["last_offset"] * outputs)
    _check_sums(arrays)
    narrow = {"first", "second", "last", "skip"}
    integers = {name: array.astype(np.int16 if name in narrow else np.int32) for name, array in arrays.items()}
    weight, ratio = (float(value.detach()) for value in model.shape_of_mixture())
    return integers | _tables(weight, ratio)


def _check_sums(arrays: dict[str, np.ndarray]) -> None:
    """Check that no sum can reach 2**24, and no weight 2**15."""
    magnitude = {name: np.abs(array) for name, array in arrays.items()}
    sums = {
        "first": 127 * magnitude["first"].sum(1) + magnitude["first_bias"] + magnitude["first_offset"].max(0),
        "second": 127 * magnitude["second"].sum(1) + magnitude["second_bias"],
        "last": 127 * (magnitude["last"].sum(1) + magnitude["skip"].sum(1))
        + magnitude["last_bias"]
        + magnitude["last_offset"].max(0),
    }
    for name, bound in sums.items():
        if bound.max() >= 2**24 or magnitude[name].max() >= 2**15:
            raise SystemExit(f"weights {name} are too large for exact sums: {bound.max():.3g}")


def _tables(weight: float, ratio: float) -> dict[str, np.ndarray]:
    """Make the cumulative frequencies of all scales and fractions, see :mod:`eoren.coding.distributions`."""
    reaches, bounds = [], []
    for scale in range(TABLES):
        width = 2.0 ** ((scale - 16) / 4)
        reach = min(127, max(3, math.ceil(11 * width) + 2))
        reaches.append(reach)
        for fraction in range(FRACTIONS):
            edges = np.arange(-reach, reach + 2) - 0.5 - fraction / 16
            below = weight * _cumulative(edges / width) + (1 - weight) * _cumulative(edges / (ratio * width))
            shares = np.diff(np.concatenate([[0], below, [1]]))
            counts = np.floor(shares * (65536 - len(shares))).astype(np.int64) + 1
            counts[np.argmax(counts)] += 65536 - counts.sum()
            bounds.append(np.cumsum(counts)[:-1])
    return {"reach": np.array(reaches, np.uint8), "bounds": np.concatenate(bounds).astype(np.uint16)}


def _cumulative(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.exp(np.minimum(x, 0)) / 2, 1 - np.exp(-np.maximum(x, 0)) / 2)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--samples", type=Path, required=True, help="file for the samples; reused if it exists")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--plain", action="store_true", help="round to the nearest integers")
    parser.add_argument("--hidden", type=int, default=48)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    assert LEVELS * 4 * CHANNELS == OFFSETS < 128
    if not options.samples.exists():
        torch.save(collect(options.pictures, plain=options.plain, seed=options.seed), options.samples)
    model = train(torch.load(options.samples), hidden=options.hidden, steps=options.steps, seed=options.seed)
    np.savez_compressed(options.output, **to_integers(model))


if __name__ == "__main__":
    main()
