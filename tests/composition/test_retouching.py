import numpy as np
import pytest
from skimage.restoration import denoise_tv_chambolle

from eoren import EorenError, retouch
from eoren.composition.retouching import _least_variation, _noise


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def wave(count, length, width=128):
    """A cosine that fits free borders exactly: `count` half waves over the width."""
    x = (np.arange(width) + 0.5) / width
    return np.tile(np.cos(np.pi * count * x).astype(np.float32), (length, 1))[..., None]


def strength(image, count):
    basis = wave(count, *image.shape[:2])
    return float(np.sum((image - 0.5) * basis) / np.sum(basis**2))


def test_flat_light_loses_long_waves_alone():
    image = 0.5 + 0.1 * wave(2, 16) + 0.1 * wave(40, 16)
    found = retouch(image, flatten_light=True).colors
    assert strength(found, 2) == pytest.approx(0.05, rel=0.01)
    assert strength(found, 40) == pytest.approx(0.1, rel=0.01)
    assert found.mean() == pytest.approx(image.mean(), abs=1e-5)


def test_flat_light_takes_the_same_from_every_channel():
    image = 0.4 + 0.2 * random(12, 20, 3)
    change = retouch(image, flatten_light=True).colors - image
    np.testing.assert_allclose(change, change[..., :1].repeat(3, 2), atol=1e-5)


def test_detail_grows_and_the_rest_stays():
    image = 0.5 + 0.1 * wave(1, 16) + 0.02 * wave(100, 16)
    found = retouch(image, boost_detail=3.0).colors
    weight = (2 * np.pi / (128 / 16)) ** 2
    for count, before in ((1, 0.1), (100, 0.02)):
        wanted = 2 - 2 * np.cos(np.pi * count / 128)
        assert strength(found, count) == pytest.approx(before * (3 * wanted + weight) / (wanted + weight), rel=0.001)
    np.testing.assert_allclose(retouch(image, boost_detail=1.0).colors, image, atol=1e-5)


def noisy(sigma=0.05, channels=1):
    image = np.full((48, 56, channels), 0.3)
    image[10:30, 20:40] = 0.7
    return image, (image + np.random.default_rng(0).normal(0, sigma, image.shape)).astype(np.float32)


def test_noise_is_found():
    for sigma in (0.01, 0.05):
        assert _noise(noisy(sigma)[1]) == pytest.approx(sigma, rel=0.1)
    assert _noise(noisy(0.0)[1]) == 0


def test_denoising_has_the_least_total_variation():
    """scikit-image's Chambolle minimises the same by another way: TV(u) + sum (u - f)^2 / (2 weight)."""
    _, image = noisy()
    theirs = denoise_tv_chambolle(image[..., 0].astype(float), weight=_noise(image), eps=1e-9, max_num_iter=3000)
    np.testing.assert_allclose(_least_variation(image)[..., 0], theirs, atol=0.01)
    assert np.abs(_least_variation(image)[..., 0] - theirs).mean() < 0.001


def test_denoising_helps_and_keeps_edges():
    clean, image = noisy(channels=3)
    found = retouch(image, denoise_edges=True).colors
    assert np.mean((found - clean) ** 2) < np.mean((image - clean) ** 2) / 4
    assert (found[15:25, 22] - found[15:25, 18]).mean() > 0.3


def test_without_noise_nothing_changes():
    clean = noisy()[0]
    np.testing.assert_allclose(retouch(clean, denoise_edges=True).colors, clean, atol=1e-6)


@pytest.mark.parametrize("way", [{"flatten_light": True}, {"boost_detail": 2.0}, {"denoise_edges": True}])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels(way, channels):
    image = 0.3 + 0.4 * random(9, 13, channels)
    kept = image.copy()
    composition = retouch(image, **way)
    assert composition.colors.shape == composition.guide().shape[:3] == image.shape
    if channels in (2, 4):
        np.testing.assert_array_equal(composition.colors[..., -1], image[..., -1])
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ({}, "one thing at a time"),
        ({"flatten_light": True, "denoise_edges": True}, "one thing at a time"),
        ({"boost_detail": 0.0}, "boost_detail is 0, but must be a number above zero"),
        ({"boost_detail": float("nan")}, "boost_detail is nan"),
    ],
)
def test_refused(ways, message):
    with pytest.raises(EorenError, match=message):
        retouch(random(5, 5), **ways)
