"""The figures of a report: what networks say beside the image, on scales that all of them share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from scipy.ndimage import gaussian_filter

from eoren.experiments.trials import METRICS, Trial
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

Pixels = Float[np.ndarray, "height width channels"]
Slopes = Float[np.ndarray, "height width channels 2"]

ZOOM = 4
"""How many times larger the crop at an edge is shown."""
_CROP = 48
# Shares of the image's own slopes that an image, and a histogram, tell apart; what is beyond is at the end.
_LIGHT, _RANGE = 0.97, 0.999
_BINS = 64
# Per cent: logarithmic axes of histograms begin here.
_RAREST = 0.01
# A network that is far off would leave no room for the others.
_LOWEST, _HIGHEST = -0.5, 1.5


class Figure(NamedTuple):
    """One figure: an image at ``source``, or a drawing as SVG; who it shows, and a number or two."""

    style: str
    label: str
    value: str = ""
    source: str = ""
    alt: str = ""
    width: int = 0
    height: int = 0
    drawing: Markup = Markup()


@dataclass(frozen=True, eq=False)
class Said:
    """A trial, and what its network says at the pixel centres.

    Attributes:
        trial: that was run.
        color: ``(H, W, C)``, not clamped.
        gradient: ``(H, W, C, 2)``, intensity per pixel.
    """

    trial: Trial
    color: Pixels
    gradient: Slopes

    @classmethod
    def of(cls, trial: Trial) -> "Said":
        """Ask the network."""
        width, height = trial.field.size
        extent = (float(width), float(height))
        return cls(trial, *trial.field.sample(width, height, "color", "gradient", extent=extent))


class Panels:
    """Draws the figures of rounds of trials on one image.

    Args:
        image: ``(H, W, C)``, what was fitted.
        rounds: every trial there is, so that all share their scales.

    Attributes:
        own_gradient: ``(H, W, C, 2)``, the image's reference gradient, intensity per pixel.
        light: magnitude of the gradient at full lightness, intensity per pixel.
        hot: error at the end of the scale.
        row: of the image's strongest edge.
        column: likewise.
        box: ``(column0, row0, column1, row1)`` around it, in pixels, ends excluded.
    """

    def __init__(self, image: Pixels, rounds: Sequence[Sequence[Said]]) -> None:
        """Find the scales."""
        self._image = image
        self.own_gradient = pixel_gradient(image)
        magnitude = np.linalg.norm(brightness(self.own_gradient), axis=-1)
        # A flat image has no slopes to go by.
        self.light = _rounded(max(float(np.quantile(magnitude, _LIGHT)), 1e-3))
        self._steepest = _rounded(max(float(np.quantile(np.abs(self.own_gradient), _RANGE)), 1e-3))
        # The median: one method that is far off must not hide the differences between the others.
        worst = [np.quantile(error_map(said.color, image), 0.99) for each in rounds for said in each]
        self.hot = _rounded(max(float(np.median(worst)), 1e-3))
        # An edge is more than one pixel long.
        strongest = np.argmax(gaussian_filter(magnitude, 1.0, mode="constant"))
        self.row, self.column = (int(place) for place in np.unravel_index(strongest, magnitude.shape))
        self.box = _around(self.row, self.column, image.shape)

    def reconstructions(self, trials: Sequence[Said]) -> Iterator[Figure]:
        """The image, and what every network says."""
        yield self._picture("", "the picture", self._image, "The image itself.")
        for said in trials:
            last = said.trial.final
            value = f"PSNR {decibels(last.psnr)}"
            yield self._by(said, said.color, value, "Reconstruction")

    def gradients(self, trials: Sequence[Said]) -> Iterator[Figure]:
        """Direction and magnitude of the image's gradient and of every network's."""
        yield self._picture("", "the picture", direction_image(self.own_gradient, self.light), "Its own gradient.")
        for said in trials:
            value = f"gradient PSNR {decibels(said.trial.final.gradient_psnr)}"
            yield self._by(said, direction_image(said.gradient, self.light), value, "Gradient map")

    def errors(self, trials: Sequence[Said]) -> Iterator[Figure]:
        """Where every network errs."""
        for said in trials:
            error = error_map(said.color, self._image)
            value = f"half of the pixels below {np.median(error):.3f}, worst {error.max():.2f}"
            yield self._by(said, error_image(error, self.hot), value, "Error map")

    def crops(self, trials: Sequence[Said]) -> Iterator[Figure]:
        """The strongest edge enlarged: the pixels themselves, a spline through them, every network."""
        left, top, right, bottom = self.box
        squares = self._image[top:bottom, left:right].repeat(ZOOM, 0).repeat(ZOOM, 1)
        yield self._picture("", "the picture", squares, "The image's pixels as squares.", "pixels as squares")
        smooth = enlarge_by_spline(self._image, self.box, ZOOM)
        yield self._picture("", "cubic spline", smooth, "Cubic spline interpolation.", "through the pixels")
        height, width, _ = self._image.shape
        region = (left / width, top / height, right / width, bottom / height)
        for said in trials:
            enlarged = said.trial.field.render(ZOOM * (right - left), ZOOM * (bottom - top), region=region)
            yield self._by(said, enlarged, "", "Enlarged edge")

    def profiles(self, trials: Sequence[Said]) -> Iterator[Figure]:
        """Along the row and the column of the strongest edge: pixels, network, running sum of its gradient."""
        lines = []
        for axis, what in enumerate(("row", "column")):
            pixels = self._along(axis, self._image)
            for said in trials:
                total = running_sum(pixels[0], self._along(axis, said.gradient)[:, axis])
                lines.append((what, said, pixels, self._along(axis, said.color), total))
        everything = np.concatenate([line.clip(_LOWEST, _HIGHEST) for _, _, *three in lines for line in three])
        y = Axis.covering("brightness", everything.tolist())
        for what, said, pixels, color, total in lines:
            x = Axis("pixels from the " + ("left" if what == "row" else "top"), 0.0, float(len(pixels)))
            at = (np.arange(len(pixels)) + 0.5).tolist()
            drift = _root_mean_square(total - pixels)
            key, label = said.trial.method.key, said.trial.method.label
            drawing = plot(
                [
                    Line("picture", at, pixels.tolist()),
                    Line(f"sum {key}", at, total.tolist()),
                    Line(f"field {key}", at, color.tolist()),
                ],
                x,
                y,
                description=f"One {what} of the image beside {label}; the running sum of its gradient is off by "
                f"{drift:.3f} in the root mean square.",
            )
            yield self._drawn(said, drawing, f"{what}: running sum off by {drift:.3f}")

    def own_drifts(self) -> list[float]:
        """How far the running sums of the image's own gradient are off, along the row and the column."""
        rows = [(self._along(axis, self._image), self._along(axis, self.own_gradient)[:, axis]) for axis in (0, 1)]
        return [_root_mean_square(running_sum(pixels[0], slope) - pixels) for pixels, slope in rows]

    def _along(self, axis: int, values: np.ndarray) -> np.ndarray:
        """Brightness, or its gradient, along the row (axis 0 is x) or the column (1 is y) of the strongest edge."""
        place = np.s_[self.row, :] if axis == 0 else np.s_[:, self.column]
        return np.asarray(brightness(values)[place], np.float64)

    def histograms(self, trials: Sequence[Said]) -> Iterator[Figure]:
        """How often every value and every slope occurs."""
        colors = color_channels(self._image)
        edges = np.linspace(-0.1, 1.1, _BINS + 1)
        own = _shares(self._image[..., colors], edges)
        x, y = Axis("value", -0.1, 1.1), Axis("pixels (%)", _RAREST, 100.0, logarithmic=True)
        for said in trials:
            shares = _shares(said.color[..., colors], edges)
            yield self._histogram(said, "values", edges, own, shares, x, y)
        edges = np.linspace(-self._steepest, self._steepest, _BINS + 1)
        own = _shares(self.own_gradient[..., colors, :], edges)
        x = Axis("slope along x or y (intensity per pixel)", -self._steepest, self._steepest)
        y = Axis("slopes (%)", _RAREST, 100.0, logarithmic=True)
        for said in trials:
            shares = _shares(said.gradient[..., colors, :], edges)
            yield self._histogram(said, "pixel_gradient", edges, own, shares, x, y)

    def _histogram(
        self, said: Said, what: str, edges: np.ndarray, own: np.ndarray, shares: np.ndarray, x: Axis, y: Axis
    ) -> Figure:
        places = edges.repeat(2)[1:-1].tolist()
        drawing = plot(
            [
                Line("picture", places, own.repeat(2).tolist(), area=True),
                Line(f"field {said.trial.method.key}", places, shares.repeat(2).tolist()),
            ],
            x,
            y,
            description=f"Histogram of the {what} of {said.trial.method.label} over that of the image.",
        )
        common = np.minimum(own, shares).sum()
        return self._drawn(said, drawing, f"{what}: {common:.0f} % in common")

    def _by(self, said: Said, pixels: Pixels, value: str, what: str) -> Figure:
        method = said.trial.method
        alt = f"{what} of {method.label}" + (f": {value}." if value else ".")
        return self._picture(method.key, method.label, pixels, alt, value)

    def _picture(self, style: str, label: str, pixels: Pixels, alt: str, value: str = "") -> Figure:
        height, width, _ = pixels.shape
        return Figure(style, label, value, data_uri(pixels), alt, width, height)

    def _drawn(self, said: Said, drawing: str, value: str) -> Figure:
        method = said.trial.method
        return Figure(method.key, method.label, value, drawing=Markup(drawing))


