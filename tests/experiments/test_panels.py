import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from eoren.experiments.methods import methods
from eoren.experiments.panels import ZOOM, Panels, Prediction, curves, format_decibels
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
    return Trial(method, Field(SirenMosaic(siren, tuning, Tiling.single(width, height))), samples)


def predict(image, **options):
    height, width, channels = image.shape
    return Prediction.of_trial(trial(width, height, channels, **options))


def step(rows=20, columns=60, at=45):
    image = np.random.default_rng(0).normal(0.5, 0.01, (rows, columns, 3)).astype(np.float32)
    image[:, at:] += 0.4
    return image.clip(0, 1)


def test_prediction_is_the_output_of_the_field():
    fitted = trial(60, 20, 3)
    found, field = Prediction.of_trial(fitted), fitted.field
    xy = np.array([(7.5 / 60, 3.5 / 20)])
    np.testing.assert_allclose(found.color[3, 7], field.color(xy)[0], atol=1e-6)
    np.testing.assert_allclose(found.gradient[3, 7], field.gradient(xy)[0] / [60, 20], atol=1e-6)


def test_strongest_edge_and_the_crop_around_it():
    image = step()
    panels = Panels(image, [predict(image)])
    assert panels.column in (44, 45)
    left, top, right, bottom = panels.box
    assert 0 <= left <= panels.column < right <= 60
    assert (top, bottom) == (0, 20)
    assert right - left == 48
    assert 0.1 < panels.gradient_scale < 0.5


def test_edges_inside_the_image_come_before_those_along_its_border():
    """A slope at the very border may be steep, but has only half of an edge's surroundings."""
    image = np.zeros((40, 40, 1), np.float32)
    image[:, 20:] = 0.4
    image[-1, :12] = 0.28
    panels = Panels(image, [predict(image)])
    assert panels.column in (19, 20)
    assert panels.row < 39


def test_flat_and_tiny_images_have_scales():
    for shape in ((1, 1, 1), (1, 9, 3), (3, 2, 4)):
        image = np.full(shape, 0.5, np.float32)
        panels = Panels(image, [predict(image)])
        assert panels.gradient_scale > 0
        assert panels.error_scale > 0
        for kind in ("reconstructions", "gradients", "errors", "crops", "profiles", "histograms"):
            for figure in getattr(panels, kind)([predict(image)]):
                assert "nan" not in figure.drawing
                assert figure.source or figure.drawing


def test_one_bad_method_does_not_set_the_error_scale():
    image = step()
    good = predict(image)
    far = replace(good, color=good.color + 100)
    alone = Panels(image, [good, good])
    assert Panels(image, [good, good, far]).error_scale == alone.error_scale


def test_figures_of_every_kind():
    image = step()
    trials = [predict(image, method=method) for method in methods("small").values()]
    panels = Panels(image, trials)
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
    panels = Panels(image, [predict(image)])
    row, column = panels.profiles([predict(image)])
    assert row.value.startswith("row: running sum off by ")
    assert column.value.startswith("column: ")
    styles = re.findall(r'<polyline class="([^"]*)"', row.drawing)
    assert styles == ["image", "sum eoren", "field eoren"]
    assert {len(points.split()) for points in re.findall(r'points="([^"]*)"', row.drawing)} == {60}
    assert {len(points.split()) for points in re.findall(r'points="([^"]*)"', column.drawing)} == {5}


def test_the_drift_of_an_exact_gradient_is_the_reference_drift():
    image = step()
    found = predict(image)
    panels = Panels(image, [found])
    right = replace(found, color=image, gradient=panels.gradient)
    own = [f"{drift:.3f}" for drift in panels.reference_drifts()]
    assert [figure.value.rsplit(" ", 1)[1] for figure in panels.profiles([right])] == own
    shifted = replace(found, color=image, gradient=panels.gradient + 0.01)
    drifts = [float(figure.value.rsplit(" ", 1)[1]) for figure in panels.profiles([shifted])]
    # 0.01 a pixel, over 60 pixels: up to 0.59.
    assert drifts[0] == pytest.approx(0.59 / np.sqrt(3), abs=0.02)


def test_histograms_of_the_image_itself_are_in_common():
    image = step()
    found = predict(image)
    panels = Panels(image, [found])
    values, slopes = panels.histograms([replace(found, color=image, gradient=panels.gradient)])
    assert values.value == "values: 100 % in common"
    assert slopes.value in ("slopes: 100 % in common", "slopes: 99 % in common")
    values, _ = panels.histograms([replace(found, color=image * 0 + 7, gradient=panels.gradient)])
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
    assert "At the end: SIREN + pixels 30, this library, mosaic 30." in figures[0].drawing


def test_decibels():
    assert [format_decibels(value) for value in (28.314, float("inf"))] == ["28.31 dB", "exact"]
