"""Line plots as inline SVG: a few kilobytes each, and their colours are the page's, in dark and light.

What a line looks like is a CSS class of the page, so that one method looks the same in every plot. Text and axes take
the colour of the text around them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count, groupby
from math import ceil, floor, isfinite, log10

_WIDTH, _HEIGHT = 300.0, 205.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 8.0, 38.0
_TICK = 4.0
# Every plot of a page needs a clipping region of a name of its own.
_NUMBER = count()


@dataclass(frozen=True)
class Axis:
    """What runs along one side of a plot.

    Attributes:
        label: what it is, with its unit.
        low: value where it begins.
        high: value where it ends, above ``low``.
        logarithmic: ticks at powers of ten; ``low`` is above zero then, and what is below is drawn there.
    """

    label: str
    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def covering(cls, label: str, values: Iterable[float]) -> "Axis":
        """An axis that shows all finite values, with a little room.

        Example:
            >>> Axis.covering("PSNR (dB)", [20.0, 30.0, float("inf")])
            Axis(label='PSNR (dB)', low=19.5, high=30.5, logarithmic=False)
        """
        finite = [value for value in values if isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        room = 0.05 * (high - low) or 0.5
        return cls(label, low - room, high + room)

    def share(self, value: float) -> float:
        """How far along the axis a value lies: 0 at the beginning, 1 at the end."""
        if self.logarithmic:
            value = max(value, self.low)
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers along the axis, three to seven of them; powers of ten on a logarithmic one."""
        if self.logarithmic:
            powers = range(ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        step = nice((self.high - self.low) / 7)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        style: CSS classes.
        x: where.
        y: what is there. A value that is not finite leaves a gap.
        area: fill what lies below it instead.
    """

    style: str
    x: Sequence[float]
    y: Sequence[float]
    area: bool = False


def plot(lines: Sequence[Line], x: Axis, y: Axis, *, description: str) -> str:
    """A plot as an SVG element that scales with its column.

    Args:
        lines: drawn in order; what leaves the axes is cut off.
        x: to the right.
        y: upwards.
        description: what it shows, in words, for those who do not see it.

    Returns:
        ``<svg>...</svg>``.

    Example:
        >>> X, Y = Axis("seconds", 0.0, 1.0), Axis("SSIM", 0.0, 1.0)
        >>> drawn = plot([Line("ours", [0.0, 1.0], [0.2, 0.4])], X, Y, description="A line.")
        >>> drawn.startswith("<svg"), drawn.count("<polyline")
        (True, 1)
    """
    clip = f"plot{next(_NUMBER)}"
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(description)}">',
        f'<clipPath id="{clip}"><rect x="{_LEFT:g}" y="{_TOP - 1:g}" width="{right - _LEFT:g}" '
        f'height="{bottom - _TOP + 2:g}"/></clipPath>',
        *_vertical_grid(x),
        *_horizontal_grid(y),
        f'<g clip-path="url(#{clip})">',
        *(drawn for line in lines for drawn in _drawn(line, x, y)),
        "</g>",
        f'<path class="axis" d="M{_LEFT:g} {_TOP:g}V{bottom:g}H{right:g}"/>',
        f'<text x="{(_LEFT + right) / 2:g}" y="{_HEIGHT - 6:g}" text-anchor="middle">{escape(x.label)}</text>',
        f'<text transform="translate(11 {(_TOP + bottom) / 2:g}) rotate(-90)" '
        f'text-anchor="middle">{escape(y.label)}</text>',
        "</svg>",
    ]
    return "\n".join(parts)


def nice(step: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is no smaller than a step above zero.

    Example:
        >>> nice(0.03), nice(20.0), nice(51.0)
        (0.05, 20.0, 100.0)
    """
    power = floor(log10(step) + 1e-9)
    mantissa = next(m for m in (1, 2, 5, 10) if m * 10.0**power >= step * (1 - 1e-9))
    # Not a product where a quotient is exact: 5 * 10**-2 is not the number that is written 0.05.
    return mantissa * 10.0**power if power >= 0 else mantissa / 10.0**-power


def _left(x: Axis, value: float) -> float:
    return _LEFT + x.share(value) * (_WIDTH - _RIGHT - _LEFT)


def _down(y: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - y.share(value) * (_HEIGHT - _BOTTOM - _TOP)


def _vertical_grid(x: Axis) -> Iterable[str]:
    bottom = _HEIGHT - _BOTTOM
    for tick in x.ticks():
        at = _left(x, tick)
        yield f'<path class="grid" d="M{at:.1f} {_TOP:g}V{bottom + _TICK:g}"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 16:g}" text-anchor="middle">{_number(tick)}</text>'


def _horizontal_grid(y: Axis) -> Iterable[str]:
    for tick in y.ticks():
        at = _down(y, tick)
        yield f'<path class="grid" d="M{_LEFT - _TICK:g} {at:.1f}H{_WIDTH - _RIGHT:g}"/>'
        yield f'<text x="{_LEFT - 6:g}" y="{at + 4:.1f}" text-anchor="end">{_number(tick)}</text>'


def _drawn(line: Line, x: Axis, y: Axis) -> Iterable[str]:
    """One element for every stretch of finite values."""
    points = list(zip(line.x, line.y, strict=True))
    for finite, stretch in groupby(points, lambda point: isfinite(point[0]) and isfinite(point[1])):
        if finite:
            places = [(_left(x, at), _within(_down(y, value))) for at, value in stretch]
            if line.area:
                bottom = _HEIGHT - _BOTTOM
                places = [(places[0][0], bottom), *places, (places[-1][0], bottom)]
            name = "polygon" if line.area else "polyline"
            corners = " ".join(f"{at:.1f},{down:.1f}" for at, down in places)
            yield f'<{name} class="{escape(line.style)}" points="{corners}"/>'


def _within(down: float) -> float:
    """Far outside is as good as just outside: some programs that show SVG fail at large numbers."""
    return min(max(down, -_HEIGHT), 2 * _HEIGHT)


def _number(value: float) -> str:
    # Rounding of step * number must not show, and zero has no sign.
    return f"{float(f'{value:.6g}') + 0.0:g}".replace("-", "−")
