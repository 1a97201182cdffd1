"""The same image gives the same pixels and notes in every packing of TIFF, or one line of refusal."""

import os
import struct
import threading

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.image.tiff_files import DEFLATE, LZW, Packing, packings, tiff

from eoren.errors import EorenError
from eoren.fs.streams import open_input
from eoren.image.io import as_image, decode, read_source_image

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = [0], [1], [2]
DTYPES = (np.uint8, np.uint16, np.float32)
SHAPE = (5, 19)  # an incomplete last strip, and two tiles

NOTES = {
    "none": (),
    "undescribed": ("a channel without description taken for alpha",),
    "unspecified": ("a channel of unspecified meaning left out",),
    "associated": ("colours divided by alpha, by which the file multiplies them",),
    "unassociated": (),
}
EXTRAS = {
    "none": None,
    "undescribed": None,
    "unspecified": UNSPECIFIED,
    "associated": ASSOCIATED,
    "unassociated": UNASSOCIATED,
}
PALETTES = {8: np.arange(768).reshape(256, 3) * 7 % 256 * 257, 16: np.arange(768).reshape(256, 3) * 83}


def random(shape, dtype, seed=0):
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.random(shape).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def unit(samples):
    return samples / (1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max))


def picture(photometric, dtype, extra):
    """Return samples as stored and the pixels that they mean, float64."""
    colors = random((*SHAPE, COLORS[photometric]), dtype)
    alpha = random((*SHAPE, 1), dtype, seed=1)
    if photometric == PALETTE and dtype == np.uint16:
        colors %= 256
    if extra == "associated":
        colors = np.minimum(colors, alpha)
    stored = colors if extra == "none" else np.concatenate([colors, alpha], 2)
    light = unit(colors)
    if photometric == WHITE_IS_ZERO:
        light = 1 - light
    elif photometric == CMYK:
        light = (1 - light[..., :3]) * (1 - light[..., 3:])
    elif photometric == PALETTE:
        light = PALETTES[16 if dtype == np.uint16 else 8][colors[..., 0]] / 65535
    elif extra == "associated":
        light = np.divide(light, unit(alpha), out=np.zeros_like(light), where=alpha > 0)
    return stored, light if extra in ("none", "unspecified") else np.concatenate([light, unit(alpha)], 2)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("photometric", COLORS)
def test_every_packing_has_the_same_pixels(tmp_path, photometric, dtype, extra):
    if photometric == PALETTE and dtype == np.float32:
        pytest.skip("indices are integers")
    stored, expected = picture(photometric, dtype, extra)
    palette = PALETTES[16 if dtype == np.uint16 else 8].astype(np.uint16) if photometric == PALETTE else None
    if palette is not None and dtype == np.uint16:
        palette = np.pad(palette, [(0, 65536 - 256), (0, 0)])
    # Integers of CMYK are rounded once more, to the levels of the file.
    step = 0.5 / (1 if dtype == np.float32 else np.iinfo(dtype).max) if photometric == CMYK else 0
    path = tmp_path / "a.tif"
    for packing in packings(dtype):
        path.write_bytes(tiff(stored, photometric, packing, extras=EXTRAS[extra], palette=palette))
        if extra == "associated" and photometric in (WHITE_IS_ZERO, PALETTE, CMYK):
            with pytest.raises(EorenError, match="only gray and RGB can be multiplied by alpha"):
                read_source_image(path)
            continue
        image = read_source_image(path)
        np.testing.assert_allclose(image.pixels, expected, rtol=0, atol=step + 1e-7, err_msg=str(packing))
        assert image.notes == (("CMYK converted to RGB",) if photometric == CMYK else ()) + NOTES[extra]
        assert image.bit_depth == (32 if dtype == np.float32 else np.dtype(dtype).itemsize * 8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_files_of_these_tests_are_those_of_other_readers(tmp_path, dtype):
    """Read with OpenCV (libtiff) what it reads exactly: without it, writer and reader could share a fault."""
    stored = random((*SHAPE, 3), dtype)
    for packing in packings(dtype):
        if packing.planar:  # OpenCV reads these wrongly
            continue
        (tmp_path / "a.tif").write_bytes(tiff(stored, RGB, packing))
        read = cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read[..., ::-1], stored, err_msg=str(packing))


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE])
def test_few_bits(tmp_path, photometric, bits):
    stored = random((*SHAPE, 1), np.uint8) % 2**bits
    palette = random((2**bits, 3), np.uint8, seed=1)
    expected = {PALETTE: palette[stored[..., 0]] / 255, BLACK_IS_ZERO: stored / (2**bits - 1)}
    expected[WHITE_IS_ZERO] = 1 - expected[BLACK_IS_ZERO]
    colormap = palette.astype(np.uint16) * 256 if photometric == PALETTE else None
    for packing in (Packing(), Packing(LZW), Packing(DEFLATE, 1, ">")):
        (tmp_path / "a.tif").write_bytes(tiff(stored, photometric, packing, palette=colormap, bits=bits))
        image = read_source_image(tmp_path / "a.tif")
        np.testing.assert_allclose(image.pixels, expected[photometric], rtol=0, atol=1e-7)
        assert (image.bit_depth, image.notes) == (8, ())


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_faxes_are_refused(tmp_path, compression):
    """Their decoders do not notice missing rows."""
    Image.fromarray(random((33, 50), np.uint8) > 128).save(tmp_path / "a.tif", compression=compression)
    with pytest.raises(EorenError, match="compression must be one of none, LZW, JPEG, deflate, PackBits, Zstandard"):
        read_source_image(tmp_path / "a.tif")


