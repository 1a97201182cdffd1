import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from eoren.errors import EorenError
from eoren.image.io import SAMPLES, as_image, as_source_image, hash_pixels, read_image, read_source_image, write_image


def random(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name):
    from skimage import data

    expected = getattr(data, name)()
    np.testing.assert_array_equal(read_image(f"sample:{name}"), as_image(expected))


def test_unknown_sample():
    for name in ("mona-lisa", "", "../astronaut"):
        with pytest.raises(EorenError, match="use one of astronaut, camera, chelsea, coffee, rocket"):
            read_image(f"sample:{name}")


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0, 51], [102, 255]], np.uint8),
        np.array([[0, 51], [102, 255]], np.uint16) * 257,
        np.array([[0, 0.2], [0.4, 1]]),
        np.array([[0, 0.2], [0.4, 1]], np.float32).astype(">f4"),
        [[0.0, 0.2], [0.4, 1.0]],
        [[[0.0], [0.2]], [[0.4], [1.0]]],
        ((0.0, 0.2), [0.4, 1.0]),
        np.array([[0, 0.4], [0.2, 1]]).T,
    ],
)
def test_as_image_converts(array):
    image = as_image(array)
    assert image.shape == (2, 2, 1)
    assert image.dtype == np.dtype("=f4")
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image.ravel(), np.float32([0, 0.2, 0.4, 1]))


def test_as_source_image(tmp_path):
    pixels = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 4, 3)
    array = as_source_image(pixels)
    np.testing.assert_array_equal(array.pixels, pixels)
    assert (array.bit_depth, array.sha256, array.name) == (32, hash_pixels(pixels), "")
    assert as_source_image(array) is array
    write_image(tmp_path / "a.png", pixels)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        image, expected = as_source_image(path), read_source_image(path)
        np.testing.assert_array_equal(image.pixels, expected.pixels)
        assert (image.sha256, image.name, image.bit_depth) == (expected.sha256, "a.png", 8)


def test_as_image_copies():
    given = np.zeros((2, 2, 3), np.float32)
    image = as_image(given)
    given[:] = 1
    assert image.max() == 0
    given.flags.writeable = False
    assert as_image(given).flags.writeable


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.0, 255.0]]), "values must lie in [0, 1], got 0.0 to 255.0; divide by 255"),
        (np.array([[-0.25, 1.0]]), "values must lie in [0, 1], got -0.25 to 1.0; rescale or clip them"),
        (np.array([[0.5, 1 + 1e-9]]), "values must lie in [0, 1], got 0.5 to 1.000000001; rescale or clip them"),
        (np.array([[0.5, np.nan]]), "values must be finite, got NaN or infinity"),
        (np.array([[0.5, -np.inf]]), "values must be finite, got NaN or infinity"),
        (np.array([[1, 2]]), "values must be uint8, uint16, bool or floats in [0, 1], got int64; convert them"),
        (np.array([["a"]]), "got <U1"),
        (
            np.zeros((3, 64, 64)),
            "must have shape (height, width) or (height, width, 1 to 4) without zeros, got (3, 64, 64)",
        ),
        (np.zeros((2, 2, 0)), "got (2, 2, 0)"),
        ([[0.5], [0.5, 0.5]], "list is not an array"),
        ([[0, 1]], "got int64"),
        ([], "got (0,)"),
        (0.5, "got ()"),
        # Broadcast from one number: the size is checked before the values.
        (np.broadcast_to(np.nan, (2**15, 2**15 + 1)), "32769 x 32768 pixels exceed the limit of 1073741824"),
        (np.broadcast_to(np.uint8(1), (2, 2**29 + 1, 3)), "536870913 x 2 pixels exceed the limit"),
    ],
)
def test_as_image_refuses(array, message):
    with pytest.raises(EorenError) as caught:
        as_image(array)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# Pillow images


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"])
def test_pillow_images_are_converted_by_mode(mode):
    source = {"PA": "P", "P": "RGB"}.get(mode, "RGBA")  # Pillow converts to `mode` only from some modes
    image = Image.fromarray(random((9, 8, 4))).convert(source).convert(mode)
    plain = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "RGBX": "RGB"}
    expected = image.convert(plain.get(mode, mode))
    np.testing.assert_array_equal(as_image(image), as_image(np.asarray(expected)))


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_colours_of_pillow_images_are_divided_by_alpha(mode):
    image = Image.fromarray(random((9, 8, 4))).convert("LA" if mode == "La" else "RGBA").convert(mode)
    stored = np.asarray(image).astype(np.float64)
    alpha = stored[..., -1:]
    expected = np.divide(stored[..., :-1], alpha, out=np.zeros_like(stored[..., :-1]), where=alpha > 0)
    source = as_source_image(image)
    np.testing.assert_allclose(source.pixels[..., :-1], expected, rtol=1e-6)
    np.testing.assert_array_equal(source.pixels[..., -1:], np.float32(alpha) / np.float32(255))
    assert source.notes == ("colours divided by alpha, by which the file multiplies them",)
    assert source.bit_depth == 8


