"""The mean curves as a figure: bits per pixel against colour and gradient PSNR, side by side."""

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.rates.rows import MEASURES, Rows, names
from benchmarks.rates.summary import LABELS, RATES, has_curve, mean_curve, mean_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# One colour per family of rivals, of Okabe and Ito, which people with colour blindness can tell apart; variants
# differ in the stroke. The rivals come in the order of the legend.
STROKES = {
    "jpeg2000": ("#0072B2", "-"),
    "webp": ("#CC79A7", "-"),
    "avif4": ("#009E73", "-"),
    "avif6": ("#009E73", "--"),
    "avif6psnr": ("#009E73", ":"),
    "jpegxl": ("#6E6E6E", "-"),
    "jpeg444": ("#E69F00", "-"),
    "jpeg420": ("#E69F00", "--"),
}
# All other codecs are fields.
FIELD_COLORS = ("#C00000", "#4B1E78", "#000000", "#8C564B")
_TICKS = (0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24)
_FINE = [float(rate) for rate in np.geomspace(RATES[0], RATES[-1], 121)]


def draw(rows: Rows, titles: Callable[[str], str], path: Path) -> None:
    """Draw the mean curves, and write them as SVG and PNG next to the path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    codecs = names(rows, "codec")
    fields = [codec for codec in codecs if codec not in STROKES]
    pyplot.rcParams.update({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "rates"})
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 5.6), sharex=True, sharey=True, layout="constrained")
    for plot, measure in zip(axes, MEASURES, strict=True):
        for codec in [*fields, *(codec for codec in STROKES if codec in codecs)]:
            field = FIELD_COLORS[fields.index(codec) % len(FIELD_COLORS)] if codec in fields else None
            _draw_codec(plot, rows, codec, measure, titles(codec), field)
        # Quality is nearly straight over the logarithm of the rate, so that low rates are as legible as high ones.
        plot.set_xscale("log")
        ticks = [tick for tick in _TICKS if tick <= plot.get_xlim()[1]]
        plot.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        plot.minorticks_off()
        plot.yaxis.set_major_locator(matplotlib.ticker.MultipleLocator(2))
        plot.tick_params(length=0, labelleft=True)
        plot.set_xlabel("Bits per pixel")
        plot.set_title(f"{LABELS[measure]}, dB", loc="left", fontsize=10, fontweight="bold")
        plot.grid(color="#E6E6E6", linewidth=0.7)
        plot.set_axisbelow(True)
        plot.spines[["top", "right", "left"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels) or 1), frameon=False, handlelength=2.6
    )
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=160)
    pyplot.close(figure)


def _draw_codec(plot: "Axes", rows: Rows, codec: str, measure: str, title: str, field: str | None) -> None:
    """Draw one codec: its curve, or points where there are few settings; ``field`` is the colour of a field."""
    if not has_curve(rows, codec):
        points, stroke = mean_points(rows, codec, measure), "D"
    else:
        curve = zip(_FINE, mean_curve(rows, codec, measure, _FINE), strict=True)
        points, stroke = [point for point in curve if isfinite(point[1])], STROKES.get(codec, ("", "-"))[1]
    if points:
        color, width = (field, 2.6) if field else (STROKES[codec][0], 1.5)
        plot.plot(*zip(*points, strict=True), stroke, color=color, linewidth=width, markersize=6, label=title)
