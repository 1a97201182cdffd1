"""Images of extreme sizes and values: results are defined, finite, and within the range of the image."""

import numpy as np
import pytest

from eoren.errors import EorenError
from eoren.evaluation.metrics import evaluate
from eoren.field.serialization import dumps, loads
from eoren.image.gradients import STENCILS, adjusted_gradient
from eoren.image.io import as_image
from eoren.image.spline import reference_gradient
from eoren.training.fit import fit

OBJECTIVES = ["gradient", "pixel", "sobolev"]
SMALL = {"preset": "mosaic", "steps": 12, "width": 16, "depth": 2, "device": "cpu", "batch": 64}


@pytest.fixture(params=["torch", "native"], autouse=True)
def engine(request, monkeypatch):
    from eoren.backends import native

    if request.param == "native" and native.library() is None:
        pytest.skip("the native engine is not built")
    monkeypatch.setenv("EOREN_ENGINE", request.param)


def fit_checked(image, **changes):
    """Fit a field, and check that it is finite, no worse than the mean colour, and unchanged by its file."""
    result = fit(image, **{**SMALL, **changes})
    field, pixels = result.field, as_image(image)
    for show in ("color", "gradient", "laplacian"):
        assert np.isfinite(field.render(show=show)).all()
    assert np.array_equal(loads(dumps(field)).render(), field.render())
    error = np.mean((field.render().astype(float) - pixels) ** 2)
    assert error <= 1.02 * pixels.astype(float).var((0, 1)).mean() + 1e-12
    assert result.metrics.psnr == evaluate(field, pixels).psnr
    return field


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 40), (40, 1)], ids=str)
def test_single_pixels_and_lines_of_pixels(shape, objective):
    field = fit_checked(np.random.default_rng(0).random(shape).astype(np.float32), objective=objective)
    if shape == (1, 1):
        # The field of one pixel is constant.
        assert not field.gradient(np.random.default_rng(1).random((5, 2))).any()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_channels_of_zeros_stay_zero(objective):
    image = np.zeros((12, 14, 4), np.float32)
    image[..., 2] = np.linspace(0, 1, 14)
    field = fit_checked(image, objective=objective)
    assert not field.render()[..., [0, 1, 3]].any()
    assert not field.render(show="gradient")[..., [0, 1, 3], :].any()
    assert not fit_checked(np.zeros((9, 9, 3), np.float32), objective=objective).render().any()


@pytest.mark.parametrize("tile", [None, 8])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "image",
    {
        "checkerboard": np.indices((16, 20)).sum(0) % 2,
        "one white pixel": np.eye(1, 320, 77).reshape(16, 20),
        "a step": np.repeat(np.arange(20) >= 10, 16).reshape(20, 16),
        "nearly nothing": np.random.default_rng(0).random((16, 20)) * 1e-30,
        "a hair above black": 1e-7 * (np.indices((16, 20)).sum(0) % 2),
        "a hair below white": 1 - 1e-7 * (np.indices((16, 20)).sum(0) % 2),
        "subnormal": np.full((16, 20), 1e-42),
    }.values(),
    ids=lambda image: f"{image.max():g}",
)
def test_extreme_contrasts(image, objective, tile):
    fit_checked(image.astype(np.float32), objective=objective, tile=tile)


def test_all_sixteen_bits_are_used():
    codes = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    assert np.array_equal(as_image(codes)[..., 0], (codes / 65535).astype(np.float32))
    one = fit(codes, **SMALL).field.render()
    other = fit((codes / 65535).astype(np.float32), **SMALL).field.render()
    assert np.array_equal(one, other)
    # Images that differ only in the lowest bit stay different.
    low = np.uint16(40000) + (np.indices((8, 8)).sum(0) % 2).astype(np.uint16)
    assert np.ptp(as_image(low)) == pytest.approx(1 / 65535, rel=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_are_refused(bad, dtype):
    image = np.full((5, 6, 3), 0.5, dtype)
    image[4, 5, 2] = bad
    with pytest.raises(EorenError, match="values must be finite, got NaN or infinity"):
        fit(image, **SMALL)


@pytest.mark.parametrize("name", ["spline", *STENCILS])
def test_gradients_of_nan_stay_local(name):
    """Filters do not check values; NaN in a pixel does not affect gradients far from it."""
    image = np.random.default_rng(0).random((9, 40, 1))
    good = image.copy()
    image[4, 3] = np.nan

    def of(pixels):
        return reference_gradient(pixels) if name == "spline" else adjusted_gradient(pixels, name)

    if name == "spline":  # the spline is undefined along the row and the column
        assert np.isnan(of(image)[4, :, 0, 0]).all()
        assert np.isnan(of(image)[:, 3, 0, 1]).all()
    else:
        np.testing.assert_array_equal(of(image)[:, 10:], of(good)[:, 10:])
        assert np.isnan(of(image)).any()