@pytest.mark.parametrize("samples", [random((5, 6), np.uint16), random((5, 6)) / np.float32(255)])
def test_pillow_images_of_16_bits_and_floats(samples):
    image = Image.fromarray(samples)
    assert image.mode in ("I;16", "F")
    np.testing.assert_array_equal(as_image(image), as_image(samples))


def test_transparent_colours_of_pillow_images_become_alpha(tmp_path):
    palette = Image.fromarray(random((9, 8, 3))).quantize(7)
    palette.info["transparency"] = 2
    np.testing.assert_array_equal(as_image(palette)[..., 3], np.asarray(palette) != 2)
    gray = Image.fromarray(np.uint8([[0, 7, 255]]))
    gray.info["transparency"] = 7
    assert as_image(gray)[0, :, 1].tolist() == [1, 0, 1]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".tif", "-lzw.tif"])
@pytest.mark.parametrize("loaded", [False, True])
def test_opened_pillow_images_are_those_that_are_read(tmp_path, suffix, loaded):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[274] = 6
    options = {"compression": "tiff_lzw"} if suffix == "-lzw.tif" else {}
    Image.fromarray(random((9, 8, 3))).save(path, exif=exif, **options)
    with Image.open(path) as image:
        if loaded:
            image.load()
        np.testing.assert_array_equal(as_image(image), read_image(path))
        np.testing.assert_array_equal(as_image(ImageOps.exif_transpose(image)), read_image(path))


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_png_of_few_bits_with_a_transparent_colour(tmp_path, bits):
    levels = np.arange(2**bits, dtype=np.uint8) * (255 // (2**bits - 1))
    image = Image.fromarray(levels[None])
    image.save(tmp_path / "a.png", bits=bits)
    content = (tmp_path / "a.png").read_bytes()
    key = b"tRNS\0\1"
    at = content.index(b"IDAT") - 4
    content = content[:at] + struct.pack(">I", 2) + key + struct.pack(">I", zlib.crc32(key)) + content[at:]
    (tmp_path / "a.png").write_bytes(content)
    pixels = read_image(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(as_image(image), pixels)
    assert pixels.shape == (1, 2**bits, 2)


def test_pillow_images_that_are_refused(tmp_path):
    Image.fromarray(random((64, 64, 3))).save(tmp_path / "a.png")
    truncated = io.BytesIO((tmp_path / "a.png").read_bytes()[:-500])
    huge = Image.new("1", (8, 8))
    huge._size = (2**15, 2**15 + 1)
    for image, message in [
        (Image.new("HSV", (2, 2)), "image: pixels of type HSV are not supported"),
        (Image.new("LAB", (2, 2)), "image: pixels of type LAB are not supported"),
        (Image.new("I", (2, 2)), "image: values must be uint8, uint16, bool or floats in [0, 1], got int32"),
        (Image.new("F", (2, 2), 2.0), "image: values must lie in [0, 1], got 2.0 to 2.0"),
        (Image.new("RGB", (0, 2)), "image: must have shape"),
        (Image.open(truncated), "image: damaged or not supported (image file is truncated"),
        (huge, "image: 32768 x 32769 pixels exceed the limit"),
    ]:
        with pytest.raises(EorenError) as caught:
            as_image(image)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_pillow_images_have_the_pixels_of_their_tiff_files(tmp_path, mode, compression):
    if mode in ("I;16", "F"):
        image = Image.fromarray(random((9, 8), np.uint16) if mode == "I;16" else np.float32(random((9, 8)) / 255))
    else:
        image = Image.fromarray(random((9, 8, 4))).convert("RGB" if mode == "P" else "RGBA").convert(mode)
    image.save(tmp_path / "a.tif", compression=compression)
    expected = as_source_image(image)
    read = read_source_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.pixels, expected.pixels)
    assert (read.bit_depth, read.notes) == (expected.bit_depth, expected.notes)


def test_masked_arrays_are_refused_unless_nothing_is_masked():
    values = np.array([[0.25, 0.5]])
    assert as_image(np.ma.masked_array(values, False)).tolist() == [[[0.25], [0.5]]]
    with pytest.raises(EorenError, match=r"^image: a masked array has missing values; fill them"):
        as_image(np.ma.masked_array(values, [[True, False]]))


def test_16_bit_images_of_pillow_whose_zero_is_white(tmp_path):
    stored = random((8, 9), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(as_image(image), read_image(tmp_path / "a.tif"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), as_image(65535 - stored))


def test_pillow_images_are_written(tmp_path):
    image = Image.fromarray(random((9, 8, 3)))
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), as_image(image))


