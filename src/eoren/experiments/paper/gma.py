"""Fig. 2 of the paper: a bare Sobel filter says eight times too much, the adjusted one says the derivative.

Shown on a ramp of 3 x 3 pixels, where the truth is known, and on a photograph, beside the derivative of the spline
through its pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from eoren.evaluation.metrics import decibel
from eoren.experiments.datasets import square
from eoren.experiments.methods import Scale
from eoren.experiments.panels import running_sum
from eoren.experiments.paper.figures import bare, figure, picture
from eoren.experiments.results import Row, Table, Watch, markdown_table, summary
from eoren.experiments.trials import Image
from eoren.fs.files import write_text
from eoren.image.gradients import STENCILS, adjusted_gradient, pixel_gradient
from eoren.image.io import read_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Gradient = Float[np.ndarray, "height width 1 2"]

PHOTOGRAPH = "camera"
"""It comes with scikit-image: nothing is downloaded."""

DATASETS: tuple[str, ...] = ()
"""What has to be at hand."""

_RAMP = (0.1, 0.2)
_BARE, _ADJUSTED, _TRUE = "#D55E00", "#0072B2", "#000000"


@dataclass(frozen=True)
class Protocol:
    """The side of the photograph, in pixels."""

    side: int

    def __str__(self) -> str:
        return f"{PHOTOGRAPH}, {self.side} x {self.side} pixels, gray, and a ramp of 3 x 3"


PROTOCOLS: Mapping[Scale, Protocol] = MappingProxyType({"small": Protocol(256), "paper": Protocol(256)})


def reproduce(folder: Path, protocol: Protocol, *, seed: int, watch: Watch, command: str) -> Path:
    """Measure every filter, bare and adjusted, draw ``gma.png`` and ``gma-photograph.png`` (and SVG), and conclude.

    Args:
        folder: where everything is written.
        protocol: of :data:`PROTOCOLS`, or one's own.
        seed: for the record: nothing here is random.
        watch: see :data:`eoren.experiments.results.Watch`.
        command: that was given, for the record.

    Returns:
        The Markdown file.
    """
    x, y = np.meshgrid(np.arange(3.0), np.arange(3.0))
    ramp = (0.1 + _RAMP[0] * x + _RAMP[1] * y)[..., None]
    photograph = square(read_image(f"sample:{PHOTOGRAPH}"), protocol.side).astype(np.float64)
    table = Table(folder / "gma.csv", key=("image", "method", "filter", "seed"), protocol=str(protocol))
    rows: list[Row] = []
    for name, image in (("ramp", ramp), (PHOTOGRAPH, photograph)):
        for filter in STENCILS:
            if watch(f"{filter} on {name}", len(rows) / (4 * len(STENCILS))):
                raise KeyboardInterrupt
            truth = _at(image, filter)
            for method in ("bare", "adjusted"):
                found = _filtered(image, filter, adjusted=method == "adjusted")
                rows.append(
                    {"image": name, "method": method, "filter": filter, "seed": seed, **_errors(found, truth)}
                )
    table.add(rows)
    _draw_ramp(ramp, folder / "gma")
    _draw_photograph(photograph, folder / "gma-photograph")
    path = folder / "gma.md"
    write_text(path, _concluded(rows, protocol, command))
    return path


def _filtered(image: Image, filter: str, *, adjusted: bool) -> Gradient:
    """Per pixel."""
    height, width, _ = image.shape
    return adjusted_gradient(image, filter, adjust="ramp" if adjusted else None, extent=(float(width), float(height)))


def _at(image: Image, filter: str) -> Gradient:
    """The derivative where the filter's response belongs, per pixel: between the pixels for forward differences."""
    truth = pixel_gradient(image)
    if not STENCILS[filter].offset:
        return truth
    # Half a pixel on, the mean of the neighbours' derivatives is near enough to compare scales.
    moved = truth.copy()
    moved[:, :-1, :, 0] = (truth[:, :-1, :, 0] + truth[:, 1:, :, 0]) / 2
    moved[:-1, :, :, 1] = (truth[:-1, :, :, 1] + truth[1:, :, :, 1]) / 2
    return moved


def _errors(found: Gradient, truth: Gradient) -> dict[str, float]:
    """How many times the derivative the filter says, by least squares, and how far from it."""
    return {
        "scale": float((found * truth).sum() / (truth * truth).sum()),
        "gradient_psnr": decibel(float(np.mean(np.square(found - truth)))),
    }


