import io
import struct
import tracemalloc
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from eoren.errors import EorenError
from eoren.image.io import read_image, read_source_image
from eoren.image.profiles import srgb_profile
from eoren.image.writers import Bands, check_format, to_unsigned, write_rows


def strips(pixels, *heights):
    """Cut an image into strips of the given heights and a last one with the rest."""
    return np.split(pixels, np.cumsum(heights))


def write(path, pixels, *, bit_depth=8, heights=()):
    height, width, channels = pixels.shape
    rows = iter(strips(pixels, *heights))
    write_rows(path, rows, height=height, width=width, channels=channels, bit_depth=bit_depth)


def cv2_pixels(path):
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored.ndim == 2:
        return stored[..., None]
    return stored[..., [2, 1, 0, 3][: stored.shape[2]]]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_every_value_reaches_an_independent_reader(tmp_path, suffix, bit_depth, channels):
    peak = 2**bit_depth - 1
    stored = np.random.default_rng(0).integers(0, peak + 1, (300, 270, channels), dtype=f"u{bit_depth // 8}")
    path = tmp_path / f"a{suffix}"
    write(path, (stored / peak).astype(np.float32), bit_depth=bit_depth, heights=(1, 0, 130, 100))
    if suffix != ".png" and channels == 4 and bit_depth == 8:  # OpenCV multiplies these colours by alpha
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), stored)
    else:
        np.testing.assert_array_equal(cv2_pixels(path), stored)


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_gray_with_alpha(tmp_path, bit_depth):
    peak = 2**bit_depth - 1
    stored = np.random.default_rng(1).integers(0, peak + 1, (70, 40, 2), dtype=f"u{bit_depth // 8}")
    write(tmp_path / "a.png", (stored / peak).astype(np.float32), bit_depth=bit_depth)
    write(tmp_path / "a.tif", (stored / peak).astype(np.float32), bit_depth=bit_depth)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), stored)
    with Image.open(tmp_path / "a.png") as image:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(alpha, stored[..., 1] >> (bit_depth - 8))
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(np.round(read_image(tmp_path / name) * peak), stored)


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_all_levels_survive_a_round_trip(tmp_path, suffix, bit_depth):
    levels = np.arange(2**bit_depth, dtype=f"u{bit_depth // 8}").reshape(-1, 16)
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    tifffile.imwrite(tmp_path / "levels.tif", levels)
    pixels = read_image(tmp_path / "levels.tif")
    write(first, pixels, bit_depth=bit_depth)
    write(second, read_image(first), bit_depth=bit_depth)
    np.testing.assert_array_equal(cv2_pixels(first)[..., 0], levels)
    assert first.read_bytes() == second.read_bytes()
    assert read_source_image(first).bit_depth == bit_depth


def test_halves_round_up_and_other_values_are_clamped(tmp_path):
    # k + 1/2 is exact in binary, and so is the product with 255 for these k.
    halves = np.float32([0.5, 127.5, 254.5]) / np.float32(255)
    values = np.float32([-7, -0.001, *np.nextafter(halves, 1), 1.001, 7]).reshape(1, -1, 1)
    write(tmp_path / "a.png", values)
    assert cv2_pixels(tmp_path / "a.png").ravel().tolist() == [0, 0, 1, 128, 255, 255, 255]


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_unsigned_is_the_inverse_of_division_by_the_peak(dtype, bit_depth):
    values = np.arange(2**bit_depth, dtype=f"u{bit_depth // 8}").reshape(-1, 4, 2)
    rounded = to_unsigned((values / (2**bit_depth - 1)).astype(dtype), bit_depth)
    assert rounded.dtype == values.dtype
    np.testing.assert_array_equal(rounded, values)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types(tmp_path, dtype):
    write(tmp_path / "a.png", np.ones((2, 2, 1), dtype), bit_depth=16)
    assert cv2_pixels(tmp_path / "a.png").min() == 65535


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_float_formats_keep_every_bit(tmp_path, channels):
    pixels = np.random.default_rng(2).normal(size=(90, 300, channels)).astype(np.float32)
    write(tmp_path / "a.npy", pixels, heights=(7, 70))
    write(tmp_path / "a.tif", pixels, bit_depth=32, heights=(7, 70))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), pixels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif").reshape(pixels.shape), pixels)


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_is_lossless(tmp_path, channels):
    stored = np.random.default_rng(3).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    stored[:5, :, 3:] = 0
    write(tmp_path / "a.webp", stored.astype(np.float32) / 255, heights=(3,))
    with Image.open(tmp_path / "a.webp") as image:
        np.testing.assert_array_equal(np.asarray(image), stored)


