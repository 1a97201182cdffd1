"""The figures of a report: the image and the output of every network, on shared scales."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from scipy.integrate import cumulative_trapezoid
from scipy.ndimage import gaussian_filter

from eoren.experiments.rates import Rates, Stored, render_field
from eoren.experiments.trials import METRICS, Trial
from eoren.field.grid import Region
from eoren.image.arrays import Gradient, Image
from eoren.image.gradients import pixel_gradient
from eoren.visualization.colormaps import (
    brightness,
    color_channels,
    data_uri,
    direction_image,
    error_image,
    error_map,
)
from eoren.visualization.plots import Axis, Line, plot
from eoren.visualization.resampling import enlarge_by_spline

ZOOM = 4  # magnification of the crop at an edge
_CROP = 48
# Quantiles of the image's slopes at the ends of the scales of gradient maps and of histograms.
_GRADIENT_QUANTILE, _SLOPE_QUANTILE = 0.97, 0.999
_BINS = 64
_MIN_PERCENT = 0.01  # where the logarithmic axes of histograms begin
# Range of the profiles: a network with large errors would leave no room for the others.
_LOWEST, _HIGHEST = -0.5, 1.5


class Figure(NamedTuple):
    """A figure of a method, or of the image itself: an image with description and size in pixels, or an SVG."""

    style: str  # CSS class, the key of the method
    label: str  # name of the method
    value: str = ""  # a number or two, as text
    source: str = ""  # URI of an image; empty for a drawing
    alt: str = ""
    width: int = 0
    height: int = 0
    drawing: Markup = Markup()


@dataclass(frozen=True, eq=False)
class Prediction:
    """The output of one function at the pixel centres, and the function itself."""

    key: str  # of the method or the codec
    label: str
    psnr: float
    gradient_psnr: float
    color: Image  # not clamped
    gradient: Gradient  # intensity per pixel
    render: Callable[[int, int, Region], Image]  # samples width x height points of a region

    @classmethod
    def of_trial(cls, trial: Trial) -> "Prediction":
        """Sample the field of a trial."""
        field, method, final = trial.field, trial.method, trial.final
        width, height = field.size
        color, gradient = field.sample(width, height, "color", "gradient", extent=(float(width), float(height)))
        quality = final.psnr, final.gradient_psnr
        return cls(method.key, method.label, *quality, color, gradient, partial(render_field, field))

    @classmethod
    def of_file(cls, stored: Stored) -> "Prediction":
        """Describe what one file holds."""
        quality = stored.measurement.psnr, stored.measurement.gradient_psnr
        return cls(stored.key, stored.label, *quality, stored.color, stored.gradient, stored.render)


class Panels:
    """The figures of trials on one image, on scales that all predictions share.

    ``gradient_scale`` is the magnitude at full lightness, in intensity per pixel, ``error_scale`` the error at the
    end of the colour scale. ``row`` and ``column`` belong to the image's strongest edge, and ``box`` to the crop
    around it, ``(column0, row0, column1, row1)`` with the ends excluded.
    """

    def __init__(self, image: Image, predictions: Sequence[Prediction]) -> None:
        self._image = image
        self.gradient = pixel_gradient(image)
        magnitude = np.linalg.norm(brightness(self.gradient), axis=-1)
        self.gradient_scale = _scale_end(np.quantile(magnitude, _GRADIENT_QUANTILE))
        self._slope_scale = _scale_end(np.quantile(np.abs(self.gradient), _SLOPE_QUANTILE))
        # The median, so that one method with large errors does not hide the differences between the others.
        worst = [np.quantile(error_map(prediction.color, image), 0.99) for prediction in predictions]
        self.error_scale = _scale_end(np.median(worst))
        # Smoothed, because an edge is longer than a pixel.
        strongest = np.argmax(gaussian_filter(magnitude, 1.0, mode="constant"))
        self.row, self.column = (int(index) for index in np.unravel_index(strongest, magnitude.shape))
        self.box = _crop_around(self.row, self.column, image.shape)

    def reconstructions(self, predictions: Sequence[Prediction]) -> Iterator[Figure]:
        """Draw the image and all reconstructions."""
        yield _image_figure("the image", self._image, "The image itself.")
        for prediction in predictions:
            value = f"PSNR {format_decibels(prediction.psnr)}"
            yield _method_image(prediction, prediction.color, "Reconstruction", value)

    def gradients(self, predictions: Sequence[Prediction]) -> Iterator[Figure]:
        """Draw direction and magnitude of the gradients of the image and of all networks."""
        reference = direction_image(self.gradient, self.gradient_scale)
        yield _image_figure("the image", reference, "The gradient of the image.")
        for prediction in predictions:
            value = f"gradient PSNR {format_decibels(prediction.gradient_psnr)}"
            directions = direction_image(prediction.gradient, self.gradient_scale)
            yield _method_image(prediction, directions, "Gradient map", value)

    def errors(self, predictions: Sequence[Prediction]) -> Iterator[Figure]:
        """Draw the errors of all reconstructions."""
        for prediction in predictions:
            error = error_map(prediction.color, self._image)
            value = f"half of the pixels below {np.median(error):.3f}, worst {error.max():.2f}"
            yield _method_image(prediction, error_image(error, self.error_scale), "Error map", value)

    def crops(self, predictions: Sequence[Prediction]) -> Iterator[Figure]:
        """Draw the strongest edge enlarged: pixels, a spline through them, and all networks."""
        left, top, right, bottom = self.box
        squares = self._image[top:bottom, left:right].repeat(ZOOM, 0).repeat(ZOOM, 1)
        yield _image_figure("the image", squares, "The image's pixels as squares.", "pixels as squares")
        smooth = enlarge_by_spline(self._image, self.box, ZOOM)
        yield _image_figure("cubic spline", smooth, "Cubic spline interpolation.", "through the pixels")
        height, width, _ = self._image.shape
        region = (left / width, top / height, right / width, bottom / height)
        for prediction in predictions:
            enlarged = prediction.render(ZOOM * (right - left), ZOOM * (bottom - top), region)
            yield _method_image(prediction, enlarged, "Enlarged edge")

    def profiles(self, predictions: Sequence[Prediction]) -> Iterator[Figure]:
        """Draw row and column of the strongest edge: pixels, network, and the running sum of its gradient."""
        lines = []
        for axis, name in enumerate(("row", "column")):
            pixels = self._along(axis, self._image)
            for prediction in predictions:
                total = self._running_sum(axis, prediction.gradient)
                lines.append((name, prediction, pixels, self._along(axis, prediction.color), total))
        values = np.concatenate([line.clip(_LOWEST, _HIGHEST) for _, _, *three in lines for line in three])
        y = Axis.covering("brightness", values.tolist())
        for name, prediction, pixels, color, total in lines:
            x = Axis("pixels from the " + ("left" if name == "row" else "top"), 0.0, float(len(pixels)))
            at = (np.arange(len(pixels)) + 0.5).tolist()
            drift = _root_mean_square(total - pixels)
            drawing = plot(
                [
                    Line("image", at, pixels.tolist()),
                    Line(f"sum {prediction.key}", at, total.tolist()),
                    Line(f"field {prediction.key}", at, color.tolist()),
                ],
                x,
                y,
                description=f"One {name} of the image and of {prediction.label}; the running sum of its gradient "
                f"has a root mean square error of {drift:.3f}.",
            )
            yield _method_plot(prediction, drawing, f"{name}: running sum off by {drift:.3f}")

    def reference_drifts(self) -> list[float]:
        """Compute the root mean square errors of the running sums of the image's gradient, along row and column."""
        sums = [self._running_sum(axis, self.gradient) for axis in (0, 1)]
        return [_root_mean_square(total - self._along(axis, self._image)) for axis, total in enumerate(sums)]

    def _along(self, axis: int, values: np.ndarray) -> np.ndarray:
        """Extract brightness, or its gradient, along row (axis 0 is x) or column (1 is y) of the strongest edge."""
        line = np.s_[self.row, :] if axis == 0 else np.s_[:, self.column]
        return np.asarray(brightness(values)[line], np.float64)

    def _running_sum(self, axis: int, gradient: Gradient) -> np.ndarray:
        """Integrate a gradient from the image's first pixel along row or column."""
        slope = self._along(axis, gradient)[:, axis]
        return np.asarray(self._along(axis, self._image)[0] + cumulative_trapezoid(slope, initial=0))

    def histograms(self, predictions: Sequence[Prediction]) -> Iterator[Figure]:
        """Draw histograms of values and slopes."""
        colors = color_channels(self._image)
        value_axis = Axis("value", -0.1, 1.1)
        for prediction in predictions:
            pair = self._image[..., colors], prediction.color[..., colors]
            yield _histogram(prediction, "values", *pair, value_axis, "pixels (%)")
        slope_axis = Axis("slope along x or y (intensity per pixel)", -self._slope_scale, self._slope_scale)
        for prediction in predictions:
            pair = self.gradient[..., colors, :], prediction.gradient[..., colors, :]
            yield _histogram(prediction, "slopes", *pair, slope_axis, "slopes (%)")


