import numpy as np
import pytest
from skimage.restoration import denoise_tv_chambolle

from eoren import EorenError
from eoren.composition.retouching import _denoise_tv, _estimate_noise, boost_detail, denoise, flatten_light, retouch


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def wave(count, length, width=128):
    """A cosine that fits free borders exactly: `count` half waves over the width."""
    x = (np.arange(width) + 0.5) / width
    return np.tile(np.cos(np.pi * count * x).astype(np.float32), (length, 1))[..., None]


def strength(image, count):
    basis = wave(count, *image.shape[:2])
    return float(np.sum((image - 0.5) * basis) / np.sum(basis**2))


def test_flatten_light_removes_only_long_waves():
    image = 0.5 + 0.1 * wave(2, 16) + 0.1 * wave(40, 16)
    retouched = flatten_light(image).colors
    assert strength(retouched, 2) == pytest.approx(0.05, rel=0.01)
    assert strength(retouched, 40) == pytest.approx(0.1, rel=0.01)
    assert retouched.mean() == pytest.approx(image.mean(), abs=1e-5)


def test_flatten_light_subtracts_the_same_from_every_channel():
    image = 0.4 + 0.2 * random(12, 20, 3)
    change = flatten_light(image).colors - image
    np.testing.assert_allclose(change, change[..., :1].repeat(3, 2), atol=1e-5)


def test_boost_detail_amplifies_only_short_waves():
    image = 0.5 + 0.1 * wave(1, 16) + 0.02 * wave(100, 16)
    retouched = boost_detail(image, 3.0).colors
    weight = (2 * np.pi / (128 / 16)) ** 2
    for count, before in ((1, 0.1), (100, 0.02)):
        eigenvalue = 2 - 2 * np.cos(np.pi * count / 128)
        assert strength(retouched, count) == pytest.approx(
            before * (3 * eigenvalue + weight) / (eigenvalue + weight), rel=0.001
        )
    np.testing.assert_allclose(boost_detail(image, 1.0).colors, image, atol=1e-5)


def noisy(sigma=0.05, channels=1):
    image = np.full((48, 56, channels), 0.3)
    image[10:30, 20:40] = 0.7
    return image, (image + np.random.default_rng(0).normal(0, sigma, image.shape)).astype(np.float32)


def test_noise_is_estimated():
    for sigma in (0.01, 0.05):
        assert _estimate_noise(noisy(sigma)[1]) == pytest.approx(sigma, rel=0.1)
    assert _estimate_noise(noisy(0.0)[1]) == 0


def test_denoising_minimizes_total_variation():
    """Against the algorithm of Chambolle in scikit-image: TV(u) + sum (u - f)^2 / (2 weight)."""
    _, image = noisy()
    theirs = denoise_tv_chambolle(
        image[..., 0].astype(float), weight=_estimate_noise(image), eps=1e-9, max_num_iter=3000
    )
    np.testing.assert_allclose(_denoise_tv(image)[..., 0], theirs, atol=0.01)
    assert np.abs(_denoise_tv(image)[..., 0] - theirs).mean() < 0.001


def test_denoising_reduces_the_error_and_keeps_edges():
    clean, image = noisy(channels=3)
    retouched = denoise(image).colors
    assert np.mean((retouched - clean) ** 2) < np.mean((image - clean) ** 2) / 4
    assert (retouched[15:25, 22] - retouched[15:25, 18]).mean() > 0.3


def test_denoising_leaves_a_clean_image_unchanged():
    clean = noisy()[0]
    np.testing.assert_allclose(denoise(clean).colors, clean, atol=1e-6)


@pytest.mark.parametrize("change", [flatten_light, lambda image: boost_detail(image, 2.0), denoise])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels(change, channels):
    image = 0.3 + 0.4 * random(9, 13, channels)
    kept = image.copy()
    composition = change(image)
    assert composition.colors.shape == composition.guide().shape[:3] == image.shape
    if channels in (2, 4):
        np.testing.assert_array_equal(composition.colors[..., -1], image[..., -1])
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("factor", [0.0, float("nan")])
def test_invalid_factors_are_refused(factor):
    with pytest.raises(EorenError, match=f"must be a finite number above 0, got {factor:g}"):
        boost_detail(random(5, 5), factor)


def test_retouch_is_deprecated():
    image = random(5, 5)
    message = "eoren.retouch is deprecated and will be removed in 0.4; use eoren.flatten_light, eoren.boost_detail or"
    for options, expected in (
        ({"flatten_light": True}, flatten_light(image)),
        ({"boost_detail": 2.0}, boost_detail(image, 2.0)),
        ({"denoise_edges": True}, denoise(image)),
    ):
        with pytest.warns(DeprecationWarning, match=message):
            composition = retouch(image, **options)
        assert composition.origin == expected.origin
        np.testing.assert_array_equal(composition.colors, expected.colors)
    for options in ({}, {"flatten_light": True, "denoise_edges": True}):
        with pytest.warns(DeprecationWarning, match=message), pytest.raises(EorenError, match="exactly one of"):
            retouch(image, **options)