def test_a_jpeg_strip_that_claims_a_gigapixel_is_refused(tmp_path):
    Image.fromarray(random((64, 64, 3), np.uint8)).save(tmp_path / "a.tif", compression="jpeg")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    header = content.index(b"\xff\xc0")
    content[header + 5 : header + 9] = struct.pack(">HH", 65000, 65000)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(EorenError, match="a strip of 64 x 64 pixels claims 65000 x 65000"):
        read_source_image(tmp_path / "a.tif")


@pytest.mark.parametrize("scale", [1, 256, 257])
def test_palettes_of_8_bits_in_the_three_ways_that_programs_write_them(tmp_path, scale):
    colors = random((256, 3), np.uint8)
    stored = random((*SHAPE, 1), np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(stored, PALETTE, palette=colors.astype(np.uint16) * scale))
    image = read_source_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, as_image(colors[stored[..., 0]]))
    assert image.bit_depth == 8


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_agrees_with_libtiff(tmp_path, mode):
    smooth = cv2.resize(random((6, 8, 3), np.uint8), (80, 60), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(smooth).convert(mode).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    with Image.open(tmp_path / "a.tif") as image:
        expected = as_image(np.asarray(image.convert(mode)))
    # Decoders interpolate subsampled colours in different ways.
    assert np.abs(read_source_image(tmp_path / "a.tif").pixels - expected).mean() < 2 / 255


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_floats_with_their_predictor(tmp_path, dtype):
    stored = random((*SHAPE, 1), dtype)
    (tmp_path / "a.tif").write_bytes(tiff(stored, BLACK_IS_ZERO, Packing(DEFLATE, 3)))
    np.testing.assert_array_equal(read_source_image(tmp_path / "a.tif").pixels, stored)
    cv2.imwrite(str(tmp_path / "b.tif"), np.float32(stored), [cv2.IMWRITE_TIFF_COMPRESSION, 8])
    np.testing.assert_array_equal(read_source_image(tmp_path / "b.tif").pixels, stored)


def test_profiles_are_read(tmp_path):
    profile = list(b"a profile")
    (tmp_path / "a.tif").write_bytes(tiff(random((2, 3, 3), np.uint8), RGB, tags=[(34675, 7, profile)]))
    with open_input(tmp_path / "a.tif") as source:
        assert decode(source).profile == bytes(profile)


REFUSED = {
    "two undescribed channels": (tiff(random((2, 3, 3), np.uint8), BLACK_IS_ZERO), "2 extra channels have no desc"),
    "two unspecified channels": (
        tiff(random((2, 3, 5), np.uint8), RGB, extras=[0, 0]),
        "2 extra channels are not alpha",
    ),
    "other inks": (tiff(random((2, 3, 4), np.uint8), CMYK, tags=[(332, 3, [2])]), "must have the inks cyan"),
    "Lab": (tiff(random((2, 3, 3), np.uint8), 8), "colours of type CIELAB are not supported"),
    "YCbCr without JPEG": (tiff(random((2, 3, 3), np.uint8), 6), "colours of type YCBCR are not supported"),
    "a raw image": (tiff(random((2, 3, 1), np.uint8), 1, tags=[(50706, 3, [1, 4])]), "raw image of a camera"),
    "colours above their alpha": (
        tiff(np.uint8([[[200, 100]]]), BLACK_IS_ZERO, extras=[1]),
        "colours exceed the alpha",
    ),
    "an unknown compression": (tiff(random((2, 3, 1), np.uint8), 1, Packing(34925)), "compression must be one of"),
    "a volume": (tiff(random((2, 3, 1), np.uint8), 1, Packing(tiled=True), tags=[(32997, 3, [2])]), "volume of 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_exact_is_refused(tmp_path, case):
    content, message = REFUSED[case]
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(EorenError, match=message) as caught:
        read_source_image(tmp_path / "a.tif")
    assert str(caught.value).startswith(f"{tmp_path / 'a.tif'}: ")
    assert "\n" not in str(caught.value)


def test_missing_strips_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", random((8, 9), np.uint8), rowsperstrip=4, compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        tag = file.pages[0].tags[279]
        tag.overwrite((tag.value[0], 0))
    with pytest.raises(EorenError, match="strips or tiles are missing"):
        read_source_image(tmp_path / "a.tif")


def test_other_threads_keep_stderr_and_the_limits_of_pillow(tmp_path, capfd):
    """Neither the file descriptor nor ``Image.MAX_IMAGE_PIXELS`` changes while files are read."""
    Image.fromarray(random((200, 200, 3), np.uint8)).save(tmp_path / "a.tif", compression="tiff_lzw")
    Image.fromarray(random((200, 200, 3), np.uint8)).save(tmp_path / "a.png")
    limits, lines, reading = set(), 0, threading.Event()
    reading.set()

    def talk():
        nonlocal lines
        while reading.is_set():
            os.write(2, b"a line of another thread\n")
            limits.add(Image.MAX_IMAGE_PIXELS)
            lines += 1

    limit = Image.MAX_IMAGE_PIXELS
    thread = threading.Thread(target=talk)
    thread.start()
    images = [read_source_image(tmp_path / name) for name in ("a.tif", "a.png") * 20]
    reading.clear()
    thread.join()
    assert capfd.readouterr().err.count("\n") == lines > 0
    assert limits == {limit}
    assert {image.notes for image in images} == {()}
