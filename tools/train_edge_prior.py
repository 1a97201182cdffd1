"""Train the edge prior of compact fields: ``src/eoren/model/latents/edge_prior.npz``.

    python -m tools.train_edge_prior PICTURES --samples samples.pt --output edge_prior.npz

``PICTURES`` is a folder with the files of ``tools/context_model_pictures.tsv`` and ``tools/edge_prior_pictures.tsv``
under the paths named there: unpacked packages of Debian, and the wheel of scikit-image. All are freely licensed, and
none is in a test set. They are reduced up to six times by several filters, which removes the traces of JPEG; text and
shapes are drawn as well. Squares of them are reduced by 2, 3 or 4, mostly by Pillow's bicubic filter, and coded:
their wavelet coefficients are rounded in steps of 0.006 to 0.09, or not at all.

A sample is the difference of the large square from the spline through the coded pixels, at its pixels. The loss is
the squared error that is left, in units of the error at the start, so that smooth squares count as much as detailed
ones; and a price of details at the centres of pixels, which the weight would hide there, but not around.

Three minutes for the samples on two cores, and a quarter of an hour for the training. The prior is frozen once a
release has it, because files depend on it.
"""

import argparse
import csv
import math
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

from eoren.model.latents.color_decoder import color_transform
from eoren.model.latents.edge_prior import LEAK, SCALE, EdgePrior, StoredLayer, center_bump, to_detail_image
from eoren.model.latents.spline_basis import sampling_matrix
from eoren.model.latents.wavelet import Subbands, analyze, flatten, synthesize, unflatten
from tools.train_context_model import TABLE

TABLES = (TABLE, Path(__file__).with_name("edge_prior_pictures.tsv"))
FACTORS = (2, 3, 4)
INNER, SIDE = 48, 64
"""Pixels of a small square at which errors count, and those that the network may see."""
_BORDER = 12  # further pixels for the spline and the wavelets
_LARGEST_PICTURE = 1 << 28
# Squares of each picture, by the factor that it is brought down; and of each factor of the samples.
_SQUARES = {2: 24, 3: 36, 4: 36, 6: 20}
_SMALL_PICTURE, _SMALL_SQUARES = 1000, {1: 16, 2: 8}
_SHARES = {2: 1.0, 3: 0.4, 4: 0.2}
_DRAWINGS, _DRAWING_SIDE, _DRAWING_SQUARES = 180, 420, 6
_LETTERS = "abcdefghijklmnopqrstuvwxyz    ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_REDUCTIONS = (Image.Resampling.BOX, Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
_FILTERS = {Image.Resampling.BICUBIC: 0.76, Image.Resampling.BOX: 0.1, Image.Resampling.LANCZOS: 0.14}
_FINEST, _COARSEST, _UNCODED = 0.006, 0.09, 0.2
_LEVELS, _DEAD_ZONE = 3, 0.1
_FLAT = 6 / 255
_NOISE = 1e-4  # errors at which a sample counts half
_HIDDEN, _HIDDEN_SLOPE = (
    0.5,
    0.1,
)  # prices of details, and of their squared slopes per pixel, at the centres of pixels
_BATCH, _STEPS_SHARES = 16, {2: 0.7, 3: 0.2, 4: 0.1}


class Samples(NamedTuple):
    """Coded pixels, and the differences of the originals from their splines, both float16."""

    pixels: Float[Tensor, "samples 3 side side"]
    missing: Float[Tensor, "samples 3 large large"]


def pictures(folder: Path, rng: random.Random) -> Iterator[tuple[Image.Image, int]]:
    """Yield pictures without traces of JPEG, and numbers of squares to cut from them."""
    for table in TABLES:
        with table.open() as file:
            paths = [row["path"] for row in csv.DictReader(file, delimiter="\t")]
        for path in paths:
            with Image.open(folder / path) as file:
                picture = file.convert("RGB")
            small = max(picture.size) < _SMALL_PICTURE
            for factor, count in (_SMALL_SQUARES if small else _SQUARES).items():
                size = picture.width // factor, picture.height // factor
                yield (picture.resize(size, rng.choice(_REDUCTIONS)) if factor > 1 else picture), count
    for _ in range(_DRAWINGS):
        yield drawing(rng), _DRAWING_SQUARES