def curves(trials: Sequence[Trial], over: str) -> Iterator[Figure]:
    """Draw PSNR, gradient PSNR and SSIM over ``epoch`` or ``seconds``, one line per trial."""
    positions = [[getattr(sample, over) for sample in trial.samples] for trial in trials]
    end = max(max(line) for line in positions) or 1.0
    x = Axis("epochs" if over == "epoch" else "seconds of training", 0.0, end)
    for name, label in METRICS.items():
        values = [[getattr(sample, name) for sample in trial.samples] for trial in trials]
        lines = [Line(t.method.key, at, line) for t, at, line in zip(trials, positions, values, strict=True)]
        y = Axis.covering(label, (value for line in values for value in line))
        ends = ", ".join(f"{t.method.label} {line[-1]:.4g}" for t, line in zip(trials, values, strict=True))
        drawing = plot(lines, x, y, description=f"{label} over {x.label}. At the end: {ends}.")
        yield Figure("", f"{label.removesuffix(' (dB)')} over {x.label}", drawing=Markup(drawing))


def rate_curves(rates: Rates) -> Iterator[Figure]:
    """Draw PSNR and gradient PSNR over bits per pixel, one line per kind of file."""
    end = 1.05 * max(m.bits_per_pixel for curve in rates.curves.values() for m in curve)
    x = Axis("bits per pixel", 0.0, end)
    for name in ("psnr", "gradient_psnr"):
        lines = [
            Line(key, [m.bits_per_pixel for m in curve], [getattr(m, name) for m in curve])
            for key, curve in rates.curves.items()
        ]
        y = Axis.covering(METRICS[name], (value for line in lines for value in line.y))
        ends = ", ".join(
            f"{stored.label} {getattr(stored.measurement, name):.4g} at {stored.measurement.bits_per_pixel:.3g}"
            for stored in rates.stored
        )
        drawing = plot(lines, x, y, description=f"{METRICS[name]} over bits per pixel. At equal bytes: {ends}.")
        yield Figure("", f"{METRICS[name].removesuffix(' (dB)')} over bits per pixel", drawing=Markup(drawing))


