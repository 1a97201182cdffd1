import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import eoren
from eoren.backends import dispatch
from eoren.coding.bands import MAX_LATENT
from eoren.errors import BackendWarning, EorenError
from eoren.evaluation.metrics import evaluate
from eoren.field.serialization import dumps, loads
from eoren.field.wavelet_siren import WaveletSiren
from eoren.training.compact import finish


def picture(height=120, width=150, channels=3, seed=0):
    """Waves, an edge and soft noise, in 8 bits."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((height, width, 4)), (1.5, 1.5, 0))
    colors = [0.5 + 0.2 * np.sin(x / (7 + c) + y / (11 - c)) + 0.2 * (x + 2 * y > 150 + 9 * c) for c in range(4)]
    image = np.stack(colors, -1) + 0.15 * noise
    return np.uint8(np.clip(image[..., :channels], 0, 1) * 255 + 0.5)


def fit(image, **options):
    return eoren.fit(image, **{"preset": "fast", "device": "cpu", **options})


@pytest.mark.parametrize("options", [{"bytes": 4000}, {"bytes": 12_000}, {"bits_per_pixel": 1.5}], ids=str)
@pytest.mark.parametrize("steps", [0, 8])
def test_sizes_are_met(options, steps):
    result = fit(picture(), steps=steps, **options)
    wanted = options.get("bytes") or options["bits_per_pixel"] * 120 * 150 / 8
    assert len(dumps(result.field)) == result.bytes == pytest.approx(wanted, rel=0.02)
    assert result.ended == "budget"


@pytest.mark.parametrize("wanted", [500, 700])
def test_sizes_of_tiny_images_are_met(wanted):
    """Most of such a file is what stands beside the latents."""
    result = fit(picture(20, 24), bytes=wanted)
    assert len(dumps(result.field)) == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("wanted", [33.0, 45.0, 60.0])
@pytest.mark.parametrize("pixel_model", ["point_sample", "cell_average"])
@pytest.mark.parametrize("steps", [0, 8])
def test_qualities_are_met(wanted, pixel_model, steps):
    result = fit(picture(), until_psnr=wanted, pixel_model=pixel_model, steps=steps)
    assert result.metrics.psnr == pytest.approx(wanted, abs=0.05)
    assert result.ended == "target"


def test_more_bytes_are_better():
    results = [fit(picture(), bits_per_pixel=rate).metrics for rate in (0.7, 1.5, 3.0, 6.0)]
    for low, high in pairwise(results):
        assert high.psnr > low.psnr + 2
        assert high.gradient_psnr > low.gradient_psnr + 2


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (33, 1), (2, 2), (7, 5), (31, 45)])
@pytest.mark.parametrize("steps", [0, 2])
def test_any_size_and_number_of_channels(height, width, channels, steps):
    image = picture(120, 150, channels)[40 : 40 + height, 60 : 60 + width]
    result = fit(image, until_psnr=48.0, steps=steps)
    assert (result.field.size, result.field.channels) == ((width, height), channels)
    assert result.metrics.psnr > 47.9
    again = loads(dumps(result.field))
    np.testing.assert_array_equal(again.render(), result.field.render())
    assert dumps(again) == dumps(result.field)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_shares_of_the_largest(dtype):
    image = (picture(40, 50).astype(np.float64) / 255 * np.iinfo(dtype).max).astype(dtype)
    same = (image / np.iinfo(dtype).max).astype(np.float32)
    one, other = fit(image, until_psnr=60.0), fit(same, until_psnr=60.0)
    np.testing.assert_array_equal(one.field.render(), other.field.render())


def test_sixteen_bits_are_worth_it():
    y, x = np.mgrid[:60, :70] / 70
    image = np.uint16(65535 * (0.5 + 0.3 * np.sin(5 * x) * np.cos(4 * y)))
    result = fit(image, until_psnr=85.0)
    assert result.metrics.psnr == pytest.approx(85.0, abs=0.05)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("options", [{}, {"bytes": 5000}, {"until_psnr": 60.0}], ids=str)
def test_constants(value, options):
    image = np.full((20, 30, 3), value, np.float32)
    result = fit(image, **options)
    assert result.metrics.psnr > 50
    assert result.bytes < 800
    np.testing.assert_allclose(result.field.gradient(np.random.default_rng(0).random((9, 2))), 0, atol=1e-3)


def test_metrics_are_those_of_the_reloaded_file():
    result = fit(picture(), bytes=6000)
    again = loads(dumps(result.field))
    assert isinstance(again.representation, WaveletSiren)
    measured = evaluate(again, picture())
    assert measured == result.metrics
    stored = again.provenance.metrics
    for name in ("psnr", "psnr_8bit", "gradient_psnr", "ssim"):
        assert stored[name] == pytest.approx(getattr(measured, name), abs=1e-4)
    assert again.provenance.settings == {"preset": "fast", "bytes": 6000}
    assert len(again.provenance.source_sha256) == 64


@pytest.mark.parametrize("options", [{"bytes": 5000}, {"steps": 3}, {"steps": 3, "siren_width": 16}], ids=str)
def test_fits_are_deterministic(monkeypatch, options):
    monkeypatch.setattr(finish, "_SIREN_STEPS", 40)
    image = picture(60, 70)
    one = fit(image, seed=4, **options)
    assert dumps(one.field) == dumps(fit(image, seed=4, **options).field)
    if options.get("steps"):
        assert dumps(one.field) != dumps(fit(image, seed=5, **options).field)


def test_stored_settings_repeat_the_fit():
    result = fit(picture(60, 70), bits_per_pixel=3.0, gradient_weight=0.3)
    provenance = result.field.provenance
    again = eoren.fit(picture(60, 70), **provenance.settings, seed=provenance.seed, device="cpu")
    assert dumps(again.field) == dumps(result.field)


def test_a_weight_of_gradients_makes_them_better():
    colors, both = (fit(picture(), bits_per_pixel=2.0, gradient_weight=w).metrics for w in (0.0, 1.0))
    assert both.gradient_psnr > colors.gradient_psnr
    assert both.psnr < colors.psnr


def test_a_tiny_price_gives_the_finest_field_of_the_format():
    image = picture(60, 70)
    small, tiny, least = (fit(image, lagrangian=price) for price in (1e-10, 1e-14, 1e-40))
    assert 90 < small.metrics.psnr < tiny.metrics.psnr - 10
    assert tiny.metrics == least.metrics
    largest = max(np.abs(band).max() for band in tiny.field.representation.latents.bands())
    assert MAX_LATENT / 2 < largest <= MAX_LATENT


@pytest.mark.parametrize("options", [{"lagrangian": 1e6}, {"gradient_weight": 1e6}], ids=str)
def test_the_largest_weights_give_files(options):
    result = fit(picture(60, 70), **options)
    assert loads(dumps(result.field)).size == (70, 60)


@pytest.mark.parametrize("variable", ["", "torch"])
def test_a_fit_without_the_native_library_warns_once(monkeypatch, variable):
    monkeypatch.setenv("EOREN_BACKEND", variable)
    monkeypatch.setattr(dispatch, "library", lambda: None)
    dispatch._warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            fit(picture(20, 24))
    dispatch._warn_once.cache_clear()
    messages = [str(warning.message) for warning in caught if warning.category is BackendWarning]
    reason = "PyTorch does the work, several times slower than the native backend: the native library was not built"
    assert [message[: len(reason)] for message in messages] == ([] if variable else [reason])


def test_the_watch_hears_of_the_end():
    seen = []
    result = fit(picture(40, 50), watch=seen.append)
    assert seen[-1].done == 1
    assert result.history[0] == replace(seen[0], loop=None)
    # It is that of the latents before the last step.
    assert seen[-1].psnr == pytest.approx(result.metrics.psnr, abs=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bytes": 60}, r"a file of 60 bytes is too small for this image; its description and parameters take \d+ "),
        ({"bits_per_pixel": 1e-6}, "a file of 0 bytes is too small for this image"),
        ({"until_psnr": 400.0}, "until_psnr must be a PSNR that this image can reach, got 400; give less"),
    ],
)
def test_what_cannot_be_met_is_refused_in_one_line(options, message):
    with pytest.raises(EorenError, match=f"^{message}") as error:
        fit(picture(40, 50), **options)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 7.0])
def test_invalid_pixels_are_refused(value):
    image = np.full((8, 9, 3), 0.5)
    image[3, 4, 1] = value
    with pytest.raises(EorenError):
        fit(image)
