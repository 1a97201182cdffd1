import re

import numpy as np
import pytest
import torch
from scipy.integrate import cumulative_trapezoid

from eoren.experiments.methods import methods
from eoren.experiments.panels import ZOOM, Panels, Said, curves, decibels, running_sum
from eoren.experiments.trials import Sample, Trial
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

METHOD = methods("small")["eoren"]


def trial(width, height, channels, method=METHOD, psnr=30.0):
    generator = torch.Generator().manual_seed(0)
    siren = Siren.init(1, width=5, depth=2, channels=channels, omega_first=5.0, omega_hidden=5.0, generator=generator)
    tuning = Tuning(torch.full((1, 1, channels), 0.3), torch.full((1, 1, channels), 0.5))
    samples = tuple(Sample(float(k), k / 4, psnr - 4 + k, 20.0 + k, 0.8 + k / 40) for k in range(5))
    return Trial(method, Field(SirenMosaic(siren, tuning, Tiling.single(width, height))), samples, 0)


def said(image, **options):
    height, width, channels = image.shape
    return Said.of(trial(width, height, channels, **options))


def step(rows=20, columns=60, at=45):
    image = np.random.default_rng(0).normal(0.5, 0.01, (rows, columns, 3)).astype(np.float32)
    image[:, at:] += 0.4
    return image.clip(0, 1)


def test_what_is_said_is_what_the_field_says():
    image = step()
    found = said(image)
    field = found.trial.field
    xy = np.array([(7.5 / 60, 3.5 / 20)])
    np.testing.assert_allclose(found.color[3, 7], field.color(xy)[0], atol=1e-6)
    np.testing.assert_allclose(found.gradient[3, 7], field.gradient(xy)[0] / [60, 20], atol=1e-6)


def test_strongest_edge_and_the_crop_around_it():
    image = step()
    panels = Panels(image, [[said(image)]])
    assert panels.column in (44, 45)
    left, top, right, bottom = panels.box
    assert 0 <= left <= panels.column < right <= 60
    assert (top, bottom) == (0, 20)
    assert right - left == 48
    assert 0.1 < panels.light < 0.5


def test_edges_within_the_picture_come_before_those_along_its_border():
    """A slope at the very border may be steep, but has only half of an edge's surroundings."""
    image = np.zeros((40, 40, 1), np.float32)
    image[:, 20:] = 0.4
    image[-1, :12] = 0.28
    panels = Panels(image, [[said(image)]])
    assert panels.column in (19, 20)
    assert panels.row < 39


def test_flat_and_tiny_pictures_have_scales():
    for shape in ((1, 1, 1), (1, 9, 3), (3, 2, 4)):
        image = np.full(shape, 0.5, np.float32)
        panels = Panels(image, [[said(image)]])
        assert panels.light > 0
        assert panels.hot > 0
        for kind in ("reconstructions", "gradients", "errors", "crops", "profiles", "histograms"):
            for figure in getattr(panels, kind)([said(image)]):
                assert "nan" not in figure.drawing
                assert figure.source or figure.drawing


def test_scale_of_the_errors_is_not_that_of_the_worst():
    image = step()
    good = said(image)
    far = Said(good.trial, good.color + 100, good.gradient)
    alone = Panels(image, [[good, good]])
    assert Panels(image, [[good, good], [far]]).hot == alone.hot


def test_figures_of_every_kind():
    image = step()
    trials = [said(image, method=method) for method in methods("small").values()]
    panels = Panels(image, [trials])
    keys = [method.key for method in methods("small").values()]
    for kind, others in (("reconstructions", 1), ("gradients", 1), ("errors", 0), ("crops", 2)):
        figures = list(getattr(panels, kind)(trials))
        assert [figure.style for figure in figures] == [""] * others + keys
        assert len({figure.alt for figure in figures}) == len(figures)
        size = (ZOOM * 48, ZOOM * 20) if kind == "crops" else (60, 20)
        assert {(figure.width, figure.height) for figure in figures} == {size}
        assert all(figure.source.startswith("data:image/png;base64,") for figure in figures)
    for kind in ("profiles", "histograms"):
        figures = list(getattr(panels, kind)(trials))
        assert [figure.style for figure in figures] == keys * 2
        assert all(figure.drawing.startswith("<svg") for figure in figures)


def test_profile_shows_pixels_field_and_sum():
    image = step(rows=5)
    panels = Panels(image, [[said(image)]])
    row, column = panels.profiles([said(image)])
    assert row.value.startswith("row: running sum off by ")
    assert column.value.startswith("column: ")
    styles = re.findall(r'<polyline class="([^"]*)"', row.drawing)
    assert styles == ["picture", "sum eoren", "field eoren"]
    assert {len(points.split()) for points in re.findall(r'points="([^"]*)"', row.drawing)} == {60}
    assert {len(points.split()) for points in re.findall(r'points="([^"]*)"', column.drawing)} == {5}


def test_drift_of_a_field_whose_slope_is_right_is_that_of_the_picture():
    image = step()
    found = said(image)
    panels = Panels(image, [[found]])
    right = Said(found.trial, image, panels.own_gradient)
    own = [f"{drift:.3f}" for drift in panels.own_drifts()]
    assert [figure.value.rsplit(" ", 1)[1] for figure in panels.profiles([right])] == own
    shifted = Said(found.trial, image, panels.own_gradient + 0.01)
    drifts = [float(figure.value.rsplit(" ", 1)[1]) for figure in panels.profiles([shifted])]
    # 0.01 a pixel, over 60 pixels: up to 0.59.
    assert drifts[0] == pytest.approx(0.59 / np.sqrt(3), abs=0.02)


def test_histograms_of_the_picture_itself_are_in_common():
    image = step()
    found = said(image)
    panels = Panels(image, [[found]])
    values, slopes = panels.histograms([Said(found.trial, image, panels.own_gradient)])
    assert values.value == "values: 100 % in common"
    assert slopes.value in ("slopes: 100 % in common", "slopes: 99 % in common")
    values, _ = panels.histograms([Said(found.trial, image * 0 + 7, panels.own_gradient)])
    assert values.value == "values: 0 % in common"


@pytest.mark.parametrize(("over", "label"), [("epoch", "epochs"), ("seconds", "seconds of training")])
def test_curves(over, label):
    pair = [trial(9, 9, 1, method=methods("small")[key]) for key in ("pixel", "ours")]
    figures = list(curves(pair, over))
    assert [figure.label for figure in figures] == [
        f"{what} over {label}" for what in ("PSNR", "gradient PSNR", "SSIM")
    ]
    for figure in figures:
        assert re.findall(r'<polyline class="([^"]*)"', figure.drawing) == ["pixel", "ours"]
    assert "At the end: SIREN + pixels 30, ours 30." in figures[0].drawing


def test_running_sum_is_scipys():
    slope = np.random.default_rng(0).normal(size=50)
    np.testing.assert_allclose(running_sum(0.3, slope), 0.3 + cumulative_trapezoid(slope, initial=0))
    assert running_sum(0.3, slope[:1]).tolist() == [0.3]


def test_decibels():
    assert [decibels(value) for value in (28.314, float("inf"))] == ["28.31 dB", "exact"]
