"""fit(): from an image to a Field."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import index
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.evaluation.metrics import Metrics, evaluate
from eoren.field.field import Field
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, loads
from eoren.fs.files import locked
from eoren.image.cell_averages import point_values
from eoren.image.io import SourceImage, as_image, digest_of, read_source_image
from eoren.model.devices import choose_device
from eoren.training.checkpoint import CheckpointKey
from eoren.training.loop import Ended, FitLoop, Progress
from eoren.training.settings import Settings, make_settings
from eoren.training.trainer import assemble_field, build_tiling

_MAX_SEED = 2**32 - 1


@dataclass(frozen=True, eq=False)
class FitResult:
    """What :func:`fit` found, and how.

    Attributes:
        field: the fitted field, as it comes back from its file, on the device of the fit.
        metrics: of that field against the image, measured over all pixels.
        history: running estimates, about two a second.
        settings: every setting of the fit.
        seed: of the random numbers.
        steps: made, in the mean over all tiles; those that are done sat some out.
        seconds: that the fit took, targets included, final measuring not.
        ended: at its ``target`` if it has one and reached it, else by its ``budget``, or ``interrupted``.
        version: of eoren.
    """

    field: Field
    metrics: Metrics
    history: tuple[Progress, ...]
    settings: Settings
    seed: int
    steps: int
    seconds: float
    ended: Ended
    version: str = __version__


def fit(
    image: ArrayLike | str | PathLike[str] | SourceImage,
    *,
    preset: str = "balanced",
    seconds: float | None = None,
    steps: int | None = None,
    until_psnr: float | None = None,
    seed: int = 0,
    device: str = "auto",
    watch: Callable[[Progress], bool | None] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    **settings: Any,
) -> FitResult:
    """Turn an image into a continuous function whose colours and derivatives are right.

    With a budget in steps, and a fixed number of threads, the same image and seed give the same field, bit for
    bit, on a CPU; interrupted and taken up again too.

    Args:
        image: ``(H, W)`` or ``(H, W, C)`` array, C in 1..4, values in [0, 1] or whole numbers of 8 or 16 bits; or
            an image file, or ``sample:astronaut``.
        preset: ``fast``, ``balanced`` and ``best`` are mosaics; ``single`` is one network; ``paper`` is the protocol
            of arXiv 2209.11697.
        seconds: time budget.
        steps: budget of steps. With neither, the preset's.
        until_psnr: stop as soon as the colours, over all pixels, are this good (dB); in a large image, in every
            group of tiles.
        seed: of the random numbers.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        watch: called after every chunk of work; return true to stop early with what there is.
        checkpoint: a file that keeps the state twice a minute and at the end. If it exists, the fit goes on from
            it. Delete it once the result is safe.
        settings: any field of :class:`eoren.training.settings.Settings`, such as ``objective="gradient"``, or
            ``bits=8`` for a small file. The result is what the file holds.

    Raises:
        EorenError: an image, setting or checkpoint that cannot be used, or another fit has the checkpoint.

    Warns:
        FitWarning: networks diverged and went on from an earlier state with a lower rate, or a checkpoint could not
            be written.

    Example:
        >>> import eoren, numpy as np
        >>> ramp = np.linspace(0, 1, 32, dtype=np.float32)[None, :, None].repeat(8, 0)
        >>> result = eoren.fit(ramp, steps=200, width=16, depth=2, seed=1)
        >>> result.metrics.psnr > 30, result.metrics.gradient_psnr > 30
        (True, True)
    """
    budget = {"seconds": seconds, "steps": steps, "until_psnr": until_psnr}
    given = {name: value for name, value in budget.items() if value is not None}
    chosen = make_settings(preset, **given, **settings)
    seed = checked_seed(seed)
    if checkpoint is None:
        return _fit(image, chosen, seed, device, watch, None)
    with locked(Path(checkpoint)):
        return _fit(image, chosen, seed, device, watch, Path(checkpoint))


def _fit(
    image: ArrayLike | str | PathLike[str] | SourceImage,
    chosen: Settings,
    seed: int,
    device: str,
    watch: Callable[[Progress], bool | None] | None,
    checkpoint: Path | None,
) -> FitResult:
    pixels, digest = _picture(image)
    start = monotonic()
    place = choose_device(device)
    points = point_values(pixels) if chosen.pixels == "areas" else pixels
    tiling = build_tiling(points, chosen)
    run = FitLoop(
        points,
        tiling,
        CheckpointKey(chosen, seed, digest),
        device=place,
        start=start,
        watch=watch,
        checkpoint=checkpoint,
    )
    ended = run.run()
    run.keep()
    field = assemble_field(run.siren, tiling, points, bits=chosen.bits)
    taken = run.elapsed()
    spent = seconds_of_record(chosen, taken)
    provenance = Provenance(chosen.as_dict(), seed, run.steps, spent, digest, version=__version__)
    history, steps = tuple(run.history), run.steps
    del run  # with all that training kept
    field, measured = finished(replace(field, provenance=provenance), pixels, place)
    if chosen.until_psnr is not None and ended != "interrupted":
        # Training measured networks one by one; this is the field.
        ended = "target" if measured.psnr >= chosen.until_psnr else "budget"
    return FitResult(field, measured, history, chosen, seed, steps, taken, ended)


def seconds_of_record(settings: Settings, taken: float) -> float | None:
    """What a file says of the time: nothing where steps alone were to end the fit, so that its bytes are the same."""
    timed = settings.seconds is not None or settings.seconds_per_megapixel is not None
    return round(taken, 3) if timed else None


def finished(
    field: Field, pixels: Float[np.ndarray, "height width channels"], device: torch.device
) -> tuple[Field, Metrics]:
    """As its file will have it, with what was measured of that against an image, and the measures."""
    field = loads(dumps(field)).to(device)
    measured = evaluate(field, pixels, stored_bytes=0)  # weighed below, with what it says of its quality
    quality = {name: value for name, value in measured.as_dict().items() if "psnr" in name or name == "ssim"}
    field = replace(field, provenance=replace(field.provenance, metrics=quality))
    return field, weighed(measured, field)


def weighed(metrics: Metrics, field: Field) -> Metrics:
    """With the size of the field's file."""
    stored, (width, height) = len(dumps(field)), field.size
    return replace(metrics, bytes=stored, bits_per_pixel=8 * stored / (width * height))


def checked_seed(seed: int) -> int:
    """A seed that random generators take.

    Raises:
        EorenError: it is none.
    """
    try:
        number = -1 if isinstance(seed, bool) else index(seed)
    except TypeError:
        number = -1
    if not 0 <= number <= _MAX_SEED:
        raise EorenError(f"seed is {seed!r}, but must be a whole number from 0 to {_MAX_SEED}")
    return number


def _picture(
    image: ArrayLike | str | PathLike[str] | SourceImage,
) -> tuple[Float[np.ndarray, "height width channels"], str]:
    """Pixels and SHA-256: of the file, or of shape and numbers of an array."""
    if isinstance(image, str | PathLike):
        image = read_source_image(image if isinstance(image, str) else Path(image))
    if isinstance(image, SourceImage):
        return image.pixels, image.sha256
    pixels = as_image(image)
    return pixels, digest_of(pixels)