def drawing(rng: random.Random) -> Image.Image:
    """Draw text and shapes in random colours."""

    def color() -> tuple[int, ...]:
        return tuple(rng.randrange(256) for _ in range(3)) if rng.random() < 0.6 else (rng.choice([0, 30, 255]),) * 3

    side = 3 * _DRAWING_SIDE
    image = Image.new("RGB", (side, side), color())
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randrange(10, 40)):
        x, y, reach = rng.randrange(side), rng.randrange(side), rng.randrange(10, 300)
        kind = rng.randrange(4)
        if kind == 0:
            high = rng.randrange(1, reach)
            pen.ellipse((x - reach, y - high, x + reach, y + high), color(), color(), rng.randrange(1, 12))
        elif kind == 1:
            pen.line((x, y, rng.randrange(side), rng.randrange(side)), color(), rng.randrange(2, 16))
        elif kind == 2:
            corners = range(rng.randrange(3, 7))
            pen.polygon([(x + rng.randint(-reach, reach), y + rng.randint(-reach, reach)) for _ in corners], color())
        else:
            font = ImageFont.load_default(size=rng.randrange(24, 110))
            pen.text((x - 300, y), "".join(rng.choices(_LETTERS, k=40)), color(), font)
    return image.resize((_DRAWING_SIDE, _DRAWING_SIDE), Image.Resampling.BOX)


def collect(folder: Path, *, seed: int) -> dict[int, Samples]:
    """Make the samples of all factors."""
    rng, started = random.Random(seed), monotonic()
    found: dict[int, list[tuple[Tensor, Tensor]]] = {factor: [] for factor in FACTORS}
    for number, (picture, count) in enumerate(pictures(folder, rng)):
        for factor, share in _SHARES.items():
            squares = (_square(picture, factor, rng) for _ in range(int(count * share + rng.random())))
            found[factor] += [sample(square, factor, rng) for square in squares if square is not None]
        if number % 50 == 0:
            print(f"{number} pictures, {monotonic() - started:.0f} s", flush=True)
    return {
        factor: Samples(*(torch.stack(part) for part in zip(*some, strict=True))) for factor, some in found.items()
    }


def _square(picture: Image.Image, factor: int, rng: random.Random) -> Image.Image | None:
    """Cut a square that is not flat; None if no square was found, or the image is too small."""
    side = (SIDE + 2 * _BORDER) * factor
    if min(picture.size) < side:
        return None
    for _ in range(12):
        x, y = rng.randrange(picture.width - side + 1), rng.randrange(picture.height - side + 1)
        square = picture.crop((x, y, x + side, y + side))
        if np.asarray(square).std((0, 1)).mean() > 255 * _FLAT:
            return square
    return None