def test_gray_webp_repeats_the_channel(tmp_path):
    stored = np.random.default_rng(5).integers(0, 256, (7, 9, 1), np.uint8)
    write(tmp_path / "a.webp", stored.astype(np.float32) / 255, heights=(7,))
    with Image.open(tmp_path / "a.webp") as image:
        np.testing.assert_array_equal(np.asarray(image), stored.repeat(3, -1))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close(tmp_path, channels):
    x = np.linspace(0, 1, 64, dtype=np.float32)
    pixels = np.stack([x[:, None] * x, x[:, None] * (1 - x), 0 * x[:, None] + x][:channels], axis=-1)
    write(tmp_path / "a.jpg", pixels)
    with Image.open(tmp_path / "a.jpg") as image:
        stored = np.asarray(image, np.float32).reshape(pixels.shape) / 255
    assert np.abs(stored - pixels).max() < 0.02


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (256, 256), (257, 255)])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_edge_sizes(tmp_path, suffix, size):
    stored = np.random.default_rng(4).integers(0, 256, (*size, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    write(path, stored.astype(np.float32) / 255)
    np.testing.assert_array_equal(np.round(read_image(path) * 255), stored)


def test_png_compresses_like_pillow(tmp_path):
    image = read_image("sample:astronaut")
    write(tmp_path / "ours.png", image)
    Image.fromarray(np.uint8(image * 255 + 0.5)).save(tmp_path / "pillow.png")
    sizes = [(tmp_path / name).stat().st_size for name in ("ours.png", "pillow.png")]
    assert sizes[0] < 1.15 * sizes[1]


def test_tiff_is_tiled_and_big_only_if_necessary(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", np.zeros((300, 300, 3), np.float32))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages.first.is_tiled
        assert not tiff.is_bigtiff
    seen = {}
    monkeypatch.setattr(tifffile, "imwrite", lambda path, tiles, **options: seen.update(options))
    with pytest.raises(EorenError, match="must have 40000 rows, got 0"):
        write_rows(tmp_path / "b.tif", [], height=40_000, width=40_000, channels=3)
    assert seen["bigtiff"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_memory_does_not_grow_with_the_image(tmp_path, suffix):
    side, strip = 4096, 32  # 192 MiB as floats

    def rows():
        for i in range(0, side, strip):
            yield np.full((strip, side, 3), i / side, np.float32)

    tracemalloc.start()
    try:
        write_rows(tmp_path / f"a{suffix}", rows(), height=side, width=side, channels=3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * 2**20


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".jpg", ".webp"])
@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_interruption_leaves_the_old_file(tmp_path, suffix, interruption):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def rows():
        yield np.zeros((300, 300, 3), np.float32)
        raise interruption

    with pytest.raises(interruption):
        write_rows(path, rows(), height=600, width=300, channels=3)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".jpg", ".webp"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "must have 4 rows, got 0"),
        ([(3, 5, 3)], "must have 4 rows, got 3"),
        ([(4, 5, 3), (1, 5, 3)], "must have 4 rows, got 5 or more"),
        ([(4, 4, 3)], r"rows must be floats of shape \(rows, 5, 3\), got float32 of \(4, 4, 3\)"),
        ([(4, 5)], r"got float32 of \(4, 5\)"),
    ],
)
def test_strips_of_wrong_shapes_are_refused(tmp_path, suffix, rows, message):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(EorenError, match=message):
        write_rows(path, (np.zeros(shape, np.float32) for shape in rows), height=4, width=5, channels=3)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_values_that_are_not_finite_are_refused(tmp_path, suffix, value):
    pixels = np.zeros((100, 2, 1), np.float32)
    pixels[80] = value
    with pytest.raises(EorenError, match="must be finite, got NaN or infinity in row 64 or below"):
        write(tmp_path / f"a{suffix}", pixels)