def format_decibels(value: float) -> str:
    """Format a PSNR as ``28.31 dB``; infinity is ``exact``."""
    return f"{value:.2f} dB" if np.isfinite(value) else "exact"


def _image_figure(label: str, pixels: Image, alt: str, value: str = "", style: str = "") -> Figure:
    height, width, _ = pixels.shape
    return Figure(style, label, value, data_uri(pixels), alt, width, height)


def _method_image(prediction: Prediction, pixels: Image, kind: str, value: str = "") -> Figure:
    alt = f"{kind} of {prediction.label}" + (f": {value}." if value else ".")
    return _image_figure(prediction.label, pixels, alt, value, prediction.key)


def _method_plot(prediction: Prediction, drawing: str, value: str) -> Figure:
    return Figure(prediction.key, prediction.label, value, drawing=Markup(drawing))


def _histogram(
    prediction: Prediction, name: str, reference: np.ndarray, values: np.ndarray, x: Axis, label: str
) -> Figure:
    edges = np.linspace(x.low, x.high, _BINS + 1)
    image, field = (100 * np.histogram(array, edges)[0] / array.size for array in (reference, values))
    at = edges.repeat(2)[1:-1].tolist()
    drawing = plot(
        [
            Line("image", at, image.repeat(2).tolist(), area=True),
            Line(f"field {prediction.key}", at, field.repeat(2).tolist()),
        ],
        x,
        Axis(label, _MIN_PERCENT, 100.0, logarithmic=True),
        description=f"Histogram of the {name} of {prediction.label} over that of the image.",
    )
    return _method_plot(prediction, drawing, f"{name}: {np.minimum(image, field).sum():.0f} % in common")


def _root_mean_square(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _scale_end(value: float | np.floating) -> float:
    """Round the end of a scale to one digit, to be readable; at least 0.001, for flat images."""
    return float(f"{max(float(value), 1e-3):.1g}")


def _crop_around(row: int, column: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Place a square of pixels around one of them, moved inwards at the border."""
    height, width = min(_CROP, shape[0]), min(_CROP, shape[1])
    left = min(max(column - width // 2, 0), shape[1] - width)
    top = min(max(row - height // 2, 0), shape[0] - height)
    return left, top, left + width, top + height
