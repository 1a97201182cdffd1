"""Compact fields of one image beside image codecs: at the size of the default fit, and over a range of sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float

from eoren.errors import format_error
from eoren.evaluation.metrics import finite
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.experiments.rivals import RIVALS, Measurement, Rival
from eoren.field.field import Field
from eoren.field.grid import WHOLE, Region, grid_lines
from eoren.field.serialization import dumps, loads
from eoren.image.arrays import Gradient, Image
from eoren.image.gradients import pixel_gradient
from eoren.image.io import hash_pixels
from eoren.image.writers import to_unsigned
from eoren.model.latents.spline_basis import sampling_matrix
from eoren.training.fit import fit_target
from eoren.training.presets import make_compact_settings
from eoren.training.result import FitResult, FitTarget

PRESET = "balanced"
COMPACT = "compact"
LABELS: Mapping[str, str] = {
    COMPACT: "this library, compact field",
    "jpeg2000": "JPEG 2000",
    "avif6psnr": "AVIF",
}
"""What is compared, by key. Both codecs are tuned to the squared error, which is measured here."""

_LAGRANGIAN_FACTORS = (64.0, 16.0, 4.0, 1.0, 1 / 4, 1 / 16)  # of the preset's: 6 dB apart


@dataclass(frozen=True, eq=False)
class Stored:
    """One image in one file, as a function.

    Attributes:
        key: compact, jpeg2000 or avif6psnr.
        measurement: size, quality and times.
        color: output at the pixel centres, not clamped.
        gradient: its derivative there in intensity per pixel.
        render: function of width, height and region that samples the function on a grid.
    """

    key: str
    measurement: Measurement
    color: Image
    gradient: Gradient
    render: Callable[[int, int, Region], Image]

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        return LABELS[self.key]


@dataclass(frozen=True, eq=False)
class Rates:
    """The compact field of an image beside image codecs.

    Attributes:
        stored: the default compact field, then the codecs at the nearest size in bytes.
        curves: measurements over a range of sizes, by key, by rising size.
        missing: why a codec cannot run here, by key.
        settings: settings of the compact field.
    """

    stored: Sequence[Stored]
    curves: Mapping[str, Sequence[Measurement]]
    missing: Mapping[str, str]
    settings: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON types; infinity becomes null."""
        return {
            "settings": dict(self.settings),
            "equal_bytes": [{"method": stored.key, **finite(stored.measurement.as_dict())} for stored in self.stored],
            "curves": {
                key: [finite(measurement.as_dict()) for measurement in curve] for key, curve in self.curves.items()
            },
            "missing": dict(self.missing),
        }


def measure_rates(image: Image, *, seed: int = 0, watch: ProgressCallback = lambda label, share: None) -> Rates:
    """Fit and encode an image at several sizes.

    Args:
        image: ``(H, W, C)``, colours in [0, 1].
        seed: seed of the fits.
        watch: callback that receives the progress.
    """
    gradient = pixel_gradient(image)
    rivals = {key: RIVALS[key] for key in LABELS if key != COMPACT}
    missing = {key: reason for key, rival in rivals.items() if (reason := rival.missing()) is not None}
    tasks: list[tuple[str, str]] = [(label, key) for key, label in LABELS.items() if key not in missing]
    stored: list[Stored] = []
    curves: dict[str, list[Measurement]] = {}
    for key, report in subtasks(tasks, watch):
        if key == COMPACT:
            files = _fit_all(image, seed, report)
            stored.append(files[_LAGRANGIAN_FACTORS.index(1.0)])
            curves[key] = [file.measurement for file in files]
        else:
            try:
                best, curve = _encode_all(rivals[key], image, gradient, stored[0].measurement.bytes, report)
            except (OSError, ValueError) as error:  # codecs have limits, such as the sides of tiny images
                missing[key] = f"Pillow does not store this image ({format_error(error)})"
                continue
            stored.append(Stored(key, *best))
            curves[key] = curve
    settings = make_compact_settings(PRESET).as_dict()
    return Rates(stored, curves, missing, settings)


def _fit_all(image: Image, seed: int, report: ProgressCallback) -> list[Stored]:
    """Fit the image at all prices of a bit."""
    target, files = FitTarget(image, hash_pixels(image)), []
    for number, factor in enumerate(_LAGRANGIAN_FACTORS):
        lagrangian = factor * make_compact_settings(PRESET).lagrangian
        settings = make_compact_settings(PRESET, **({} if factor == 1 else {"lagrangian": lagrangian}))
        report("", number / len(_LAGRANGIAN_FACTORS))
        files.append(_stored_field(fit_target(target, settings, seed=seed, device="cpu")))
    return files


def _stored_field(result: FitResult) -> Stored:
    field, metrics = result.field, result.metrics
    width, height = field.size
    extent = (float(width), float(height))
    color, gradient = field.sample(width, height, "color", "gradient", extent=extent)
    data, start = dumps(field), perf_counter()
    loads(data).render()
    decoding = perf_counter() - start
    measurement = Measurement(
        bytes=result.bytes,
        bits_per_pixel=result.bits_per_pixel,
        psnr=metrics.psnr_8bit,
        gradient_psnr=metrics.gradient_psnr,
        encode_seconds=result.seconds,
        decode_seconds=decoding,
    )
    return Stored(COMPACT, measurement, color, gradient, partial(render_field, field))


def render_field(field: Field, width: int, height: int, region: Region) -> Image:
    """Sample the colours of a field on a grid, as :func:`render_spline` samples a spline."""
    return field.render(width, height, region=region)


def _encode_all(
    rival: Rival, image: Image, gradient: Gradient, size: int, report: ProgressCallback
) -> tuple[tuple[Measurement, Image, Gradient, Callable[[int, int, Region], Image]], list[Measurement]]:
    """Encode the image with all settings of a rival, and with the one whose file comes nearest to a size."""
    pixels, curve = to_unsigned(image), []
    for number, setting in enumerate(rival.settings):
        report("", number / len(rival.settings))
        curve.append(rival.measure(pixels, image, gradient, setting).measurement)
    decoded, measurement = rival.measure(pixels, image, gradient, rival.setting_of_size(pixels, size))
    color = (decoded / np.float32(255)).astype(np.float32)
    return (measurement, color, pixel_gradient(color), partial(render_spline, color)), curve


def render_spline(
    color: Image, width: int, height: int, region: Region = WHOLE
) -> Float[np.ndarray, "rows columns channels"]:
    """Sample the quintic spline through pixels, whose derivative is the reference gradient, on a grid."""
    rows, columns, _ = color.shape
    x, y = grid_lines(width, height, region)
    across = sampling_matrix(x * columns - 0.5, columns)
    down = sampling_matrix(y * rows - 0.5, rows)
    samples = np.einsum("yr,rsc,xs->yxc", down, color.astype(np.float64), across, optimize=True)
    return np.asarray(samples, np.float32)
