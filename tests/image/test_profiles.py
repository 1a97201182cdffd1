import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from eoren.errors import EorenError
from eoren.image.io import as_source_image, read_image, read_source_image, write_image
from eoren.image.profiles import MAX_PROFILE, convert_to_srgb, describe_profile, gray_to_rgb, keep_profile

ADOBE = imagecodecs.cms_profile("adobergb")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR_GRAY = imagecodecs.cms_profile("gray", gamma=1.0)
GRAY = imagecodecs.cms_profile("gray", gamma=2.6)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)


def test_a_profile_is_kept_and_named_unless_it_is_srgb():
    assert keep_profile(ADOBE, 3) == (ADOBE, ("colours are in the profile 'Adobe RGB (compatible)', which is kept",))
    assert keep_profile(SRGB, 4) == (b"", ())
    assert keep_profile(LINEAR_GRAY, 2)[0] == LINEAR_GRAY
    assert keep_profile(b"", 3) == (b"", ())


def damaged():
    content = bytearray(ADOBE)
    content[200:400] = b"\xff" * 200
    return bytes(content)


@pytest.mark.parametrize(
    ("profile", "channels", "reason"),
    [
        (ADOBE, 1, "it is one for RGB, not for these channels"),
        (LINEAR_GRAY, 3, "it is one for GRAY, not for these channels"),
        (b"profile", 3, "it is not a complete ICC profile"),
        (ADOBE[:-200], 3, "it is not a complete ICC profile"),
        (damaged(), 3, "it is damaged"),
        (bytes(MAX_PROFILE + 1), 3, f"it must have at most {MAX_PROFILE} bytes"),
    ],
)
def test_a_profile_that_is_left_out_is_noted(profile, channels, reason):
    kept, [note] = keep_profile(profile, channels)
    assert kept == b""
    assert note.startswith(f"colour profile left out: {reason}")
    assert "\n" not in note


def test_conversion_agrees_with_pillow():
    """Pillow converts 8 bits; one level of rounding each."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(ADOBE))
    expected = ImageCms.profileToProfile(Image.fromarray(PIXELS), source, ImageCms.createProfile("sRGB"))
    converted = convert_to_srgb(PIXELS / np.float32(255), ADOBE)
    np.testing.assert_allclose(converted * 255, np.asarray(expected), rtol=0, atol=1.01)


def test_linear_gray_becomes_that_of_srgb():
    light = np.linspace(0, 1, 50)
    pixels = np.stack([light, light], -1)[None]
    converted = convert_to_srgb(pixels, LINEAR_GRAY)
    expected = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(converted[0, :, 0], expected, atol=1e-3)
    np.testing.assert_array_equal(converted[0, :, 1], np.float32(light))  # alpha


def in_srgb(gray):
    """Convert 8-bit gray from the profile to RGB by Pillow, which rounds to a level."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(GRAY))
    image = Image.fromarray(gray)
    return np.asarray(ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"))


def test_gray_becomes_rgb_in_srgb():
    gray = PIXELS[..., :2] / np.float32(255)
    converted, notes = gray_to_rgb(gray, GRAY)
    np.testing.assert_allclose(converted[..., :3] * 255, in_srgb(PIXELS[..., 0]), rtol=0, atol=1.01)
    np.testing.assert_array_equal(converted[..., 3], gray[..., 1])  # alpha
    assert notes == (f"gray converted from {describe_profile(GRAY)!r} to sRGB",)
    converted, notes = gray_to_rgb(gray[..., :1], b"")
    np.testing.assert_array_equal(converted, np.dstack([gray[..., 0]] * 3))
    assert notes == ()
    broken = GRAY[:200] + b"\xff" * (len(GRAY) - 200)
    converted, [note] = gray_to_rgb(gray[..., :1], broken)
    np.testing.assert_array_equal(converted, np.dstack([gray[..., 0]] * 3))
    assert note.startswith("colour profile left out: it is damaged")


def test_webp_which_has_no_gray_has_no_profile_of_gray(tmp_path):
    write_image(tmp_path / "a.webp", PIXELS[..., 0], profile=GRAY)
    with Image.open(tmp_path / "a.webp") as image:
        assert (image.mode, image.info.get("icc_profile")) == ("RGB", None)
        np.testing.assert_allclose(np.asarray(image).astype(int), in_srgb(PIXELS[..., 0]), rtol=0, atol=1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_files_are_read_and_written_with_their_profile(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, PIXELS, profile=ADOBE)
    if suffix == ".tif":
        with Image.open(path) as image:
            assert image.tag_v2[34675] == ADOBE
    else:
        with Image.open(path) as image:
            assert image.info["icc_profile"] == ADOBE
    image = read_source_image(path)
    assert image.profile == ADOBE
    assert image.notes == ("colours are in the profile 'Adobe RGB (compatible)', which is kept",)
    converted = read_source_image(path, to_srgb=True)
    assert (converted.profile, converted.notes) == (b"", ("converted from 'Adobe RGB (compatible)' to sRGB",))
    np.testing.assert_array_equal(converted.pixels, convert_to_srgb(image.pixels, ADOBE))
    np.testing.assert_array_equal(read_image(path, to_srgb=True), converted.pixels)
    assert converted.sha256 != image.sha256  # by which a checkpoint is recognised


def test_files_without_profile_do_not_change(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    plain, converted = (read_source_image(tmp_path / "a.png", to_srgb=choice) for choice in (False, True))
    np.testing.assert_array_equal(plain.pixels, converted.pixels)
    assert (plain.sha256, plain.notes) == (converted.sha256, ())
    assert b"iCCP" not in (tmp_path / "a.png").read_bytes()


def test_pillow_images_keep_their_profile():
    image = Image.fromarray(PIXELS)
    image.info["icc_profile"] = ADOBE
    assert as_source_image(image).profile == ADOBE


def test_the_profile_of_inks_is_not_that_of_the_pixels(tmp_path):
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=ADOBE.replace(b"RGB ", b"CMYK", 1))
    image = read_source_image(tmp_path / "a.jpg")
    assert image.profile == b""
    assert image.notes[1] == "colour profile left out: it is one for CMYK, not for these channels"


def test_conversion_refuses_profiles_of_other_channels():
    with pytest.raises(EorenError, match="it is one for RGB"):
        convert_to_srgb(np.zeros((2, 2, 1)), ADOBE)


def test_profiles_without_description():
    assert describe_profile(b"") == "without a name"