def sample(square: Image.Image, factor: int, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Reduce and code a square; return its pixels, and the difference of the square from their spline."""
    side, edge = SIDE + 2 * _BORDER, (SIDE - INNER) // 2 + _BORDER
    small = square.resize((side, side), rng.choices([*_FILTERS], [*_FILTERS.values()])[0])
    pixels = _coded(_to_tensor(small), rng)
    matrix = _spline(factor, edge)
    inner = slice(edge * factor, (edge + INNER) * factor)
    missing = _to_tensor(square)[:, inner, inner] - matrix @ pixels @ matrix.T
    seen = slice(_BORDER, -_BORDER)
    return pixels[:, seen, seen].half(), missing.half()


def _to_tensor(image: Image.Image) -> Float[Tensor, "3 rows columns"]:
    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)


@cache
def _spline(factor: int, edge: int) -> Tensor:
    """Return the matrix from the pixels of a line to the spline at the pixels of the large square."""
    positions = (np.arange(factor * INNER) + 0.5) / factor - 0.5
    return torch.from_numpy(sampling_matrix(positions + edge, SIDE + 2 * _BORDER)).float()


def _coded(pixels: Float[Tensor, "3 rows columns"], rng: random.Random) -> Tensor:
    """Round the wavelet coefficients of an image, towards zero by a little, as a fit does."""
    if rng.random() < _UNCODED:
        return pixels
    step = math.exp(rng.uniform(math.log(_FINEST), math.log(_COARSEST)))
    transform = torch.from_numpy(color_transform(3)).float()
    bands = flatten(analyze(torch.einsum("kc,chw->khw", transform, pixels - 0.5), _LEVELS))
    latents = [torch.sign(b) * (b.abs() / step + 0.5 - _DEAD_ZONE).floor() for b in bands]
    decoded: Subbands = unflatten([step * latent for latent in latents])
    return torch.einsum("kc,khw->chw", transform, synthesize(decoded)) + 0.5


class Network(nn.Module):
    """The network of :class:`eoren.model.latents.edge_prior.EdgePrior` between opponent colours."""

    def __init__(self, width: int, sides: tuple[int, ...]) -> None:
        super().__init__()
        widths = (3, *(width for _ in sides[1:]), 3 * SCALE**2)
        pairs = zip(widths[:-1], widths[1:], sides, strict=True)
        self.layers = nn.ModuleList(nn.Conv2d(*pair) for pair in pairs)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, LEAK)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.layers[-1].weight, std=1e-3)
        self.radius = sum(side // 2 for side in sides)

    def forward(self, pixels: Float[Tensor, "samples 3 rows columns"]) -> Float[Tensor, "samples 3 large large"]:
        """Compute the detail images of RGB pixels, without a border."""
        weights, biases = self.tensors()
        x = pixels
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = conv2d(leaky_relu(x, LEAK) if number else x, weight, bias)
        return to_detail_image(x)

    def tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the weights and biases between RGB colours: the first weights have no mean."""
        weights, biases = ([getattr(layer, name) for layer in self.layers] for name in ("weight", "bias"))
        transform = torch.from_numpy(color_transform(3)).float()
        first, last = weights[0], weights[-1].unflatten(0, (3, -1))
        weights[0] = torch.einsum("okyx,kc->ocyx", 2 * (first - first.mean((2, 3), keepdim=True)), transform)
        weights[-1] = torch.einsum("ksiyx,kc->csiyx", last, transform).flatten(0, 1)
        biases[-1] = (transform.T @ biases[-1].view(3, -1)).flatten()
        return weights, biases


def corrections(details: Float[Tensor, "samples 3 large large"], factor: int) -> Tensor:
    """Compute what the details add at the pixels of a picture that is `factor` times larger."""
    matrix, bump = _detail_matrices(factor)
    return (matrix @ details @ matrix.T) * (1 - bump * bump[:, None])


def hidden_details(details: Float[Tensor, "samples 3 large large"]) -> Float[Tensor, " samples"]:
    """Compute the mean square of the details and their slopes at the centres of pixels, where they have no weight."""
    value, slope = _center_matrices()
    across, down = value @ details @ slope.T, slope @ details @ value.T
    slopes = (across.square() + down.square()).mean((1, 2, 3))
    return (value @ details @ value.T).square().mean((1, 2, 3)) + _HIDDEN_SLOPE * slopes


@cache
def _center_matrices() -> tuple[Tensor, Tensor]:
    positions = SCALE * (np.arange(INNER) + 0.5) - 0.5
    value, slope = (torch.from_numpy(sampling_matrix(positions, SCALE * INNER, order)).float() for order in (0, 1))
    return value, SCALE * slope


@cache
def _detail_matrices(factor: int) -> tuple[Tensor, Tensor]:
    positions = (np.arange(factor * INNER) + 0.5) / factor - 0.5
    matrix = sampling_matrix(SCALE * (positions + 0.5) - 0.5, SCALE * INNER)
    return torch.from_numpy(matrix).float(), center_bump(torch.from_numpy(positions), INNER).float()


def train(samples: dict[int, Samples], *, width: int, sides: tuple[int, ...], steps: int, seed: int) -> Network:
    """Minimise the mean of the relative errors with Adam, a batch of one factor a step."""
    torch.manual_seed(seed)
    rng, network, rate = random.Random(seed), Network(width, sides), 2e-3
    weights = {f: 1 / (some.missing.float().square().mean((1, 2, 3)) + _NOISE) for f, some in samples.items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.99))
    started, average, order = monotonic(), 1.0, {f: torch.empty(0, dtype=torch.int64) for f in samples}
    border = (SIDE - INNER) // 2 - network.radius
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, step / 50 + 0.02) * (0.005 + (1 + math.cos(math.pi * step / steps)) / 2)
        factor = rng.choices([*_STEPS_SHARES], [*_STEPS_SHARES.values()])[0]
        count = _BATCH if factor == SCALE else _BATCH // 2
        if len(order[factor]) < count:
            order[factor] = torch.randperm(len(samples[factor].pixels))
        batch, order[factor] = order[factor][:count], order[factor][count:]
        pixels, missing = _varied(*(part[batch].float() for part in samples[factor]), rng)
        pixels = pixels[..., border : SIDE - border, border : SIDE - border]
        details = network(pixels)
        errors = (corrections(details, factor) - missing).square().mean((1, 2, 3))
        error, hidden = ((e * weights[factor][batch]).mean() for e in (errors, hidden_details(details)))
        loss = error + _HIDDEN * hidden
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average = 0.99 * average + 0.01 * float(error.detach())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}, {monotonic() - started:.0f} s, error {average:.4f}", flush=True)
    return network


