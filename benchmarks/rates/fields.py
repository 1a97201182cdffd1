"""Fits of this library as codecs: files are written, read again, and measured by ``eoren.evaluate``."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import eoren
from eoren.experiments.rivals import Measurement

SEED = 0


@dataclass(frozen=True)
class Fit:
    """A preset, with an option that changes the rate.

    Attributes:
        title: name in tables and figures.
        preset: preset of :func:`eoren.fit`.
        option: name of the option whose values are the settings.
        settings: values of the option, one per point of the curve.
        options: other arguments of :func:`eoren.fit`.
    """

    title: str
    preset: str
    option: str
    settings: tuple[float, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Return None: fits run everywhere."""
        return None

    def measure(self, path: Path, setting: float) -> Measurement:
        """Fit one picture and measure the file; colours are rounded to 8 bits, gradients are those of the field."""
        image = eoren.read_image(path)
        height, width, _ = image.shape
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "field.eoren"
            start = perf_counter()
            result = eoren.fit(image, preset=self.preset, seed=SEED, **{**self.options, self.option: setting})
            result.field.save(output)
            between = perf_counter()
            loaded = eoren.load(output)
            loaded.render(width, height)
            end = perf_counter()
            size = output.stat().st_size
        metrics = eoren.evaluate(loaded, image)
        return Measurement(
            bytes=size,
            bits_per_pixel=8 * size / (height * width),
            psnr=metrics.psnr_8bit,
            gradient_psnr=metrics.gradient_psnr,
            encode_seconds=between - start,
            decode_seconds=end - between,
        )


_RATES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
FIELDS: Mapping[str, Fit] = {
    "fast": Fit("compact field, fast", "fast", "bits_per_pixel", _RATES),
    "balanced": Fit("compact field, balanced", "balanced", "bits_per_pixel", _RATES),
    "best": Fit("compact field, best", "best", "bits_per_pixel", (1.0, 2.0, 4.0, 6.0)),
    "mosaic": Fit("mosaic", "mosaic", "parameters", (300_000, 560_000), {"seconds": 60.0, "batch": 512}),
}
"""Fits by name."""
