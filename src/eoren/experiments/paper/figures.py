"""One look for all figures: readable in print and by the colour-blind, with units on every axis."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from jaxtyping import Float

from eoren.errors import EorenError
from eoren.experiments.results import interval
from eoren.fs.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS: Mapping[str, str] = MappingProxyType(
    {"gradient": "#999999", "pixel": "#0072B2", "eoren": "#D55E00", "ours": "#009E73"}
)
"""Of the methods: from the palette of Okabe and Ito (2008), made to be told apart by everyone."""

MARKERS: Mapping[str, str] = MappingProxyType({"gradient": "v", "pixel": "s", "eoren": "o", "ours": "D"})
"""Likewise, where colour is not enough."""

_STYLE: dict[str, Any] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure everywhere
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
    """A figure that is written as ``stem.png`` and ``stem.svg`` at the end.

    Args:
        stem: path without suffix.
        size: width and height in inches.

    Raises:
        EorenError: matplotlib is missing, or the place cannot be written to.
    """
    check()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(cast("Any", _STYLE)):
        drawn = Figure(figsize=size)
        yield drawn
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            data = io.BytesIO()  # what encodes PNG does not notice when a disk is full
            drawn.savefig(data, format=suffix[1:], dpi=200, metadata=metadata)
            with atomic_path(stem.with_name(stem.name + suffix)) as path:
                path.write_bytes(data.getbuffer())


def check() -> None:
    """Say now if matplotlib is missing, before hours of work.

    Raises:
        EorenError: so.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise EorenError("figures need matplotlib; pip install 'eoren[experiments]'") from None


def picture(axes: "Axes", image: np.ndarray, title: str = "", note: str = "") -> None:
    """A gray or RGB image, 0 black and 1 white, with a title above and a note below."""
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, vmin=0, vmax=1)
    bare(axes)
    axes.set_title(title)
    axes.set_xlabel(note)


def bare(axes: "Axes") -> None:
    """No ticks, no grid, no frame: for images."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def curve(
    axes: "Axes",
    x: Sequence[float],
    values: Float[np.ndarray, "repeats points"],
    key: str,
    label: str,
    *,
    band: Literal["interval", "range"] = "interval",
) -> None:
    """A mean with a band around it.

    Args:
        axes: where to draw.
        x: of the points.
        values: whose mean over repeats is drawn.
        key: of the method, for its colour and marker.
        label: for the legend.
        band: the mean's 95 % confidence interval; or, where repeats are few, from the least to the greatest.
    """
    axes.plot(x, values.mean(0), color=COLORS[key], marker=MARKERS[key], markersize=4, label=label)
    if len(values) > 1:
        found = [interval(column.tolist()) for column in values.T]
        low, high = values.min(0), values.max(0)
        if band == "interval":
            low, high = np.array([each.low for each in found]), np.array([each.high for each in found])
        axes.fill_between(x, low, high, color=COLORS[key], alpha=0.2, linewidth=0)
