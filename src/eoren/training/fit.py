"""Fitting a field to an image or to a gradient field."""

import logging
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Any

from numpy.typing import ArrayLike

from eoren._version import __version__
from eoren.checks import MAX_SEED, check_integer
from eoren.evaluation.metrics import METRICS, evaluate
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, loads
from eoren.fs.files import locked
from eoren.image.cell_averages import point_values
from eoren.image.io import SourceImage, as_source_image
from eoren.model.devices import choose_device
from eoren.model.isolation import isolated
from eoren.training.assembly import assemble_field, build_tiling
from eoren.training.checkpoint import CheckpointKey
from eoren.training.compact.fit import fit_compact
from eoren.training.compact.settings import CompactSettings
from eoren.training.loop import FitLoop
from eoren.training.plan import warn_if_too_little
from eoren.training.presets import choose_settings
from eoren.training.result import LINE_LENGTH, FitResult, FitTarget, Watch, printing
from eoren.training.settings import Settings

_log = logging.getLogger(__name__)


def fit(
    image: ArrayLike | str | PathLike[str] | SourceImage,
    *,
    preset: str = "balanced",
    seconds: float | None = None,
    steps: int | None = None,
    until_psnr: float | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    watch: Watch | None = None,
    checkpoint: str | PathLike[str] | None = None,
    **settings: Any,
) -> FitResult:
    """Fit a continuous function with correct colours and derivatives to an image.

    With a budget in steps and a fixed number of threads, the same image and seed give the same field on a CPU, bit
    for bit, also if the fit is interrupted and resumed.

    Args:
        image: ``(H, W)`` or ``(H, W, C)`` array, C in 1..4, values in [0, 1] or integers of 8 or 16 bits; or the
            path of an image file, or ``sample:astronaut``.
        preset: named set of settings. ``fast``, ``balanced`` and ``best`` fit compact fields: wavelet latents with a
            color decoder; ``mosaic-fast``, ``mosaic`` and ``mosaic-best`` fit one network per tile; ``single`` fits
            one network; ``paper`` is the protocol of arXiv 2209.11697.
        seconds: time budget in seconds. Of a compact fit it limits the refinement and the sine layers; meeting a size
            or a quality takes the time that it needs.
        steps: budget in steps. Without ``seconds`` and ``steps`` the preset's budget applies.
        until_psnr: PSNR of the colours over all pixels in dB. A compact field is made as small as this PSNR allows;
            the fit of a mosaic stops there, in a large image every group of tiles.
        seed: seed of the random generators, 0..2**32 - 1.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: whether to print a line that shows the state of the fit in place, in notebooks and terminals.
        watch: function that is called after every chunk of work; return true to stop early with the current field,
            which may miss a size or a quality.
        checkpoint: path of a file that stores the state twice a minute and at the end. If the file exists, the fit
            resumes from it. Delete it once the result is saved.
        settings: for compact presets, any attribute of :class:`eoren.training.compact.settings.CompactSettings`,
            such as ``bits_per_pixel=2``, or ``bytes=50_000`` for a file of that size; for the others, any attribute
            of :class:`eoren.training.settings.Settings`, such as ``objective="gradient"``. The result is what the
            file holds.

    Raises:
        EorenError: the image, a setting or the checkpoint is invalid, another process uses the checkpoint, or no
            compact field of this image has the size.

    Warns:
        DeprecatedSettingWarning: a setting that only mosaics have, such as ``width``, selected the mosaic in place of
            a compact preset; give ``preset="mosaic"``.
        FitWarning: networks diverged and continued from an earlier state with a lower learning rate, a checkpoint
            could not be written, the time was far too short for networks, or the size far too small for the image.

    Example:
        >>> import eoren, numpy as np
        >>> ramp = np.linspace(0, 1, 32, dtype=np.float32)[None, :, None].repeat(8, 0)
        >>> result = eoren.fit(ramp, preset="fast", until_psnr=50.0)
        >>> result.metrics.psnr > 49.9, result.metrics.gradient_psnr > 50
        (True, True)
        >>> eoren.fit(ramp, preset="mosaic", steps=200, width=16, depth=2, seed=1).metrics.psnr > 30
        True
    """
    budget = {"seconds": seconds, "steps": steps, "until_psnr": until_psnr}
    given = {name: value for name, value in budget.items() if value is not None}
    check_integer("seed", seed, 0, MAX_SEED)
    chosen = choose_settings(preset, **given, **settings)
    source = as_source_image(image)
    target = FitTarget(source.pixels, source.sha256, profile=source.profile)
    shown = printing(watch) if progress else watch
    result = fit_target(target, chosen, seed=seed, device=device, watch=shown, checkpoint=checkpoint)
    if progress:
        quality = f"PSNR {result.metrics.psnr:.1f} dB, gradient {result.metrics.gradient_psnr:.1f} dB"
        print(f"\r{f'{result.steps:,} steps in {result.seconds:.1f} s, {quality}':<{LINE_LENGTH}}")
    return warn_if_too_little(result)


@isolated()
def fit_target(
    target: FitTarget,
    settings: Settings | CompactSettings,
    *,
    seed: int = 0,
    device: str = "auto",
    watch: Watch | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> FitResult:
    """Fit a field to an image or a gradient field; :func:`fit` documents the arguments."""
    seed, path = check_integer("seed", seed, 0, MAX_SEED), None if checkpoint is None else Path(checkpoint)
    with nullcontext() if path is None else locked(path):
        start = monotonic()
        torch_device = choose_device(device)
        if isinstance(settings, CompactSettings):
            return fit_compact(target, settings, seed=seed, device=torch_device, watch=watch, checkpoint=path)
        averaged = settings.pixel_model == "cell_average" and target.gradient is None
        image = point_values(target.image) if averaged else target.image
        tiling = build_tiling(image, settings)
        _log.info("fitting %d networks to an image of shape %s on %s", tiling.count, image.shape, torch_device)
        loop = FitLoop(
            image,
            tiling,
            CheckpointKey(settings, seed, target.sha256),
            device=torch_device,
            start=start,
            watch=watch,
            checkpoint=path,
            gradient=target.gradient,
        )
        ended = loop.run()
        loop.save_checkpoint()
        fitted = assemble_field(loop.siren, tiling, image, bits=settings.bits, known=target.known)
        elapsed = loop.elapsed()
        # Without a time budget the file does not store the time, so that its bytes are reproducible.
        timed = settings.seconds is not None or settings.seconds_per_megapixel is not None
        duration = round(elapsed, 3) if timed else None
        provenance = Provenance(settings.as_dict(), seed, loop.steps, duration, target.sha256)
        provenance = replace(
            provenance, version=__version__, composition=dict(target.composition), profile=target.profile
        )
        history, steps = tuple(loop.history), loop.steps
        del loop  # releases the memory of the training before the field is measured
        fitted = loads(dumps(replace(fitted, provenance=provenance))).to(torch_device)
        metrics = evaluate(fitted, target.image if target.reference is None else target.reference)
        quality = {name: value for name, value in metrics.as_dict().items() if name in METRICS}
        fitted = replace(fitted, provenance=replace(fitted.provenance, metrics=quality))
        if settings.until_psnr is not None and ended != "interrupted":
            # The training measures networks one by one; the result counts as the field does.
            ended = "target" if metrics.psnr >= settings.until_psnr else "budget"
        return FitResult(fitted, metrics, history, settings, seed, steps, elapsed, ended)
