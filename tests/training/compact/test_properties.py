"""Properties of compact fits, tested by hypothesis with the same cases every time."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.compact import picture

import eoren

few_examples = settings(
    max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
sides, channels, seeds = st.integers(24, 60), st.integers(1, 4), st.integers(0, 99)
images = st.builds(picture, sides, sides, channels, seeds)
presets = st.sampled_from(["fast", "balanced"])


def assert_alike(one, other):
    """The wavelets of even lengths are not symmetric, so that fits of mirrored images differ a little.

    Tiny images have few latents, so that each of them counts.
    """
    assert one.metrics.psnr == pytest.approx(other.metrics.psnr, abs=1)
    assert one.metrics.gradient_psnr == pytest.approx(other.metrics.gradient_psnr, abs=1)
    assert one.bytes == pytest.approx(other.bytes, rel=0.05, abs=25)


@few_examples
@given(images, presets, st.sampled_from([0, 1]))
def test_flips_cost_as_much_and_are_as_good(image, preset, axis):
    result, flipped = (eoren.fit(pixels, preset=preset) for pixels in (image, np.flip(image, axis)))
    assert_alike(result, flipped)
    xy = np.random.default_rng(0).random((50, 2))
    mirrored = np.where(np.arange(2) == 1 - axis, 1 - xy, xy)
    # Each differs from the image by its own error: by twice that at most, and somewhat more between the pixels.
    difference = flipped.field.color(mirrored) - result.field.color(xy)
    assert np.sqrt(np.mean(difference**2)) < 2.5 * 10 ** (-result.metrics.psnr / 20)
    slopes, other = result.field.gradient(xy)[..., 1 - axis], flipped.field.gradient(mirrored)[..., 1 - axis]
    per_pixel = (slopes + other) / image.shape[axis]
    assert np.sqrt(np.mean(per_pixel**2)) < 2.5 * 10 ** (-result.metrics.gradient_psnr / 20)


@few_examples
@given(images, presets)
def test_transposed_images_cost_as_much_and_are_as_good(image, preset):
    result, transposed = (eoren.fit(pixels, preset=preset) for pixels in (image, image.swapaxes(0, 1)))
    assert_alike(result, transposed)
    assert transposed.field.size == result.field.size[::-1]


@few_examples
@given(images, st.data())
def test_crops_are_parts_of_the_whole(image, data):
    field = eoren.fit(image, preset="fast").field
    width, height = field.size
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    region = (left / width, top / height, right / width, bottom / height)
    for show in ("color", "gradient", "laplacian"):
        whole, part = field.render(show=show), field.render(right - left, bottom - top, region=region, show=show)
        scale = max(1.0, float(np.abs(whole).max()))
        np.testing.assert_allclose(part, whole[top:bottom, left:right], atol=1e-5 * scale)


@few_examples
@given(images, presets, st.data())
def test_fits_of_crops_agree_with_the_whole_inside(image, preset, data):
    height, width, _ = image.shape
    top, left = data.draw(st.integers(0, height // 3)), data.draw(st.integers(0, width // 3))
    bottom, right = top + data.draw(st.integers(12, height - top)), left + data.draw(st.integers(12, width - left))
    whole = eoren.fit(image, preset=preset)
    part = eoren.fit(image[top:bottom, left:right], preset=preset)
    assert part.metrics.psnr == pytest.approx(whole.metrics.psnr, abs=2.5)
    xy = 0.25 + 0.5 * np.random.default_rng(0).random((50, 2))  # the middle half of the crop
    elsewhere = (np.array([left, top]) + xy * [right - left, bottom - top]) / [width, height]
    difference = part.field.color(xy) - whole.field.color(elsewhere)
    # Each differs from the image by its own error, and somewhat more between the pixels.
    errors = [10 ** (-result.metrics.psnr / 20) for result in (whole, part)]
    assert np.sqrt(np.mean(difference**2)) < 1.5 * sum(errors)


@pytest.mark.parametrize("is_column", [False, True])
def test_long_lines_have_the_colours_of_their_pixels(is_column):
    length = 1 << 15
    line = picture(1, length, 1, 5)
    field = eoren.fit(line.swapaxes(0, 1) if is_column else line, preset="fast").field
    at = np.random.default_rng(0).integers(0, length, 2000)
    along = (at + 0.5) / length
    across = np.full_like(along, 0.5)
    xy = np.stack([across, along] if is_column else [along, across], -1)
    assert np.sqrt(np.mean((field.color(xy) - line[0, at]) ** 2)) < 10 ** (-38 / 20)
    slopes = field.gradient(xy)[:, 0, int(is_column)] / length
    expected = np.gradient(line[0, :, 0].astype(np.float64))[at]
    assert np.corrcoef(slopes, expected)[0, 1] > 0.9
    last = field.render(*((1, 40) if is_column else (40, 1)), region=_end(40 / length, is_column))
    np.testing.assert_allclose(last.reshape(-1), line[0, -40:, 0], atol=0.06)


def _end(share, is_column):
    """Return the last part of a line as a region."""
    return (0.0, 1 - share, 1.0, 1.0) if is_column else (1 - share, 0.0, 1.0, 1.0)


@few_examples
@given(st.integers(1, 200), st.booleans(), channels, presets)
def test_lines_are_images(length, is_column, count, preset):
    image = picture(1, length, count, length)
    image = image.swapaxes(0, 1) if is_column else image
    result = eoren.fit(image, preset=preset)
    assert result.field.size == image.shape[1::-1]
    assert result.metrics.psnr > 38
    across = result.field.render(show="gradient")[..., 0 if is_column else 1]
    assert np.abs(across).max() < 1e-6


@few_examples
@given(sides, sides, channels, st.floats(0, 1, width=32))
def test_constants_have_no_slope(height, width, count, value):
    result = eoren.fit(np.full((height, width, count), value, np.float32), preset="fast")
    np.testing.assert_allclose(result.field.render(3 * width), value, atol=0.006)
    assert np.abs(result.field.render(show="gradient")).max() < 1e-3


@few_examples
@given(images, presets)
def test_sixteen_bits_are_their_shares(image, preset):
    integers = np.round(image * 65535).astype(np.uint16)
    one, other = (eoren.fit(pixels, preset=preset) for pixels in (integers, integers / np.float32(65535)))
    np.testing.assert_array_equal(one.field.render(), other.field.render())


@few_examples
@given(images, st.data(), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_missing_numbers_are_refused(image, data, value):
    place = tuple(data.draw(st.integers(0, side - 1)) for side in image.shape)
    image[place] = value
    with pytest.raises(eoren.EorenError, match=r"NaN|infin"):
        eoren.fit(image, preset="fast")
