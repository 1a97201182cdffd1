"""Fields of every kind without a fit: tilings by their cuts, random networks."""

from dataclasses import replace

import numpy as np
import torch

from eoren.coding.bands import Latents, choose_levels
from eoren.coding.context_model import OFFSETS
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.wavelet_siren import WaveletSiren
from eoren.model.channel_tuning import Tuning
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.features import group_count
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling


def tiling_of(width, height, halo, *nodes):
    """A tiling from its cuts in pre-order, such as ``"x9 . y7 . ."``: across x at 9, a tile, across y at 7, ..."""
    nodes = [(-1, 0) if each == "." else ("xy".index(each[0]), int(each[1:])) for each in " ".join(nodes).split()]
    return Tiling(width, height, halo, np.array(nodes, np.int32))


# One network, and mosaics; halos whole, broken, wider than a tile, and reaching over the image's border.
TILINGS = {
    "single": tiling_of(37, 23, 0.0, "."),
    "grid": tiling_of(37, 23, 1.3, "x18", "y12", "x9 . .", "x9 . .", "y11", "x27 . .", "x27 . ."),
    "tree": tiling_of(23, 37, 2.0, "x8", "y20 . .", "y9", "x15 . y5 . .", "."),
    "row": tiling_of(19, 8, 1.5, "x4 . x8 . x15 . ."),
    "wide halo": tiling_of(8, 19, 9.5, "y9 . ."),
    "narrow tiles": tiling_of(10, 10, 2.5, "x4", "x2 . x3 . .", "y5 . x6 . ."),
    "found": Tiling.by_detail(np.random.default_rng(0).random((21, 40)) ** 8, count=7, halo=1.0, smallest=3),
}


def field_of(tiling, channels=3, *, width=6, depth=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    siren = Siren.init(
        tiling.count,
        width=width,
        depth=depth,
        channels=channels,
        omega_first=6.0,
        omega_hidden=5.0,
        generator=generator,
    )
    alpha, beta = torch.rand(2, tiling.count, 1, channels, generator=generator)
    return Field(SirenMosaic(siren, Tuning(alpha + 0.5, beta), tiling))


def with_parts(field, **parts):
    """The same field with other networks, tuning, tiling or bits."""
    return replace(field, representation=replace(field.representation, **parts))


def doubled(field):
    """The same field in float64, for comparisons that rounding does not blur."""
    return field.to(torch.float64)


def tiled_image(height=31, width=47, count=11, halo=2.0):
    """A random image of two channels, and a tiling of it with tiles of many sizes."""
    generator = np.random.default_rng(0)
    image = generator.random((height, width, 2)).astype(np.float32)
    detail = 0.01 + generator.random((height, width)) ** 6
    return image, Tiling.by_detail(detail, count=count, halo=halo, smallest=4)


def own_pixels(tiling, tile):
    """Every (column, row) whose centre lies in the tile or its halo."""
    x0, y0, x1, y1 = tiling.boxes[tile].tolist()
    inside = [
        (j, i)
        for i in range(tiling.height)
        for j in range(tiling.width)
        if x0 - tiling.halo <= j + 0.5 <= x1 + tiling.halo and y0 - tiling.halo <= i + 0.5 <= y1 + tiling.halo
    ]
    return np.array(inside)


def same_networks(one, other):
    """Whether the fields of two results have the same parameters, to the bit."""
    mosaics = one.field.representation, other.field.representation
    ours, theirs = ([*m.siren.tensors(), m.tuning.alpha, m.tuning.beta] for m in mosaics)
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def compact_field(width, height, channels=3, *, siren_width=0, step=0.02, amplitude=4, seed=0, prior=0):
    """A compact field of random latents, finer ones smaller, with a random color decoder, as its file stores it."""
    levels = choose_levels(width, height)
    latents = Latents.zeros(channels, height, width, levels)
    generator = np.random.default_rng(seed)
    for number, band in enumerate(latents.bands()):
        scale = amplitude * (8.0 if number == 0 else 2.0 ** ((number - 1) // 3))
        band[:] = np.rint(generator.laplace(0, scale, band.shape))
    groups = group_count(levels)
    decoder = ColorDecoder.init(channels, groups, width=siren_width, generator=torch.Generator().manual_seed(seed))
    exponents = [10] * len(decoder.tensors())
    noisy = [t + torch.from_numpy(generator.normal(0, 0.05, t.shape)).to(t) for t in decoder.tensors()]
    decoder = decoder.with_tensors([torch.round(t * 2**10) / 2**10 for t in noisy])
    offsets = generator.integers(-20, 20, (3 * levels + 1, channels)).astype(np.int16)
    shifts = generator.integers(-2, 3, OFFSETS).astype(np.int16)
    return Field(WaveletSiren(latents, width, height, step, offsets, decoder, tuple(exponents), shifts, prior))
