import math
from xml.etree import ElementTree

import numpy as np
import pytest

from eoren.visualization.plots import Axis, Line, nice_step, plot

SVG = "{http://www.w3.org/2000/svg}"
X, Y = Axis("seconds", 0.0, 10.0), Axis("PSNR (dB)", 20.0, 40.0)


def parsed(*lines, x=X, y=Y, description="What it shows."):
    drawn = plot(lines, x, y, description=description)
    return ElementTree.fromstring(drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def line(style, x, y, **options):
    return Line(style, [float(value) for value in x], [float(value) for value in y], **options)


def coordinates(drawing, name="polyline"):
    return [
        np.array([[float(number) for number in point.split(",")] for point in line.get("points").split()])
        for line in drawing.iter(f"{SVG}{name}")
    ]


def texts(drawing):
    return [text.text for text in drawing.iter(f"{SVG}text")]


def test_points_lie_at_their_axis_positions():
    drawing = parsed(line("ours", [0, 10, 5], [20, 40, 30]))
    ((origin, corner, middle),) = coordinates(drawing)
    assert corner[0] > origin[0]
    assert corner[1] < origin[1]  # upwards
    np.testing.assert_allclose(middle, (origin + corner) / 2, atol=0.1)
    right, bottom = (float(number) for number in drawing.get("viewBox").split()[2:])
    assert 0 < corner[1] < origin[1] < bottom
    assert 0 < origin[0] < corner[0] < right


def test_ticks_are_labelled_at_their_coordinates():
    drawing = parsed(line("ours", [2, 8], [25, 35]))
    ((first, last),) = coordinates(drawing)
    labels = {text.text: text for text in drawing.iter(f"{SVG}text")}
    assert float(labels["2"].get("x")) == pytest.approx(first[0], abs=0.1)
    assert float(labels["8"].get("x")) == pytest.approx(last[0], abs=0.1)
    # The baseline of a label is a little below its tick.
    assert float(labels["25"].get("y")) == pytest.approx(first[1] + 4, abs=0.2)
    assert {"seconds", "PSNR (dB)"} <= set(labels)


@pytest.mark.parametrize("seed", range(20))
def test_ticks_are_few_and_round_and_cover_the_axis(seed):
    generator = np.random.default_rng(seed)
    low = generator.normal(0, 100) * 10.0 ** generator.integers(-3, 3)
    axis = Axis("", low, low + 10.0 ** generator.uniform(-3, 3))
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert round(steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9), 6) in (1, 2, 5)
    assert axis.low - 1e-6 * steps[0] <= ticks[0] < axis.low + steps[0] * 1.000001
    assert axis.high - steps[0] * 1.000001 < ticks[-1] <= axis.high + 1e-6 * steps[0]


def test_minus_signs_and_zero_are_typographic():
    assert texts(parsed(x=Axis("x", -0.3, 0.3), y=Axis("y", 0.0, 1.0)))[:7] == [
        "−0.3", "−0.2", "−0.1", "0", "0.1", "0.2", "0.3"
    ]  # fmt: skip


def test_logarithmic_axis():
    axis = Axis("", 0.01, 100.0, logarithmic=True)
    assert axis.ticks() == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert [axis.share(value) for value in (0.01, 1.0, 100.0)] == pytest.approx([0, 0.5, 1])
    assert axis.share(0.0) == 0


def test_values_that_are_not_finite_leave_gaps():
    nan, inf = math.nan, math.inf
    drawing = parsed(line("ours", [0, 1, 2, 3, 4, 5], [21, 22, nan, 24, inf, 26]))
    assert [len(line) for line in coordinates(drawing)] == [2, 1, 1]
    assert "nan" not in ElementTree.tostring(drawing, "unicode")


def test_areas_extend_to_the_axis():
    drawing = parsed(line("image", [0, 10], [30, 40], area=True))
    ((left, _, _, right),) = coordinates(drawing, "polygon")
    assert left[1] == right[1] == pytest.approx(coordinates(parsed(line("", [0], [20])))[0][0][1])


def test_lines_are_clipped_to_the_axes():
    drawing = parsed(line("ours", [0, 10], [20, 1e30]))
    assert np.abs(coordinates(drawing)[0]).max() < 1000
    (clip,) = drawing.iter(f"{SVG}clipPath")
    (group,) = drawing.iter(f"{SVG}g")
    assert group.get("clip-path") == f"url(#{clip.get('id')})"
    (other,) = parsed().iter(f"{SVG}clipPath")
    assert other.get("id") != clip.get("id")


def test_texts_are_escaped():
    drawing = parsed(x=Axis("a < b & c", 0.0, 1.0), description='"quoted" <b>')
    assert "a < b & c" in texts(drawing)
    assert (drawing.get("role"), drawing.get("aria-label")) == ("img", '"quoted" <b>')


def test_axes_cover_finite_values():
    axis = Axis.covering("", [3.0, math.nan, 5.0, -math.inf])
    assert axis.low < 3 < 5 < axis.high < 6
    for values in ([], [2.0], [math.nan]):
        axis = Axis.covering("", values)
        assert axis.low < axis.high


@pytest.mark.parametrize(("step", "expected"), [(1.0, 1.0), (1.01, 2.0), (0.2, 0.2), (0.0021, 0.005), (6e5, 1e6)])
def test_nice_steps(step, expected):
    assert nice_step(step) == expected
