import json

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize_scalar

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling
from eoren.viewer.catalog import FieldEntry
from eoren.viewer.edge_profile import edge_profile

SIDE, FREQUENCY, TURN = 40, 0.2, 0.4  # pixels, radians per pixel, radians


def phase(x, y, at):
    """Phase of a wave across edges, whose steepest line passes through a point."""
    return FREQUENCY * ((x - at[0]) * np.cos(TURN) + (y - at[1]) * np.sin(TURN))


def wave(at):
    """A field that is a sine wave: one neuron of one network. Its colours are 0.5 + 0.3 sin(phase)."""
    half = SIDE / 2  # the network's coordinates are -1 and 1 at the borders
    first, last = torch.zeros(1, 2, 16), torch.zeros(1, 16, 3)
    first[0, :, 0] = FREQUENCY * half * torch.tensor([np.cos(TURN), np.sin(TURN)])
    last[0, 0] = 0.3
    bias = torch.zeros(1, 1, 16)
    bias[0, 0, 0] = phase(half, half, at)
    siren = Siren((first, last), (bias, torch.zeros(1, 1, 3)), (1.0,))
    tuning = Tuning(torch.ones(1, 1, 3), torch.full((1, 1, 3), 0.5))
    return Field(SirenMosaic(siren, tuning, Tiling.single(SIDE, SIDE)))