def _varied(pixels: Tensor, missing: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Turn samples, exchange their colours, and invert them, at random."""
    for axis in (-1, -2):
        if rng.random() < 0.5:
            pixels, missing = pixels.flip(axis), missing.flip(axis)
    if rng.random() < 0.5:
        pixels, missing = pixels.mT, missing.mT
    if rng.random() < 0.5:
        colors = rng.sample(range(3), 3)
        pixels, missing = pixels[:, colors], missing[:, colors]
    return (1 - pixels, -missing) if rng.random() < 0.2 else (pixels, missing)


def to_layers(network: Network) -> list[StoredLayer]:
    """Round the network to what is shipped. Its last bias is such that a constant picture has no details."""
    weights, biases = ([t.detach().numpy() for t in tensors] for tensors in network.tensors())
    layers = [
        StoredLayer(*rounded(w, balanced=not k), b) for k, (w, b) in enumerate(zip(weights, biases, strict=True))
    ]
    prior = EdgePrior(tuple(layer.weights() for layer in layers), tuple(biases))
    still = prior(torch.zeros(3, *[1 + 2 * network.radius] * 2)).flatten().numpy()
    return [*layers[:-1], layers[-1]._replace(bias=layers[-1].bias - still)]


def rounded(
    weights: Float32[np.ndarray, "outputs inputs side side"], *, balanced: bool
) -> tuple[Int8[np.ndarray, "outputs inputs side side"], Float16[np.ndarray, " outputs"]]:
    """Round weights to 8 bits and a scale for each output.

    Args:
        weights: weights of a layer.
        balanced: whether the weights of each input have no sum, and shall have none: those with the largest errors
            are then rounded the other way.
    """
    scale = (np.abs(weights).max((1, 2, 3)) / 126).astype(np.float16)
    exact = weights / scale.astype(np.float32)[:, None, None, None]
    integers = np.rint(exact, order="C")
    if balanced:
        taps = integers[0, 0].size
        for window, target in zip(integers.reshape(-1, taps), exact.reshape(-1, taps), strict=True):
            excess = int(window.sum())
            most = np.argsort(np.sign(excess) * (target - window))[: abs(excess)]
            window[most] -= np.sign(excess)
    return integers.astype(np.int8), scale


def save(layers: list[StoredLayer], path: Path) -> None:
    """Write the layers."""
    arrays = {f"{name}{k}": array for k, layer in enumerate(layers) for name, array in layer._asdict().items()}
    np.savez_compressed(path, **arrays)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--samples", type=Path, required=True, help="file for the samples; reused if it exists")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--width", type=int, default=24, help="channels between layers")
    parser.add_argument("--sides", type=int, nargs="+", default=[5, 3, 3, 3], help="sides of the layers' windows")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = _LARGEST_PICTURE
    if not options.samples.exists():
        torch.save({f: tuple(s) for f, s in collect(options.pictures, seed=options.seed).items()}, options.samples)
    samples = {factor: Samples(*parts) for factor, parts in torch.load(options.samples).items()}
    sides = tuple(options.sides)
    network = train(samples, width=options.width, sides=sides, steps=options.steps, seed=options.seed)
    save(to_layers(network), options.output)


if __name__ == "__main__":
    main()