def curves(trials: Sequence[Trial], over: str) -> Iterator[Figure]:
    """PSNR, gradient PSNR and SSIM as training went on.

    Args:
        trials: one line each.
        over: ``epoch`` or ``seconds``.
    """
    for name, label in METRICS.items():
        values = [[getattr(sample, name) for sample in trial.samples] for trial in trials]
        places = [[getattr(sample, over) for sample in trial.samples] for trial in trials]
        lines = [Line(trial.method.key, at, of) for trial, at, of in zip(trials, places, values, strict=True)]
        x = Axis("epochs" if over == "epoch" else "seconds of training", 0.0, max(max(at) for at in places) or 1.0)
        y = Axis.covering(label, (value for of in values for value in of))
        ends = ", ".join(f"{t.method.label} {of[-1]:.4g}" for t, of in zip(trials, values, strict=True))
        drawing = plot(lines, x, y, description=f"{label} over {x.label}. At the end: {ends}.")
        yield Figure("", f"{label.removesuffix(' (dB)')} over {x.label}", drawing=Markup(drawing))


def running_sum(first: float, slope: Float[np.ndarray, " length"]) -> Float[np.ndarray, " length"]:
    """What slopes at neighbouring pixels add up to, by the trapezoid rule.

    Args:
        first: value at the first pixel.
        slope: intensity per pixel.

    Example:
        >>> running_sum(0.5, np.array([0.1, 0.1, 0.3])).round(6).tolist()
        [0.5, 0.6, 0.8]
    """
    steps = (slope[1:] + slope[:-1]) / 2
    return first + np.concatenate([[0.0], np.cumsum(steps, dtype=np.float64)])


def _root_mean_square(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _rounded(value: float) -> float:
    """To one digit: ends of scales are read by people."""
    return float(f"{value:.1g}")


def decibels(value: float) -> str:
    """``28.31 dB``; a perfect match has no finite number."""
    return f"{value:.2f} dB" if np.isfinite(value) else "exact"


def _around(row: int, column: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A square of pixels around one of them, moved inwards at the border."""
    height, width = min(_CROP, shape[0]), min(_CROP, shape[1])
    left = min(max(column - width // 2, 0), shape[1] - width)
    top = min(max(row - height // 2, 0), shape[0] - height)
    return left, top, left + width, top + height


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Per cent of the values in each bin; those beyond the outer edges are in none."""
    return np.asarray(100 * np.histogram(values, edges)[0] / values.size)