@pytest.fixture
def pixels():
    """Pixels of the wave through (20.37, 18.81), plus noise."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    noise = np.random.default_rng(0).normal(0, 0.01, (SIDE, SIDE))
    return np.float32(0.5 + 0.3 * np.sin(phase(x, y, (20.37, 18.81))) + noise)[..., None].repeat(3, 2)


def crossing(line, at):
    """Distance, in pixels along a line, to where the wave is steepest: its phase is zero."""
    x0, y0, x1, y1 = np.array(line) * SIDE
    begin, end = phase(x0, y0, at), phase(x1, y1, at)
    assert begin < 0 < end
    return -begin / (end - begin) * np.hypot(x1 - x0, y1 - y0)


@pytest.mark.parametrize("line", [(0.3, 0.4, 0.7, 0.4), (0.5, 0.3, 0.5, 0.62), (0.41, 0.35, 0.63, 0.55)])
def test_the_edge_of_a_field_to_a_hundredth_of_a_pixel(line):
    for at in np.random.default_rng(1).uniform(19, 21, (6, 2)):
        edge = edge_profile(FieldEntry("a", "a", wave(at), ""), line)["edges"]["field"]
        assert edge["s"] == pytest.approx(crossing(line, at), abs=0.01)
        assert phase(edge["x"], edge["y"], at) == pytest.approx(0, abs=0.01 * FREQUENCY)
        along = np.array([line[2] - line[0], line[3] - line[1]]) / np.hypot(line[2] - line[0], line[3] - line[1])
        steepest = 0.3 * FREQUENCY * along @ [np.cos(TURN), np.sin(TURN)]
        assert edge["slope"] == pytest.approx(steepest, rel=1e-4)


def test_the_edge_of_the_spline_agrees_with_scipy(pixels):
    line = (0.41, 0.35, 0.63, 0.55)
    profile = edge_profile(FieldEntry("a", "a", wave((20.37, 18.81)), "", pixels), line)
    x0, y0, x1, y1 = np.array(line) * SIDE
    length = np.hypot(x1 - x0, y1 - y0)

    def value(s):
        x, y = x0 + s / length * (x1 - x0), y0 + s / length * (y1 - y0)
        return map_coordinates(pixels[..., 0].astype(float), [[y - 0.5], [x - 0.5]], order=3, mode="mirror")[0]

    def steepness(s):
        return (value(s + 1e-3) - value(s - 1e-3)) / 2e-3

    s = np.linspace(0.01, length - 0.01, 800)
    coarse = s[np.argmax([steepness(at) for at in s])]
    best = minimize_scalar(
        lambda at: -steepness(at), bounds=(coarse - 0.05, coarse + 0.05), options={"xatol": 1e-4}, method="bounded"
    )
    assert profile["edges"]["spline"]["s"] == pytest.approx(best.x, abs=0.01)
    assert profile["edges"]["spline"]["slope"] == pytest.approx(-best.fun, rel=1e-3)


def test_the_edge_of_the_spline_is_the_one_near_that_of_the_field(pixels):
    """A stronger edge elsewhere, which the field does not have, is another edge."""
    pixels[:, 30:] = 1.0
    profile = edge_profile(FieldEntry("a", "a", wave((20.37, 18.81)), "", pixels), (0.35, 0.47, 0.85, 0.47))
    edges = profile["edges"]
    assert np.argmax(np.abs(profile["curves"]["spline"]["slope"])) * profile["length"] / len(profile["s"]) > 14
    assert edges["spline"]["s"] == pytest.approx(edges["field"]["s"], abs=2)


def test_curves_are_those_of_field_spline_and_pixels(pixels):
    at, line = (20.37, 18.81), (0.3, 0.4, 0.7, 0.45)
    profile = json.loads(json.dumps(edge_profile(FieldEntry("a", "a", wave(at), "", pixels), line), allow_nan=False))
    x, y, s = (np.array(profile[name]) for name in "xys")
    assert profile["length"] == pytest.approx(np.hypot(0.4, 0.05) * SIDE)
    assert (s[0], s[-1]) == (0, pytest.approx(profile["length"]))
    assert len(s) == np.ceil(16 * profile["length"]) + 1
    np.testing.assert_allclose(np.hypot(x - x[0], y - y[0]), s, atol=1e-9)
    curves = profile["curves"]
    expected = 0.5 + 0.3 * np.sin(phase(x, y, at))
    np.testing.assert_allclose(curves["field"]["value"], expected, atol=1e-5)
    np.testing.assert_allclose(curves["field"]["slope"], np.gradient(expected, s, edge_order=2), atol=2e-4)
    np.testing.assert_allclose(curves["field"]["channels"], expected[:, None].repeat(3, 1), atol=1e-5)
    by_scipy = map_coordinates(pixels[..., 0], [y - 0.5, x - 0.5], order=3, mode="mirror")
    np.testing.assert_allclose(curves["spline"]["value"], by_scipy, atol=1e-4)
    np.testing.assert_allclose(curves["spline"]["slope"], np.gradient(by_scipy, s, edge_order=2), atol=2e-3)
    np.testing.assert_allclose(curves["pixels"]["value"], pixels[y.astype(int), x.astype(int), 0], atol=1e-6)
    assert "slope" not in curves["pixels"]


def test_there_is_no_edge_where_nothing_changes_fastest():
    # Too faint, and steeper at an end than between the ends.
    along_the_wave = (0.4 + 0.2 * np.sin(TURN), 0.5 - 0.2 * np.cos(TURN), 0.4, 0.5)
    for line in (along_the_wave, (0.55, 0.5, 0.7, 0.5)):
        profile = edge_profile(FieldEntry("a", "a", wave((20, 20)), ""), line)
        assert profile["edges"] == {"field": None}
        assert list(profile["curves"]) == ["field"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ((0.5, 0.5, 0.5, 0.5), "at least 0.01 pixels"),
        ((0.5, 0.5, 1.1, 0.5), "unit square"),
        ((0.5, float("nan"), 0.6, 0.5), "unit square"),
    ],
)
def test_lines_without_length_or_outside_are_refused(line, message):
    with pytest.raises(EorenError, match=message):
        edge_profile(FieldEntry("a", "a", wave((20, 20)), ""), line)


def test_ends_at_the_corners(pixels):
    profile = edge_profile(FieldEntry("a", "a", wave((20.37, 18.81)), "", pixels), (0.0, 0.0, 1.0, 1.0))
    assert len(profile["s"]) == np.ceil(16 * SIDE * np.sqrt(2)) + 1
    assert profile["edges"]["field"] is not None
