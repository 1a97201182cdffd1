"""Style and elements of the figures: readable in print and with colour blindness, units on every axis."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from jaxtyping import Float

from eoren.errors import EorenError
from eoren.experiments.results import interval
from eoren.fs.files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Colours and markers of the methods; the palette of Okabe and Ito (2008) is safe with colour blindness.
COLORS: Mapping[str, str] = {"gradient": "#999999", "pixel": "#0072B2", "eoren": "#D55E00", "ours": "#009E73"}
ZERO_LINE: Mapping[str, Any] = {"color": "#333333", "linewidth": 0.8}
_MARKERS = {"gradient": "v", "pixel": "s", "eoren": "o", "ours": "D"}
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",  # included in matplotlib, so figures are the same everywhere
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "svg.fonttype": "path",
    "svg.hashsalt": "eoren",
}


@contextmanager
def figure(stem: Path, size: tuple[float, float]) -> Iterator["Figure"]:
    """Create a figure of a size in inches, and write it as ``stem.png`` and ``stem.svg`` at the end."""
    check_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(cast("Any", _STYLE)):
        drawing = Figure(figsize=size)
        yield drawing
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            data = io.BytesIO()  # the PNG encoder does not report a full disk
            drawing.savefig(data, format=suffix[1:], dpi=200, metadata=metadata)
            write_file(stem.with_name(stem.name + suffix), data.getbuffer())


def check_matplotlib() -> None:
    """Check that matplotlib is installed, before hours of work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise EorenError("figures need matplotlib; pip install 'eoren[experiments]'") from None


def show_image(axes: "Axes", image: np.ndarray, title: str = "", note: str = "") -> None:
    """Show a gray or RGB image, 0 black and 1 white, with a title above and a note below."""
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, vmin=0, vmax=1)
    hide_axes(axes)
    axes.set(title=title, xlabel=note)


def hide_axes(axes: "Axes") -> None:
    """Remove ticks, grid and frame, for images."""
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def label_rows(column: Iterable["Axes"], labels: Iterable[str]) -> None:
    """Label rows of images at the left of their first column, in two lines if a label contains " + "."""
    for axes, label in zip(column, labels, strict=True):
        axes.set_ylabel(label.replace(" + ", "\n+ "), rotation=0, ha="right", va="center")


def legend_below(drawing: "Figure | SubFigure", axes: "Axes", columns: int = 4) -> None:
    """Draw the legend of some axes below the whole figure."""
    drawing.legend(*axes.get_legend_handles_labels(), ncols=columns, loc="outside lower center")


def curve(
    axes: "Axes",
    x: Sequence[float],
    values: Float[np.ndarray, "repeats points"],
    key: str,
    label: str,
    *,
    band: Literal["interval", "range"] = "interval",
) -> None:
    """Draw the mean over the repeats in the style of a method.

    The band is the mean's 95 % confidence interval, or, for few repeats, the range from minimum to maximum.
    """
    axes.plot(x, values.mean(0), color=COLORS[key], marker=_MARKERS[key], markersize=4, label=label)
    if len(values) > 1:
        low, high = values.min(0), values.max(0)
        if band == "interval":
            _, low, high, _ = np.transpose([interval(column.tolist()) for column in values.T])
        axes.fill_between(x, low, high, color=COLORS[key], alpha=0.2, linewidth=0)
