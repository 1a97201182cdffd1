"""Composition in the gradient domain: mix, clone and fill.

An operation defines a target gradient field v and which colours of the result are known. The exact least-squares
colours u follow (:mod:`eoren.composition.poisson`), and a field is fitted to u and the derivatives of u. That is
equivalent to fitting v: the gradient of u is the projection of v onto the gradients of images with those known
colours, so ``|grad Phi - v|^2 = |grad Phi - grad u|^2 + |grad u - v|^2``; the last term does not depend on Phi.

The method of the paper (arXiv 2209.11697, Fig. 10), ``solver="network"``, does not compute u: one network is fitted
to v alone, and channel tuning, two numbers a channel, to the known colours.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from operator import index
from os import PathLike
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Shaped

from eoren.checks import check_choice
from eoren.composition.operands import (
    LoadedOperand,
    Operand,
    join_alpha,
    mask_weights,
    match_alpha,
    match_colors,
    match_sizes,
    open_operand,
    profile_notes,
    size_text,
    split_alpha,
)
from eoren.composition.poisson import (
    Mask,
    bounding_box,
    fill_biharmonic,
    forward_differences,
    solve_mask,
    solve_rectangle,
)
from eoren.errors import EorenError
from eoren.image.arrays import Gradient, Image
from eoren.training.compact.settings import CompactSettings
from eoren.training.fit import fit_target
from eoren.training.plan import warn_if_too_little
from eoren.training.presets import choose_settings, make_settings
from eoren.training.result import FitResult, FitTarget, Progress
from eoren.training.settings import Settings

# Differences of 8-bit images are often equal up to the rounding of float32. Levels of 16 bits are 1.5e-5 apart.
_EQUAL = np.float32(1e-6)

Solver = Literal["exact", "network"]
Mode = Literal["import", "mixed", "average"]
Sizes = Literal["crop", "pad", "resize"]
Method = Literal["membrane", "biharmonic"]


@dataclass(frozen=True, eq=False)
class Composition:
    """A target gradient field with the known colours, and the image that follows from them.

    Attributes:
        rough: ``(H, W, C)``, colours before any solver, such as the mix of the pixels or the plain paste.
        known: ``(H, W)``, True where those colours are kept. If it is False everywhere, their mean is kept.
        origin: the operation, the digests of its operands and its options, as stored in an ``.eoren`` file.
        solve: computes the least-squares colours, not clamped.
        guide: computes the target gradient field v: ``(H, W, C, 2)``, forward differences in intensity per pixel.
        notes: remarks for the user, such as how images of different sizes were matched.
        profile: ICC profile of the colours; empty for sRGB.

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
    guide: Callable[[], Gradient]
    notes: tuple[str, ...] = ()
    profile: bytes = b""

    @cached_property
    def colors(self) -> Image:
        """The exact least-squares colours, ``(H, W, C)``, clamped to [0, 1]."""
        return self.solve().clip(0, 1)

    @property
    def digest(self) -> str:
        """SHA-256 of the operation and its operands, by which a checkpoint is recognised."""
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
        """Fit a field to the composition and measure it against :attr:`colors`.

        Args:
            solver: ``exact`` fits colours and derivatives of the exact solution; ``network``, the paper's way, fits
                one network to the gradient field alone and tunes its channels to the known colours.
            preset: named set of settings, ``balanced`` by default, ``single`` for ``network``, which takes none of
                the presets of compact fields.
            seed: seed of the random generators, as for :func:`eoren.fit`.
            device: device of the fit, as for :func:`eoren.fit`.
            watch: function that is called after every chunk of work, as for :func:`eoren.fit`.
            checkpoint: path of a file to resume from, as for :func:`eoren.fit`.
            settings: other settings, as for :func:`eoren.fit`; ``network`` sets objective, filter and tile itself.

        Raises:
            EorenError: the solver is unknown, or as :func:`eoren.fit`.
        """
        check_choice("solver", solver, get_args(Solver))
        given = {name: value for name, value in settings.items() if value is not None}
        origin = {**self.origin, "solver": solver}
        if solver == "exact":
            chosen: Settings | CompactSettings = choose_settings(preset or "balanced", **given)
            target = FitTarget(self.colors, self.digest, composition=origin, profile=self.profile)
        else:
            fixed: dict[str, Any] = {"objective": "gradient", "filter": "forward", "tile": None}
            chosen = make_settings(preset or "single", **{**given, **fixed})
            target = FitTarget(self.rough, self.digest, self.guide(), self.known, self.colors, origin, self.profile)
        return warn_if_too_little(
            fit_target(target, chosen, seed=seed, device=device, watch=watch, checkpoint=checkpoint)
        )


