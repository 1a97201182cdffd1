"""The paper's own way to compose (arXiv 2209.11697, Fig. 10): a network fitted to gradients alone, then tuned."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from eoren._version import __version__
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.fs.files import check_writable
from eoren.model.channel_tuning import Moments
from eoren.model.devices import choose_device
from eoren.model.quantization import rounded
from eoren.model.tiling import Tiling
from eoren.training.checkpoint import CheckpointKey
from eoren.training.fit import FitResult, checked_seed, finished, seconds_of_record
from eoren.training.loop import FitLoop, Progress
from eoren.training.settings import make_settings


def fit_gradients(
    guidance: Float[np.ndarray, "height width channels 2"],
    rough: Float[np.ndarray, "height width channels"],
    known: Bool[np.ndarray, "height width"],
    colors: Float[np.ndarray, "height width channels"],
    digest: str,
    preset: str | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    watch: Callable[[Progress], bool | None] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    **settings: Any,
) -> FitResult:
    """Fit one network to forward differences; channel tuning, two numbers a channel, to the colours that are known.

    Args:
        guidance: ``(H, W, C, 2)``, forward differences in intensity per pixel.
        rough: ``(H, W, C)``: colours to tune to.
        known: ``(H, W)``: where they count; everywhere if nowhere.
        colors: ``(H, W, C)``: what the field is measured against.
        digest: of all that is fitted, for checkpoint and file.
        preset: ``single`` by default.
        seed: see :func:`eoren.fit`, as for the rest.
        device: likewise.
        watch: likewise.
        checkpoint: likewise.
        settings: likewise.

    Raises:
        EorenError: as :func:`eoren.fit`.
    """
    chosen = make_settings(
        preset or "single", **{**settings, "objective": "gradient", "filter": "forward", "tile": None}
    )
    seed, place = checked_seed(seed), choose_device(device)
    if checkpoint is not None:
        check_writable(Path(checkpoint))
    height, width, _ = rough.shape
    tiling = Tiling.single(width, height)
    run = FitLoop(
        rough,
        tiling,
        CheckpointKey(chosen, seed, digest),
        device=place,
        start=monotonic(),
        watch=watch,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        gradient=guidance,
    )
    ended = run.run()
    run.keep()
    siren = rounded(run.siren, chosen.bits)
    moments = Moments(1, siren.channels, siren.device)
    said = torch.from_numpy(Field(SirenMosaic(siren, moments.tuning(), tiling)).render())
    counted = torch.from_numpy(known if known.any() else ~known)
    target = torch.from_numpy(rough)
    moments.add(slice(None), said[counted][None].to(place), target[counted][None].to(place))
    taken = run.elapsed()
    spent = seconds_of_record(chosen, taken)
    provenance = Provenance(chosen.as_dict(), seed, run.steps, spent, digest, version=__version__)
    field, measured = finished(
        Field(SirenMosaic(siren, moments.tuning(), tiling, chosen.bits), provenance), colors, place
    )
    return FitResult(field, measured, tuple(run.history), chosen, seed, run.steps, taken, ended)
