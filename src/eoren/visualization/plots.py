"""Line plots as inline SVG of a few kilobytes each (``plot.svg``), in the colours of the page, light or dark.

Each line carries CSS classes, so that a page styles one method alike in all its plots. Text and axes take the colour
of the surrounding text. Not drawn with matplotlib, which is an optional dependency, and whose SVG is larger and has
fixed colours.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count, groupby
from math import ceil, floor, isfinite, log10

from jinja2 import Environment, Template

_WIDTH, _HEIGHT = 300, 205
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 288, 8, 167  # of the area between the axes
# Clipping regions need ids that are unique within a page.
_clip_numbers = count()


@dataclass(frozen=True)
class Axis:
    """One axis of a plot."""

    label: str  # quantity and unit
    low: float
    high: float
    logarithmic: bool = False  # requires low > 0; lower values are drawn at low

    @classmethod
    def covering(cls, label: str, values: Iterable[float]) -> "Axis":
        """Make an axis that covers all finite values, with a margin of 5 % at both ends."""
        finite = [value for value in values if isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        margin = 0.05 * (high - low) or 0.5
        return cls(label, low - margin, high + margin)

    def share(self, value: float) -> float:
        """Compute the relative position of a value: 0 at the start, 1 at the end."""
        if self.logarithmic:
            return log10(max(value, self.low) / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Choose two to eight round numbers along the axis; all powers of ten on a logarithmic axis."""
        if self.logarithmic:
            powers = range(ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        step = nice_step((self.high - self.low) / 7)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]


@dataclass(frozen=True)
class Line:
    """One line of a plot."""

    style: str  # CSS classes
    x: Sequence[float]
    y: Sequence[float]  # values that are not finite leave a gap
    area: bool = False  # fill the area below the line instead


def plot(lines: Sequence[Line], x: Axis, y: Axis, *, description: str) -> str:
    """Draw a plot as an SVG element that scales with its column.

    Lines are clipped to the area between the axes; later ones cover earlier ones. The description is the text
    alternative for screen readers.
    """
    return _template().render(
        **{"width": _WIDTH, "height": _HEIGHT, "left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM},
        **{"clip": f"plot{next(_clip_numbers)}", "description": description, "x_label": x.label, "y_label": y.label},
        x_ticks=[(round(_across(x, tick), 1), _format(tick)) for tick in x.ticks()],
        y_ticks=[(round(_down(y, tick), 1), _format(tick)) for tick in y.ticks()],
        runs=[run for line in lines for run in _runs(line, x, y)],
    )


@cache
def _template() -> Template:
    return Environment(autoescape=True).from_string(files(__package__).joinpath("plot.svg").read_text("utf-8"))


def nice_step(step: float) -> float:
    """Round a positive step up to 1, 2 or 5 times a power of ten."""
    power = floor(log10(step) + 1e-9)
    mantissa = next(m for m in (1, 2, 5, 10) if m * 10.0**power >= step * (1 - 1e-9))
    # The quotient is exact where the product is not: 5 * 10**-2 differs from 0.05.
    return mantissa * 10.0**power if power >= 0 else mantissa / 10.0**-power


def _across(x: Axis, value: float) -> float:
    return _LEFT + x.share(value) * (_RIGHT - _LEFT)


def _down(y: Axis, value: float) -> float:
    return _BOTTOM - y.share(value) * (_BOTTOM - _TOP)


def _runs(line: Line, x: Axis, y: Axis) -> Iterator[tuple[str, str, str]]:
    """SVG element, style and points of every run of finite values."""
    points = zip(line.x, line.y, strict=True)
    for finite, run in groupby(points, lambda point: isfinite(point[0]) and isfinite(point[1])):
        if finite:
            # Some SVG renderers fail at large coordinates; the clipping region hides all that lies outside.
            corners = [(_across(x, at), min(max(_down(y, value), -_HEIGHT), 2 * _HEIGHT)) for at, value in run]
            if line.area:
                corners = [(corners[0][0], _BOTTOM), *corners, (corners[-1][0], _BOTTOM)]
            text = " ".join(f"{across:.1f},{down:.1f}" for across, down in corners)
            yield "polygon" if line.area else "polyline", line.style, text


def _format(value: float) -> str:
    # Hides rounding errors of step * number, and the sign of zero.
    return f"{float(f'{value:.6g}') + 0.0:g}".replace("-", "\N{MINUS SIGN}")