# write_image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_written_integers_come_back(tmp_path, suffix, dtype):
    stored = random((70, 33, 4), dtype)
    path = tmp_path / f"a{suffix}"
    write_image(path, stored, bit_depth=8 * stored.dtype.itemsize)
    image = read_source_image(path)
    np.testing.assert_array_equal(image.pixels, as_image(stored))
    assert image.bit_depth == 8 * stored.dtype.itemsize


def test_written_floats_are_clamped_and_masks_are_white(tmp_path):
    write_image(tmp_path / "a.png", np.array([[-1.0, 0.5, 2.0]]))
    assert cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED).tolist() == [[0, 128, 255]]
    write_image(tmp_path / "b.png", np.array([[False, True]]))
    assert cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED).tolist() == [[0, 255]]


def test_write_image_refuses(tmp_path):
    for array in (np.zeros((2, 2, 5)), np.zeros((0, 2)), np.zeros(3), np.zeros((2, 2), np.int64), [[1], [1, 2]]):
        with pytest.raises(EorenError, match=r"a\.png: "):
            write_image(tmp_path / "a.png", array)
    assert not any(tmp_path.iterdir())


# File objects.


@pytest.mark.parametrize("form", ["png", "tif", "npy", "jpg", "webp"])
def test_file_objects_get_the_bytes_of_a_file(tmp_path, form):
    pixels = random((20, 30, 3))
    write_image(tmp_path / f"a.{form}", pixels)
    file = io.BytesIO(b"!")
    file.seek(1)
    write_image(file, pixels, format=form)
    assert file.getvalue() == b"!" + (tmp_path / f"a.{form}").read_bytes()
    with (tmp_path / f"b.{form}").open("wb") as named:
        write_image(named, pixels)
        assert not named.closed
    assert (tmp_path / f"b.{form}").read_bytes() == file.getvalue()[1:]
    write_image(tmp_path / "c", pixels, format=f".{form.upper()}")
    assert (tmp_path / "c").read_bytes() == file.getvalue()[1:]


def test_formats_of_file_objects_must_be_known():
    for options, message in [
        ({}, r"BytesIO: the format of a file object must be given, such as format='png'"),
        ({"format": "bmp"}, r"BytesIO: cannot write the format '\.bmp'; use \.png, .*"),
        ({"format": "jpg", "bit_depth": 16}, r"BytesIO: \.jpg holds 8 bits, not 16; use .*"),
    ]:
        file = io.BytesIO()
        with pytest.raises(EorenError, match=f"^{message}$"):
            write_image(file, random((4, 4)), **options)
        assert file.getvalue() == b""


def test_damaged_bytes_are_one_line():
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n", npy_header("(9999999999,)"), npy_header("(40000, 40000)")):
        with pytest.raises(EorenError, match=r"^bytes: [^\n]*$"):
            read_image(content)


def npy_header(shape):
    """A .npy file of version 1 without its values."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_is_read(version):
    pixels, file = random((3, 5)), io.BytesIO()
    np.lib.format.write_array(file, pixels, version, allow_pickle=False)
    np.testing.assert_array_equal(read_image(file.getvalue()), as_image(pixels))
