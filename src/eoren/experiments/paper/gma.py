"""Fig. 2 of the paper: a plain Sobel filter overestimates the derivative eightfold, the adjusted one does not.

Shown on a ramp of 3 x 3 pixels, whose derivative is known, and on a photograph, in comparison with the derivative of
the spline through its pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.integrate import cumulative_trapezoid

from eoren.evaluation.metrics import decibel
from eoren.experiments.datasets import square
from eoren.experiments.paper.experiment import Experiment
from eoren.experiments.paper.figures import figure, hide_axes, legend_below, show_image
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.experiments.results import Row, Table, markdown_table
from eoren.image.arrays import Gradient, Image
from eoren.image.gradients import STENCILS, adjusted_gradient, pixel_gradient
from eoren.image.io import read_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes


PHOTOGRAPH = "camera"  # of scikit-image, so that nothing is downloaded
_RAMP = (0.1, 0.2)
_BARE, _ADJUSTED, _TRUE = "#D55E00", "#0072B2", "#000000"


@dataclass(frozen=True)
class Protocol:
    """The side of the photograph, in pixels."""

    side: int

    def __str__(self) -> str:
        return f"{PHOTOGRAPH}, {self.side} x {self.side} pixels, gray, and a ramp of 3 x 3"


class _Measurements(NamedTuple):
    ramp: Image
    photograph: Image
    rows: list[Row]


def _measure(folder: Path, protocol: Protocol, seed: int, watch: ProgressCallback) -> _Measurements:
    x, y = np.meshgrid(np.arange(3.0), np.arange(3.0))
    ramp = (0.1 + _RAMP[0] * x + _RAMP[1] * y)[..., None]
    photograph = square(read_image(f"sample:{PHOTOGRAPH}"), protocol.side).astype(np.float64)
    table = Table(folder / "gma.csv", key=("image", "method", "filter", "seed"), protocol=str(protocol))
    images = {"ramp": ramp, PHOTOGRAPH: photograph}
    rows: list[Row] = []
    for (name, filter), _ in subtasks([(f"{f} on {name}", (name, f)) for name in images for f in STENCILS], watch):
        truth = _derivative_at_response(images[name], filter)
        for method in ("bare", "adjusted"):
            gradient = _filtered(images[name], filter, adjusted=method == "adjusted")
            rows.append({"image": name, "method": method, "filter": filter, "seed": seed, **_errors(gradient, truth)})
    table.add(rows)
    return _Measurements(ramp, photograph, rows)


def _filtered(image: Image, filter: str, *, adjusted: bool) -> Gradient:
    height, width, _ = image.shape
    return adjusted_gradient(image, filter, adjust="ramp" if adjusted else None, extent=(float(width), float(height)))


def _derivative_at_response(image: Image, filter: str) -> Gradient:
    """Compute the derivative at the position of a filter's response: between the pixels for forward differences."""
    truth = pixel_gradient(image)
    if not STENCILS[filter].offset:
        return truth
    # The mean of the neighbours' derivatives is close enough to compare scales half a pixel further.
    moved = truth.copy()
    moved[:, :-1, :, 0] = (truth[:, :-1, :, 0] + truth[:, 1:, :, 0]) / 2
    moved[:-1, :, :, 1] = (truth[:-1, :, :, 1] + truth[1:, :, :, 1]) / 2
    return moved


def _errors(gradient: Gradient, truth: Gradient) -> dict[str, float]:
    """Compute the factor between a filter's response and the derivative, by least squares, and the PSNR."""
    return {
        "scale": float((gradient * truth).sum() / (truth * truth).sum()),
        "gradient_psnr": decibel(float(np.mean(np.square(gradient - truth)))),
    }


def _draw_ramp(measurements: _Measurements, stem: Path) -> None:
    ramp = measurements.ramp
    panels = {
        "pixels f": ramp[..., 0],
        "true df/dx": np.full((3, 3), _RAMP[0]),
        "Sobel, bare": _filtered(ramp, "sobel", adjusted=False)[..., 0, 0],
        "Sobel, adjusted": _filtered(ramp, "sobel", adjusted=True)[..., 0, 0],
    }
    with figure(stem, (8.0, 2.7)) as drawing:
        for axes, (title, values) in zip(drawing.subplots(1, len(panels)), panels.items(), strict=True):
            axes.imshow(values, vmin=0, vmax=1, cmap="Blues")
            for (row, column), value in np.ndenumerate(values):
                color = "white" if value > 0.6 else "black"
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=color)
            hide_axes(axes)
            axes.set(title=title, xlabel="intensity" if title.startswith("pixels") else "intensity per pixel")