def test_integers_are_refused(tmp_path):
    with pytest.raises(EorenError, match="uint8"):
        write_rows(tmp_path / "a.png", iter([np.zeros((2, 2, 1), np.uint8)]), height=2, width=2, channels=1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.bmp", {}, "cannot write the format '.bmp'; use .png, .tif, .tiff, .npy, .jpg, .jpeg or .webp"),
        ("a", {}, "cannot write the format ''"),
        ("a.jpg", {"channels": 4}, ".jpg holds 1 or 3 channels, not 4; use .png, .tif, .npy or .webp"),
        ("a.jpeg", {"channels": 2}, ".jpeg holds 1 or 3 channels, not 2; use .png, .tif or .npy"),
        ("a.webp", {"channels": 2}, ".webp holds 1, 3 or 4 channels, not 2; use .png, .tif or .npy"),
        ("a.png", {"channels": 5}, "not 5; no format holds it"),
        ("a.jpg", {"bit_depth": 16}, ".jpg holds 8 bits, not 16; use .png, .tif or .npy"),
        ("a.png", {"bit_depth": 32}, ".png holds 8 or 16 bits, not 32; use .tif or .npy"),
        (
            "a.jpg",
            {"width": 65501},
            "65501 x 4 pixels exceed the 65500 per side of .jpg; use .png, .tif or .npy",
        ),
        ("a.webp", {"height": 16384}, "exceed the 16383 per side of .webp; use .png, .tif, .npy or .jpg"),
        ("a.png", {"height": 0}, "must have at least 1 x 1 pixels, got 4 x 0"),
        ("a.npy", {"width": 2**24 + 1, "height": 1}, "16777217 x 1 pixels are too many; 16,777,216 a row and"),
        ("a.tif", {"width": 2**20, "height": 2**20 + 1}, "and 1,099,511,627,776 in all are the limits"),
    ],
)
def test_images_that_a_format_cannot_hold_are_refused(tmp_path, name, options, message):
    options = {"height": 4, "width": 4, "channels": 3, "bit_depth": 8, **options}
    for check in (check_format, lambda path, **options: write_rows(path, iter(()), **options)):
        with pytest.raises(EorenError) as caught:
            check(tmp_path / name, **options)
        assert message in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_the_largest_sizes_of_the_formats_are_accepted():
    check_format("a.jpg", height=65500, width=65500, channels=3)
    check_format("a.webp", height=16383, width=16383, channels=3)
    check_format("a.png", height=2**31 - 1, width=1, channels=3)
    for name in ("a.png", "a.tif", "a.npy"):
        check_format(name, height=2**16, width=2**24, channels=3)


def test_png_header(tmp_path):
    write(tmp_path / "a.png", np.zeros((3, 5, 4), np.float32), bit_depth=16)
    header = (tmp_path / "a.png").read_bytes()[16:29]
    assert struct.unpack(">IIBBBBB", header) == (5, 3, 16, 6, 0, 0, 0)


@pytest.mark.parametrize("bit_depth", [8, 16, 32])
def test_colors_in_a_tiff_are_srgb(tmp_path, bit_depth):
    write(tmp_path / "a.tif", np.full((4, 5, 3), 0.25, np.float32), bit_depth=bit_depth)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(tiff.pages.first.iccprofile))
    levels = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3), -1).reshape(6, 36, 3)
    converted = ImageCms.profileToProfile(Image.fromarray(levels), profile, ImageCms.createProfile("sRGB"))
    assert np.abs(np.asarray(converted).astype(int) - levels).max() <= 1
    assert read_source_image(tmp_path / "a.tif").profile == b""  # the default
    second = tmp_path / "b.tif"
    write(second, np.full((4, 5, 3), 0.25, np.float32), bit_depth=bit_depth)
    assert second.read_bytes() == (tmp_path / "a.tif").read_bytes()


def test_only_colors_have_a_profile(tmp_path):
    own = srgb_profile()[:24] + b"\7" * 12 + srgb_profile()[36:]
    options = {"height": 2, "width": 3, "channels": 3, "profile": own}
    write_rows(tmp_path / "own.tif", [np.zeros((2, 3, 3), np.float32)], **options)
    write(tmp_path / "gray.tif", np.zeros((2, 3, 1), np.float32))
    bands = Bands(("a", "b", "<c & d>"), "metres")
    options = {"height": 2, "width": 3, "channels": 3, "bit_depth": 32, "bands": bands}
    write_rows(tmp_path / "bands.tif", [np.zeros((2, 3, 3), np.float32)], **options)
    described = {"own": (own, "RGB"), "gray": (None, "MINISBLACK"), "bands": (None, "MINISBLACK")}
    for name in described:
        with tifffile.TiffFile(tmp_path / f"{name}.tif") as tiff:
            page = tiff.pages.first
            assert (page.iccprofile, page.photometric.name) == described[name]
            metadata = page.tags.valueof("GDAL_METADATA")
            assert (metadata is not None) == (name == "bands")
    items = list(ElementTree.fromstring(metadata))
    found = [(item.get("sample"), item.get("role"), item.text) for item in items]
    expected = [
        (str(k), role, text)
        for k, name in enumerate(bands.names)
        for role, text in (("description", name), ("unittype", "metres"))
    ]
    assert found == expected
