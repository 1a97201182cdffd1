from itertools import pairwise

import numpy as np
import pytest
from scipy.interpolate import make_interp_spline

from eoren.image import spline
from eoren.image.gradients import adjusted_gradient
from eoren.image.spline import reference_gradient


def random_image(height, width, channels=1, dtype=np.float64):
    return np.random.default_rng(0).random((height, width, channels)).astype(dtype)


def pixel_centres(count):
    return (np.arange(count) + 0.5) / count


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7, 8, 40])
def test_is_the_derivative_of_the_spline_through_the_pixels_and_their_odd_reflections(count):
    values = random_image(1, count)[0, :, 0]
    gradient = reference_gradient(values[None, :, None])[0, :, 0, 0]
    margin = 60
    reflected = np.pad(values, margin, mode="reflect", reflect_type="odd")
    oracle = make_interp_spline((np.arange(len(reflected)) - margin + 0.5) / count, reflected, k=5)
    np.testing.assert_allclose(gradient, oracle(pixel_centres(count), nu=1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7, 50])
def test_is_exact_for_ramps_and_for_sines_that_end_at_their_zeros(count):
    y = pixel_centres(count)
    np.testing.assert_allclose(reference_gradient((3 * y)[:, None, None])[:, 0, 0, 1], 3, atol=1e-11)
    turn = np.pi * count / (count - 1)  # half a period from the first pixel's centre to the last's
    wave = np.sin(turn * (y - y[0]))
    gradient = reference_gradient(wave[:, None, None])
    # The spline through samples of a sine keeps its phase, to rounding; its slope is close to the true one.
    np.testing.assert_allclose(gradient[:, 0, 0, 1], gradient[0, 0, 0, 1] * np.cos(turn * (y - y[0])), atol=1e-9)
    if count > 6:
        assert gradient[0, 0, 0, 1] == pytest.approx(turn, rel=1e-3)
    assert not gradient[..., 0].any()


def test_converges_with_sixth_order_inside():
    def error(count):
        x, y = np.meshgrid(pixel_centres(count), pixel_centres(count))
        gradient = reference_gradient(np.sin(9 * x + 4 * y)[..., None])[:, :, 0]
        middle = slice(count // 3, -count // 3)
        return np.abs(gradient - np.cos(9 * x + 4 * y)[..., None] * [9, 4])[middle, middle].max()

    assert np.log2(error(96) / error(192)) == pytest.approx(6, abs=0.3)


def test_border_slopes_are_those_of_the_whole_image():
    """Compare a part of a photograph-like image, whose amplitudes fall as f^-1.5, with the whole image."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    noise = np.fft.fft2(np.random.default_rng(0).standard_normal((256, 256)))
    image = np.fft.ifft2(noise / np.maximum(frequency, 1 / 256) ** 1.5).real[..., None]
    whole = reference_gradient(image, extent=(256.0, 256.0))[60:160, 60:160]
    part = reference_gradient(np.ascontiguousarray(image[60:160, 60:160]), extent=(100.0, 100.0))
    np.testing.assert_allclose(part[45:55, 45:55], whole[45:55, 45:55], rtol=1e-9, atol=1e-9)
    ends = [0, -1]
    error = np.square(part - whole)[:, ends, 0, 0].mean() + np.square(part - whole)[ends, :, 0, 1].mean()
    truth = np.square(whole)[:, ends, 0, 0].mean() + np.square(whole)[ends, :, 0, 1].mean()
    # A gradient of zero would be an error of 1; SciPy's default ends make one of 17.
    assert error < 0.8 * truth


def test_keeps_frequencies_that_stencils_damp():
    x = pixel_centres(128)
    wave = 2 * np.pi * 32  # a quarter of the sampling rate, half of Nyquist
    image = np.broadcast_to(np.sin(wave * x)[None, :, None], (6, 128, 1))
    expected = (wave * np.cos(wave * x))[16:-16]

    def relative_error(gradient):
        return np.abs(gradient[2, 16:-16, 0, 0] - expected).max() / wave

    assert relative_error(reference_gradient(image)) < 0.02
    assert relative_error(adjusted_gradient(image, "central")) > 0.2


def test_does_not_depend_on_the_size_of_the_blocks(monkeypatch):
    image = random_image(23, 31, channels=3, dtype=np.float32)
    whole = reference_gradient(image)
    for samples in (1, 200, 700):
        monkeypatch.setattr(spline, "_BLOCK_SAMPLES", samples)
        np.testing.assert_allclose(reference_gradient(image), whole, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("shape", [(10, 7, 3), (20_000, 25, 2), (1 << 17, 5, 1), (1 << 17, 3, 2)], ids=str)
def test_blocks_are_whole_lines_that_fit_in_the_cache(shape):
    length, count, channels = shape
    lines = np.broadcast_to(np.arange(count, dtype=float)[:, None], shape)
    blocks = [lines[block] for block in spline.line_blocks(lines)]
    assert all((len(block), block.shape[2]) == (length, channels) for block in blocks)
    np.testing.assert_array_equal(np.concatenate([block[0, :, 0] for block in blocks]), np.arange(count))
    cache = 1 << 17  # samples: one megabyte of float64
    assert all(block.size <= cache or block.shape[1] == 1 for block in blocks)
    assert all(one.size + other.size > cache for one, other in pairwise(blocks))


def test_float32_is_computed_in_float64():
    image = random_image(30, 40, channels=2, dtype=np.float32)
    expected = reference_gradient(image.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(reference_gradient(image), expected)


def test_a_pixel_has_no_influence_beyond_the_reach():
    line = np.zeros((1, 200, 1))
    line[0, 100] = 1
    influence = np.abs(reference_gradient(line, extent=(200.0, 1.0))[0, :, 0, 0])
    assert influence[100 + spline.REACH - 1] < 1e-14
    assert influence[110] > 1e-6