def mix(
    first: Operand, second: Operand, *, weight: float | int = 0.5, keep_edges: bool = False, sizes: Sizes = "crop"
) -> Composition:
    """Mix the gradients of two images: ``w grad A + (1 - w) grad B``.

    The mean colour is that of the mixed pixels. Where only one image has colour or alpha, the other is expanded to
    equal channels, in sRGB, and an opaque alpha.

    Args:
        first: image or field A.
        second: image or field B.
        weight: weight w of the first image, 0 to 1.
        keep_edges: take the stronger difference of the two between each pair of neighbouring pixels, channel by
            channel, instead of their weighted sum.
        sizes: treatment of images of different sizes: ``crop`` both around their centres to the smaller extent,
            ``pad`` both to the larger extent by repeating border pixels, or ``resize`` B to the size of A (a field
            is rendered at it).

    Raises:
        EorenError: an image cannot be read, or the weight is outside [0, 1].

    Example:
        >>> a, b = np.random.default_rng(0).random((2, 8, 9, 3))
        >>> mixed = mix(a, b, weight=0.25)
        >>> bool(np.abs(mixed.colors - (0.25 * a + 0.75 * b)).max() < 1e-5)  # as mixed pixels
        True
    """
    if not 0 <= weight <= 1:
        raise EorenError(f"weight must lie between 0 and 1, got {weight}")
    check_choice("sizes", sizes, get_args(Sizes))
    operands = open_operand(first), open_operand(second)
    matched = match_colors(*match_sizes(*operands, sizes))
    notes = (*matched[0].notes, *matched[1].notes, *profile_notes(*matched))
    a, b = match_alpha(matched[0].pixels, matched[1].pixels)
    before = [size_text(operand.pixels) for operand in operands]
    if before[0] != before[1]:
        notes += (f"the images are {before[0]} and {before[1]}; the mix is {size_text(a)} ({sizes})",)
    rough = (weight * a + (1 - weight) * b).astype(np.float32)

    def guide() -> Gradient:
        if not keep_edges:
            return forward_differences(rough)
        guidance = forward_differences(a)
        _replace_weaker(guidance, forward_differences(b))
        return guidance

    return Composition(
        rough,
        np.zeros(rough.shape[:2], bool),
        describe_operation("mix", operands, weight=weight, keep_edges=keep_edges, sizes=sizes),
        lambda: solve_rectangle(guide(), mean=rough.mean((0, 1), dtype=np.float64)),
        guide,
        notes,
        matched[0].profile,
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
    """Insert a part of one image into another seamlessly (Perez, Gangnet and Blake, "Poisson image editing", 2003).

    Pixels where the mask is above zero are unknown; all others keep the colours of the target. Differences between
    an unknown pixel and each of its neighbours follow those of the source. In a soft mask they are a blend of source
    and target, by the larger mask value of the two pixels. Beyond its border the source repeats its border pixels.
    If the mask covers the whole target, the mean colour of the target is kept. The alpha of the source multiplies
    the mask; the alpha of the target stays.

    Args:
        source: image or field to take from.
        target: image or field to insert into; it is not modified.
        mask: mask of the size of the source, white where the source is taken. Its value is the mean of its colours
            times its alpha. Values below 2 % count as black, above 98 % as white.
        offset: ``(x, y)``, position of the first pixel of the source in the target, in whole pixels; it may be
            negative.
        mode: ``import`` takes the differences of the source; ``mixed`` the stronger of source and target, between
            each pair of neighbouring pixels and channel by channel; ``average`` their mean.
        keep_color: weight W of the squared distance from the colours of the source, relative to the differences.
            Colours stay beyond about ``1 / sqrt(W)`` pixels from the edge of the mask. 0 gives classic cloning.

    Raises:
        EorenError: the mask is empty or has another size, the offset leaves nothing inside the target, an option is
            out of range, or an image cannot be read.

    Example:
        >>> target = np.full((9, 9, 1), 0.5)
        >>> source, mask = np.full((3, 3, 1), 0.9), np.ones((3, 3))
        >>> bool(np.allclose(clone(source, target, mask, offset=(3, 3)).colors, 0.5))  # the source has no gradient
        True
    """
    check_choice("mode", mode, get_args(Mode))
    if not 0 <= keep_color < float("inf"):
        raise EorenError(f"keep_color must be a finite number, 0 or above, got {keep_color}")
    # Both become RGB if either is: the colours of a source also colour a gray target.
    source_operand, target_operand = match_colors(open_operand(source), open_operand(target))
    mask_operand = open_operand(mask)
    operands = source_operand, target_operand, mask_operand
    weights = mask_weights(mask_operand, source_operand, "source")
    colors, alpha = split_alpha(source_operand.pixels)
    if alpha is not None:
        weights = weights * alpha
    if not weights.any():
        raise EorenError("the mask is empty: no pixel, times the alpha of the source, is above 2 %")
    try:
        x, y = (index(coordinate) for coordinate in offset)
    except TypeError:
        raise EorenError(f"offset must be in whole pixels, got {offset}; round it") from None
    placed, notes = _place_mask(weights, x, y, target_operand.pixels)
    unknown = placed > 0
    box = bounding_box(unknown)
    base, base_alpha = split_alpha(target_operand.pixels)
    rows, columns = (
        np.clip(np.arange(part.start, part.stop) - start, 0, size - 1)
        for part, start, size in zip(box, (y, x), colors.shape[:2], strict=True)
    )
    patch, under, share = colors[rows[:, None], columns], base[box], placed[box]

    def guide_box() -> Gradient:
        return _cloning_guidance(patch, under, share, mode)

    def solve() -> Image:
        result = base.copy()
        weight = keep_color * share.astype(np.float64) if keep_color else None
        if unknown.all() and weight is None:
            result = solve_rectangle(guide_box(), mean=base.mean((0, 1), dtype=np.float64))
        else:
            result[box] = solve_mask(unknown[box], guide_box(), under, weight=weight, pull=patch)
        return join_alpha(result, base_alpha)

    def guide() -> Gradient:
        guidance = forward_differences(join_alpha(base, base_alpha))
        inside = _larger_end(unknown)[box][:, :, None]
        np.copyto(guidance[box][:, :, : base.shape[2]], guide_box(), where=inside)
        return guidance

    rough = base.copy()
    rough[box] += share[..., None] * (patch - under)
    return Composition(
        join_alpha(rough, base_alpha),
        ~unknown,
        describe_operation("clone", operands, offset=[x, y], mode=mode, keep_color=keep_color),
        solve,
        guide,
        (*source_operand.notes, *target_operand.notes, *profile_notes(target_operand, source_operand), *notes),
        target_operand.profile,
    )


def fill(image: Operand, mask: Operand, *, method: Method = "membrane") -> Composition:
    """Fill holes of an image from their surroundings.

    Args:
        image: image or field with holes; its colours inside them are ignored.
        mask: mask of the size of the image, 2 % or more where there is a hole. Its value is the mean of its colours
            times its alpha.
        method: ``membrane`` for the smallest gradients, or ``biharmonic`` for the smallest squared Laplacian, which
            continues slopes into the hole and may overshoot the colours around it.

    Raises:
        EorenError: the mask is empty, covers everything or has another size; the method is unknown; or an image
            cannot be read.
    """
    check_choice("method", method, get_args(Method))
    operands = image_operand, mask_operand = open_operand(image), open_operand(mask)
    unknown = mask_weights(mask_operand, image_operand, "image") > 0
    if not unknown.any():
        raise EorenError("the mask is empty: no pixel is above 2 %")
    if unknown.all():
        raise EorenError("the mask covers every pixel, so there is nothing to fill it from; leave some of them out")
    # The starting colour of a hole is the mean of the known colours.
    rough = image_operand.pixels.copy()
    rough[unknown] = rough[~unknown].mean(0, dtype=np.float64)

    def guide() -> Gradient:
        if method == "biharmonic":
            raise EorenError("biharmonic filling has no gradient field; use the exact solver, or the membrane")
        return np.where(_larger_end(unknown)[:, :, None], np.float32(0), forward_differences(rough))

    def solve() -> Image:
        return fill_biharmonic(unknown, rough) if method == "biharmonic" else solve_mask(unknown, guide(), rough)

    origin = describe_operation("fill", operands, method=method)
    return Composition(rough, ~unknown, origin, solve, guide, image_operand.notes, image_operand.profile)


def describe_operation(operation: str, operands: tuple[LoadedOperand, ...], **options: Any) -> dict[str, Any]:
    """Describe an operation as :attr:`Composition.origin` does."""
    return {"operation": operation, "operands_sha256": [operand.sha256 for operand in operands], **options}


def _place_mask(
    weights: Float[np.ndarray, "rows columns"], x: int, y: int, canvas: Image
) -> tuple[Float[np.ndarray, "height width"], tuple[str, ...]]:
    """Move a mask to its offset in the target, and report how much of it was cut off."""
    height, width, _ = canvas.shape
    placed = np.zeros((height, width), np.float32)
    rows, columns = (
        slice(min(max(start, 0), limit), min(max(start + size, 0), limit))
        for start, size, limit in ((y, weights.shape[0], height), (x, weights.shape[1], width))
    )
    placed[rows, columns] = weights[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    if not placed.any():
        raise EorenError(
            f"offset {x},{y} puts the mask of {size_text(weights)} outside the target of {width}x{height}"
        )
    total = np.count_nonzero(weights)
    outside = total - np.count_nonzero(placed)
    notes = (f"{outside:,} of the {total:,} pixels of the mask lie outside the target and are left out",)
    return placed, notes if outside else ()


def _larger_end(values: Shaped[np.ndarray, "height width"]) -> Shaped[np.ndarray, "height width 2"]:
    """Return the larger value of the two pixels of every forward difference; of a mask, whether either is in it."""
    larger = np.stack([values, values], 2)
    np.maximum(values[:, :-1], values[:, 1:], out=larger[:, :-1, 0])
    np.maximum(values[:-1], values[1:], out=larger[:-1, :, 1])
    return larger


def _replace_weaker(guidance: Gradient, other: Gradient) -> None:
    """Replace differences in place by those of the other field where they are stronger."""
    np.copyto(guidance, other, where=np.abs(other) > np.abs(guidance) + _EQUAL)


def _cloning_guidance(source: Image, target: Image, share: Float[np.ndarray, "height width"], mode: Mode) -> Gradient:
    guidance = forward_differences(source)
    soft = bool(((share > 0) & (share < 1)).any())
    if mode == "import" and not soft:
        return guidance
    under = forward_differences(target)
    if mode == "mixed":
        _replace_weaker(guidance, under)
    elif mode == "average":
        guidance = (guidance + under) / 2
    if soft:
        guidance = under + _larger_end(share)[:, :, None] * (guidance - under)
    return guidance
