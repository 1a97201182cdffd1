"""Composition in the gradient domain: mix, clone, fill (and :mod:`eoren.composition.retouching`).

Each says which gradient field v an image should have, and which of its colours are known. The exact least-squares
colours u follow (:mod:`eoren.composition.poisson`), and a field is fitted to u and to u's derivatives. That is the
fit to v: the gradient of u is the projection of v onto the gradients of images with those known colours, so
``|grad Phi - v|^2 = |grad Phi - grad u|^2 + |grad u - v|^2``, and the last term, what no image can reach, is the
same for every Phi.

The paper's own way (arXiv 2209.11697, Fig. 10), ``solver="network"``, knows no u: one network is fitted to v alone,
and channel tuning, two numbers a channel, to the colours that are known.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from operator import index
from os import PathLike
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped

from eoren.composition.network import fit_gradients
from eoren.composition.operands import Opened, Operand, alike, centred, joined, mask_of, opened_as, size_of, split
from eoren.composition.poisson import (
    Guidance,
    Image,
    Mask,
    biharmonic_inside,
    box_around,
    differences,
    inside,
    over_rectangle,
)
from eoren.errors import EorenError
from eoren.image.io import SourceImage
from eoren.training.fit import FitResult, fit, weighed
from eoren.training.loop import Progress

# Differences of 8 bits are often equal but for the rounding of float32. Levels of 16 bits are 1.5e-5 apart.
_ALIKE = np.float32(1e-6)

Solver = Literal["exact", "network"]
Mode = Literal["import", "mixed", "average"]


@dataclass(frozen=True, eq=False)
class Composition:
    """A gradient field, what is known of the colours, and the image that follows.

    Attributes:
        rough: ``(H, W, C)``: colours without any solver, such as the mix of the pixels, or the plain paste.
        known: ``(H, W)``: where they are the ones to keep; where none is, their mean is.
        origin: the operation, its operands' digests and its options, as it will stand in the file.
        notes: what a user should hear.
        solve: the least-squares colours, not clamped.
        guide: the gradient field v: ``(H, W, C, 2)``, forward differences in intensity per pixel.

    Example:
        >>> image = np.linspace(0, 1, 12, dtype=np.float32)[None, :, None].repeat(9, 0)
        >>> hole = np.zeros((9, 12)); hole[3:6, 4:8] = 1
        >>> composition = fill(np.where(hole[..., None] > 0, np.float32(1), image), hole)
        >>> bool(np.abs(composition.colors - image).max() < 1e-5)
        True
    """

    rough: Image
    known: Mask
    origin: Mapping[str, Any]
    solve: Callable[[], Image]
    guide: Callable[[], Guidance]
    notes: tuple[str, ...] = ()

    @cached_property
    def colors(self) -> Float[np.ndarray, "height width channels"]:
        """The exact least-squares colours, clamped to [0, 1]: ``(H, W, C)``."""
        clamped: Image = np.clip(self.solve(), 0, 1)
        return clamped

    @property
    def digest(self) -> str:
        """SHA-256 of the operation and its operands: what a checkpoint is recognised by."""
        return sha256(json.dumps(self.origin, sort_keys=True).encode()).hexdigest()

    def fit(
        self,
        *,
        solver: Solver = "exact",
        preset: str | None = None,
        seed: int = 0,
        device: str = "auto",
        watch: Callable[[Progress], bool | None] | None = None,
        checkpoint: str | PathLike[str] | None = None,
        **settings: Any,
    ) -> FitResult:
        """Make a field of it. Metrics are against :attr:`colors`.

        Args:
            solver: ``exact`` fits colours and derivatives of the exact solution; ``network``, the paper's way, one
                network to the gradient field alone, with channel tuning to the known colours.
            preset: ``balanced`` by default, ``single`` for ``network``.
            seed: see :func:`eoren.fit`, as for the rest.
            device: likewise.
            watch: likewise.
            checkpoint: likewise.
            settings: likewise.

        Raises:
            EorenError: an unknown solver, or as :func:`eoren.fit`.
        """
        if solver not in ("exact", "network"):
            raise EorenError(f"solver {solver!r} is unknown; choose one of exact, network")
        given: dict[str, Any] = {"seed": seed, "device": device, "watch": watch, "checkpoint": checkpoint, **settings}
        given = {name: value for name, value in given.items() if value is not None}
        if solver == "exact":
            picture = SourceImage(self.colors, 32, self.digest, "")
            result = fit(picture, preset=preset or "balanced", **given)
        else:
            result = fit_gradients(self.guide(), self.rough, self.known, self.colors, self.digest, preset, **given)
        origin = replace(result.field.provenance, composition={**self.origin, "solver": solver})
        field = replace(result.field, provenance=origin)
        return replace(result, field=field, metrics=weighed(result.metrics, field))


def mix(
    first: Operand,
    second: Operand,
    *,
    weight: float | int = 0.5,
    keep_edges: bool = False,
    sizes: Literal["crop", "pad", "resize"] = "crop",
) -> Composition:
    """Mix two images in their gradients: ``w grad A + (1 - w) grad B``.

    The mean colour is that of the mix of the pixels. A gray image counts as one of equal colours, one without
    alpha as opaque.

    Args:
        first: A.
        second: B.
        weight: w, 0..1.
        keep_edges: from each pixel to the next, in every channel, take the stronger difference of the two instead.
        sizes: where they differ, ``crop`` both around their middles to what they share, ``pad`` both to what holds
            both, their border pixels going on, or ``resize`` B to A's size (a field is rendered at it).

    Raises:
        EorenError: an image that cannot be read, or a weight outside [0, 1].

    Example:
        >>> a, b = np.random.default_rng(0).random((2, 8, 9, 3))
        >>> mixed = mix(a, b, weight=0.25)
        >>> bool(np.abs(mixed.colors - (0.25 * a + 0.75 * b)).max() < 1e-5)  # the mix of gradients is one of pixels
        True
    """
    if not 0 <= weight <= 1:
        raise EorenError(f"weight is {weight}, but must lie between 0 and 1")
    if sizes not in ("crop", "pad", "resize"):
        raise EorenError(f"sizes {sizes!r} is unknown; choose one of crop, pad, resize")
    one, other = opened_as(first), opened_as(second)
    notes = (*one.notes, *other.notes)
    a, b = one.pixels, other.pixels
    if a.shape[:2] != b.shape[:2]:
        said = f"{size_of(a)} and {size_of(b)}"
        if sizes == "resize":
            b = other.sized(a.shape[1], a.shape[0])
        else:
            bound = min if sizes == "crop" else max
            height, width = (bound(a.shape[k], b.shape[k]) for k in (0, 1))
            a, b = (centred(each, height, width) for each in (a, b))
        notes += (f"the images are {said}; the mix is {size_of(a)} ({sizes})",)
    a, b = alike(a, b)
    rough = (weight * a + (1 - weight) * b).astype(np.float32)

    def guide() -> Guidance:
        if not keep_edges:
            return differences(rough)
        guidance = differences(a)
        _take_stronger(guidance, differences(b))
        return guidance

    return Composition(
        rough,
        np.zeros(rough.shape[:2], bool),
        origin_of("mix", (one, other), weight=weight, keep_edges=keep_edges, sizes=sizes),
        lambda: over_rectangle(guide(), mean=rough.mean((0, 1), dtype=np.float64)),
        guide,
        notes,
    )


def clone(
    source: Operand,
    target: Operand,
    mask: Operand,
    *,
    offset: tuple[int, int] = (0, 0),
    mode: Mode = "import",
    keep_color: float | int = 0.0,
) -> Composition:
    """Set a part of one image into another, seamlessly (Perez, Gangnet and Blake, "Poisson image editing", 2003).

    Where the mask is above zero colours are sought whose differences are the source's; all others are the target's.
    Differences count from every such pixel to each of its neighbours. In a soft mask their guidance is the mask's
    share of the source's and the rest of the target's, by the larger of the mask's two values. Beyond its own border
    the source goes on with its border pixels. If the mask covers the whole target, nothing is known: then the mean
    colour stays the target's. The source's alpha multiplies the mask; the target's alpha stays.

    Args:
        source: where to take from.
        target: where to put it; it is not changed.
        mask: of the source's size: white what is taken. Colours count by their mean, alpha multiplies. What is
            below 2 % counts as black, above 98 % as white.
        offset: ``(x, y)``, where the source's first pixel comes to lie in the target, in whole pixels; may be
            negative.
        mode: ``import`` takes the source's differences; ``mixed`` the stronger of source and target, in every
            channel, from each pixel to the next; ``average`` their mean.
        keep_color: W, how strongly the source's own colours are kept: the weight of their squared distance beside
            that of the differences. They stay beyond about ``1 / sqrt(W)`` pixels from the mask's edge. 0 leaves
            them to the target, as usual.

    Raises:
        EorenError: an empty mask, one of another size, an offset that leaves nothing inside the target, or
            an image that cannot be read.

    Example:
        >>> target = np.full((9, 9, 1), 0.5)
        >>> source, mask = np.full((3, 3, 1), 0.9), np.ones((3, 3))
        >>> bool(np.allclose(clone(source, target, mask, offset=(3, 3)).colors, 0.5))  # it has no gradient
        True
    """
    if mode not in ("import", "mixed", "average"):
        raise EorenError(f"mode {mode!r} is unknown; choose one of import, mixed, average")
    if not 0 <= keep_color < float("inf"):
        raise EorenError(f"keep_color is {keep_color}, but must be a number, zero or above")
    taken, given, stencil = opened_as(source), opened_as(target), opened_as(mask)
    weights = mask_of(stencil, taken, "source")
    colors, alpha = split(taken.pixels)
    if alpha is not None:
        weights = weights * alpha
    if not weights.any():
        raise EorenError("the mask is empty: none of its pixels, times the source's alpha, is above 2 %")
    try:
        x, y = (index(each) for each in offset)
    except TypeError:
        raise EorenError(f"offset {offset} is not in whole pixels; round it") from None
    canvas = given.pixels
    height, width, _ = canvas.shape
    placed = np.zeros((height, width), np.float32)
    rows, columns = (
        slice(min(max(at, 0), most), min(max(at + size, 0), most))
        for at, size, most in ((y, weights.shape[0], height), (x, weights.shape[1], width))
    )
    placed[rows, columns] = weights[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    notes = (*taken.notes, *given.notes)
    missing = np.count_nonzero(weights) - np.count_nonzero(placed)
    if not placed.any():
        raise EorenError(f"offset {x},{y} puts the mask of {size_of(weights)} outside the target of {width}x{height}")
    if missing:
        notes += (f"{missing:,} of the mask's {np.count_nonzero(weights):,} pixels lie outside the target; left out",)
    unknown = placed > 0
    box = box_around(unknown)
    base, base_alpha = split(canvas)
    # Both gray, or both coloured; the target decides what comes out, but colours come with a coloured source.
    base, colors = alike(base, colors)
    near_y, near_x = (
        np.clip(np.arange(part.start, part.stop) - at, 0, size - 1)
        for part, at, size in zip(box, (y, x), colors.shape[:2], strict=True)
    )
    patch, under, share = colors[near_y[:, None], near_x], base[box], placed[box]

    def guide_box() -> Guidance:
        return _cloning_guidance(patch, under, share, mode)

    def solve() -> Image:
        result = base.copy()
        weight = keep_color * share.astype(np.float64) if keep_color else None
        if unknown.all() and weight is None:
            result = over_rectangle(guide_box(), mean=base.mean((0, 1), dtype=np.float64))
        else:
            result[box] = inside(unknown[box], guide_box(), under, weight=weight, pull=patch)
        return joined(result, base_alpha)

    def guide() -> Guidance:
        whole = differences(joined(base, base_alpha))
        local, touched = whole[box][:, :, : base.shape[2]], _touched(unknown)[box]
        np.copyto(local, guide_box(), where=touched[:, :, None])
        return whole

    rough = base.copy()
    rough[box] += share[..., None] * (patch - under)
    return Composition(
        joined(rough, base_alpha),
        ~unknown,
        origin_of("clone", (taken, given, stencil), offset=[x, y], mode=mode, keep_color=keep_color),
        solve,
        guide,
        notes,
    )


def fill(image: Operand, mask: Operand, *, method: Literal["membrane", "biharmonic"] = "membrane") -> Composition:
    """Fill holes of an image from what is around them.

    Args:
        image: with holes; its colours there do not matter.
        mask: of its size: what is 2 % or more is a hole. Colours count by their mean, alpha multiplies.
        method: ``membrane``, gradients as near to zero as can be; or ``biharmonic``, the least squared Laplacian,
            which carries slopes on into the hole, and may swing beyond the colours around it.

    Raises:
        EorenError: a mask that is empty, covers everything, or has another size; an unknown method; or an image
            that cannot be read.
    """
    if method not in ("membrane", "biharmonic"):
        raise EorenError(f"method {method!r} is unknown; choose one of membrane, biharmonic")
    opened, stencil = opened_as(image), opened_as(mask)
    unknown = mask_of(stencil, opened, "picture") > 0
    if not unknown.any():
        raise EorenError("the mask is empty: none of its pixels is above 2 %")
    if unknown.all():
        raise EorenError("the mask covers every pixel, so there is nothing to fill it from; leave some of them out")
    # Without a solver a hole has the mean colour of what is known.
    rough = opened.pixels.copy()
    rough[unknown] = rough[~unknown].mean(0, dtype=np.float64)

    def guide() -> Guidance:
        if method == "biharmonic":
            raise EorenError("biharmonic filling follows no gradient field; use the exact solver, or the membrane")
        return np.where(_touched(unknown)[:, :, None], np.float32(0), differences(rough))

    def solve() -> Image:
        return biharmonic_inside(unknown, rough) if method == "biharmonic" else inside(unknown, guide(), rough)

    return Composition(
        rough, ~unknown, origin_of("fill", (opened, stencil), method=method), solve, guide, opened.notes
    )


def origin_of(operation: str, operands: tuple[Opened, ...], **options: Any) -> dict[str, Any]:
    """What the file will say of an operation."""
    return {"operation": operation, "operands_sha256": [each.sha256 for each in operands], **options}


def _touched(unknown: Mask) -> Shaped[np.ndarray, "height width 2"]:
    """Which forward differences have a pixel of the mask at either end."""
    touched = np.stack([unknown, unknown], 2)
    touched[:, :-1, 0] |= unknown[:, 1:]
    touched[:-1, :, 1] |= unknown[1:]
    return touched


def _take_stronger(guidance: Guidance, other: Guidance) -> None:
    """In place; the first where they are equal."""
    np.copyto(guidance, other, where=np.abs(other) > np.abs(guidance) + _ALIKE)


def _cloning_guidance(source: Image, target: Image, share: Float[np.ndarray, "height width"], mode: Mode) -> Guidance:
    guidance = differences(source)
    soft = bool(((share > 0) & (share < 1)).any())
    if mode == "import" and not soft:
        return guidance
    under = differences(target)
    if mode == "mixed":
        _take_stronger(guidance, under)
    elif mode == "average":
        guidance = (guidance + under) / 2
    if soft:
        along = np.stack([share, share], 2)
        along[:, :-1, 0] = np.maximum(share[:, :-1], share[:, 1:])
        along[:-1, :, 1] = np.maximum(share[:-1], share[1:])
        guidance = under + along[:, :, None] * (guidance - under)
    return guidance