def _draw_ramp(ramp: Image, stem: Path) -> None:
    """Fig. 2: nine pixels with their numbers."""
    panels = {
        "pixels f": ramp[..., 0],
        "true df/dx": np.full((3, 3), _RAMP[0]),
        "Sobel, bare": _filtered(ramp, "sobel", adjusted=False)[..., 0, 0],
        "Sobel, adjusted": _filtered(ramp, "sobel", adjusted=True)[..., 0, 0],
    }
    with figure(stem, (8.0, 2.7)) as drawn:
        for axes, (title, values) in zip(drawn.subplots(1, len(panels)), panels.items(), strict=True):
            axes.imshow(values, vmin=0, vmax=1, cmap="Blues")
            for (row, column), value in np.ndenumerate(values):
                color = "white" if value > 0.6 else "black"
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=color)
            bare(axes)
            axes.set_title(title)
            axes.set_xlabel("intensity" if title.startswith("pixels") else "intensity per pixel")


def _draw_photograph(image: Image, stem: Path) -> None:
    truth = pixel_gradient(image)
    found = {
        "Sobel, bare": (_filtered(image, "sobel", adjusted=False), _BARE),
        "Sobel, adjusted": (_filtered(image, "sobel", adjusted=True), _ADJUSTED),
    }
    with figure(stem, (9.0, 5.8)) as drawn:
        grid = drawn.add_gridspec(2, 1, height_ratios=(1, 1.1))
        upper, lower = (drawn.add_subfigure(grid[row]) for row in (0, 1))
        first, *maps = upper.subplots(1, 4)
        line, sums, scatter = lower.subplots(1, 3)
        picture(first, image, PHOTOGRAPH)
        every = {"derivative": truth} | {name: gradient for name, (gradient, _) in found.items()}
        for axes, (name, gradient) in zip(maps, every.items(), strict=True):
            shown = axes.imshow(np.linalg.norm(gradient[..., 0, :], axis=-1), vmin=0, vmax=0.5, cmap="gray")
            bare(axes)
            axes.set_title(name)
        upper.colorbar(shown, ax=[first, *maps], label="|gradient|, intensity per pixel", shrink=0.7)
        row = int(np.argmax(np.abs(truth[..., 0, 0]).max(1)))
        first.axhline(row, color=_BARE, linewidth=0.8)
        _draw_row(line, sums, image[row, :, 0], {name: (g[row, :, 0, 0], c) for name, (g, c) in found.items()})
        for name, (gradient, color) in found.items():
            scatter.plot(truth.ravel(), gradient.ravel(), ".", color=color, markersize=1, rasterized=True, label=name)
        scatter.axline((0, 0), slope=1, color=_TRUE, linewidth=0.8)
        scatter.set_xlabel("derivative, intensity per pixel")
        scatter.set_ylabel("filter, intensity per pixel")
        scatter.set_title("every pixel; black line: equal")
        lower.legend(*sums.get_legend_handles_labels(), ncols=3, loc="outside lower center")


def _draw_row(
    line: "Axes", sums: "Axes", values: Float[np.ndarray, " width"], found: Mapping[str, tuple[np.ndarray, str]]
) -> None:
    """The marked row, and what the running sums of the filters' d/dx make of it."""
    for axes in (line, sums):
        axes.plot(values, color=_TRUE, label="pixels")
        axes.set_xlabel("column (pixels)")
        axes.set_ylabel("intensity")
    for name, (slope, color) in found.items():
        total = running_sum(float(values[0]), slope)
        sums.plot(total, color=color, label=f"running sum: {name}")
        if "adjusted" in name:
            line.plot(total, color=color)
    line.set_title("the marked row, adjusted")
    sums.set_title("the same, bare too")


def _concluded(rows: list[Row], protocol: Protocol, command: str) -> str:
    lines = []
    for filter in STENCILS:
        cells = []
        for image in ("ramp", PHOTOGRAPH):
            for method in ("bare", "adjusted"):
                (row,) = (r for r in rows if (r["image"], r["method"], r["filter"]) == (image, method, filter))
                cells.append(f"{float(row['scale']):.3f}")
                if image == PHOTOGRAPH:
                    cells.append(f"{float(row['gradient_psnr']):.1f}")
        lines.append([filter, *cells])
    header = ["filter", "ramp, bare", "ramp, adjusted", "photograph, bare", "dB", "photograph, adjusted", "dB"]
    text = (
        "How many times the derivative each filter says, by least squares, and its PSNR against the derivative "
        "(intensity per pixel). The derivative is known on the ramp; on the photograph it is that of the spline "
        "through the pixels. There even an adjusted filter stays below 1, the more the more it smooths."
    )
    parts = [text, markdown_table(header, lines), "![Nine pixels](gma.png)", "![A photograph](gma-photograph.png)"]
    return summary("Gradient with Magnitude Adjustment: Fig. 2", command, str(protocol), parts)