def _draw_photograph(measurements: _Measurements, stem: Path) -> None:
    image = measurements.photograph
    truth = pixel_gradient(image)
    gradients = {
        "Sobel, bare": (_filtered(image, "sobel", adjusted=False), _BARE),
        "Sobel, adjusted": (_filtered(image, "sobel", adjusted=True), _ADJUSTED),
    }
    with figure(stem, (9.0, 5.8)) as drawing:
        grid = drawing.add_gridspec(2, 1, height_ratios=(1, 1.1))
        upper, lower = (drawing.add_subfigure(grid[row]) for row in (0, 1))
        first, *maps = upper.subplots(1, 4)
        line, sums, scatter = lower.subplots(1, 3)
        show_image(first, image, PHOTOGRAPH)
        every = {"derivative": truth} | {name: gradient for name, (gradient, _) in gradients.items()}
        for axes, (name, gradient) in zip(maps, every.items(), strict=True):
            shown = axes.imshow(np.linalg.norm(gradient[..., 0, :], axis=-1), vmin=0, vmax=0.5, cmap="gray")
            hide_axes(axes)
            axes.set_title(name)
        upper.colorbar(shown, ax=[first, *maps], label="|gradient|, intensity per pixel", shrink=0.7)
        row = int(np.argmax(np.abs(truth[..., 0, 0]).max(1)))
        first.axhline(row, color=_BARE, linewidth=0.8)
        _draw_row(line, sums, image[row, :, 0], {name: (g[row, :, 0, 0], c) for name, (g, c) in gradients.items()})
        for name, (gradient, color) in gradients.items():
            scatter.plot(truth.ravel(), gradient.ravel(), ".", color=color, markersize=1, rasterized=True, label=name)
        scatter.axline((0, 0), slope=1, color=_TRUE, linewidth=0.8)
        scatter.set(xlabel="derivative, intensity per pixel", ylabel="filter, intensity per pixel")
        scatter.set_title("every pixel; black line: equal")
        legend_below(lower, sums, 3)


def _draw_row(
    line: "Axes", sums: "Axes", values: Float[np.ndarray, " width"], slopes: Mapping[str, tuple[np.ndarray, str]]
) -> None:
    """Draw the marked row, and the running sums of the filters' responses along x."""
    for axes in (line, sums):
        axes.plot(values, color=_TRUE, label="pixels")
        axes.set(xlabel="column (pixels)", ylabel="intensity")
    for name, (slope, color) in slopes.items():
        total = values[0] + cumulative_trapezoid(slope, initial=0)
        sums.plot(total, color=color, label=f"running sum: {name}")
        if "adjusted" in name:
            line.plot(total, color=color)
    line.set_title("the marked row, adjusted")
    sums.set_title("the same, with bare")


def _conclude(measurements: _Measurements) -> list[str]:
    by_key = {(row["image"], row["method"], row["filter"]): row for row in measurements.rows}
    lines = []
    for filter in STENCILS:
        cells = [f"{float(by_key['ramp', method, filter]['scale']):.3f}" for method in ("bare", "adjusted")]
        for method in ("bare", "adjusted"):
            row = by_key[PHOTOGRAPH, method, filter]
            cells += [f"{float(row['scale']):.3f}", f"{float(row['gradient_psnr']):.1f}"]
        lines.append([filter, *cells])
    header = ["filter", "ramp, bare", "ramp, adjusted", "photograph, bare", "dB", "photograph, adjusted", "dB"]
    text = (
        "Response of each filter as a multiple of the derivative, by least squares, and its PSNR against the "
        "derivative (intensity per pixel). The derivative of the ramp is known; that of the photograph is the "
        "derivative of the spline through its pixels. There even an adjusted filter stays below 1, the more so the "
        "more it smooths."
    )
    return [text, markdown_table(header, lines), "![Nine pixels](gma.png)", "![A photograph](gma-photograph.png)"]


EXPERIMENT = Experiment(
    name="gma",
    title="Gradient with Magnitude Adjustment: Fig. 2",
    datasets=(),
    protocols={"small": Protocol(256), "paper": Protocol(256)},
    measure=_measure,
    figures={"": _draw_ramp, "-photograph": _draw_photograph},
    conclude=_conclude,
)
