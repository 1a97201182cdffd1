import hashlib
import io
import logging
import os
import struct
import sys
import threading
import warnings
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps, features

from eoren.errors import EorenError
from eoren.image.decoders import MAX_PIXELS
from eoren.image.io import as_image, read_image, read_source_image

ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def random(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def error_of(source):
    """Return the message of the error, after checking that it is one line that names the file."""
    with pytest.raises(EorenError) as caught:
        read_source_image(source)
    message = str(caught.value)
    assert message.startswith(f"{source}: ")
    assert "\n" not in message
    return message


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour_type, lines, *, interlaced=False, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_of(samples, colour_type, *, interlaced=False, extra=b""):
    """Encode samples without filters, by the specification."""
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in (ADAM7 if interlaced else [(0, 0, 1, 1)])]
    stored = [part.astype(samples.dtype.newbyteorder(">")) for part in passes if part.size]
    lines = b"".join(b"\0" + row.tobytes() for part in stored for row in part)
    height, width = samples.shape[:2]
    depth = 8 * samples.dtype.itemsize
    return png(width, height, depth, colour_type, lines, interlaced=interlaced, extra=extra)


# Exact reading at 8 and 16 bits.


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_png_is_read_exactly(tmp_path, channels, colour_type, dtype, interlaced):
    stored = random((37, 29, channels), dtype)
    path = tmp_path / "a.png"
    path.write_bytes(png_of(stored, colour_type, interlaced=interlaced))
    image = read_source_image(path)
    np.testing.assert_array_equal(image.pixels, (stored / np.iinfo(dtype).max).astype(np.float32))
    assert image.pixels.dtype == np.float32
    assert image.pixels.flags.c_contiguous
    assert image.bit_depth == 8 * stored.dtype.itemsize
    assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert image.name == "a.png"
    assert image.notes == ()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_files_of_opencv_are_read_exactly(tmp_path, suffix, dtype, channels):
    stored = random((37, 29, channels), dtype)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), stored[..., [2, 1, 0, 3]] if channels == 4 else stored[..., ::-1])
    pixels = read_image(tmp_path / f"a{suffix}")  # the TIFF: compressed with LZW and a predictor
    np.testing.assert_array_equal(np.round(pixels * np.iinfo(dtype).max), stored)


def test_float_tiff_must_lie_in_the_unit_range(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.linspace(-0.5, 2, 12, dtype=np.float32).reshape(3, 4))
    assert "values must lie in [0, 1], got -0.5 to 2.0" in error_of(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.int32])
def test_other_integer_tiffs_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), dtype))
    assert f"floats in [0, 1], got {np.dtype(dtype)}" in error_of(tmp_path / "a.tif")


@pytest.mark.parametrize("pages", [np.uint8, np.uint16])
def test_first_page_of_a_tiff(tmp_path, pages):
    tifffile.imwrite(tmp_path / "a.tif", random((3, 20, 30), pages), photometric="minisblack", metadata=None)
    image = read_source_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, as_image(random((3, 20, 30), pages)[0]))
    assert image.notes == ("first of 3 frames",)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("with_key", [False, True])
def test_gray_of_few_bits(tmp_path, bits, with_key):
    levels = np.arange(2**bits).repeat(8 // bits)
    packed = np.packbits((levels[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes()
    extra = chunk(b"tRNS", struct.pack(">H", 1)) if with_key else b""
    (tmp_path / "a.png").write_bytes(png(len(levels), 1, bits, 0, b"\0" + packed, extra=extra))
    image = read_source_image(tmp_path / "a.png")
    np.testing.assert_allclose(image.pixels[0, :, 0], levels / (2**bits - 1), rtol=1e-6)
    assert image.bit_depth == 8
    if with_key:
        np.testing.assert_array_equal(image.pixels[0, :, 1], levels != 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2)])
def test_transparent_colour_becomes_alpha(tmp_path, channels, colour_type, dtype):
    stored = random((6, 7, channels), dtype)
    stored[2, 3:5] = key = random(channels, dtype, seed=1)
    stored[3, 3] = key
    stored[3, 3, -1] ^= 1  # almost the key
    extra = chunk(b"tRNS", key.astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(png_of(stored, colour_type, extra=extra))
    pixels = read_image(tmp_path / "a.png")
    alpha = np.ones((6, 7))
    alpha[2, 3:5] = 0
    np.testing.assert_array_equal(pixels[..., -1], alpha)
    np.testing.assert_array_equal(pixels[..., :-1], as_image(stored))


def test_palettes(tmp_path):
    indices, palette = random((9, 8)) % 4, random((4, 3), seed=1)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(palette.ravel().tolist())
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "one.png", transparency=2)
    image.save(tmp_path / "many.png", transparency=bytes([255, 0, 128, 7]))
    image.save(tmp_path / "a.gif", transparency=2)
    expected = palette[indices] / np.float32(255)
    for name, alphas in [
        ("opaque.png", None),
        ("one.png", [255, 255, 0, 255]),
        ("many.png", [255, 0, 128, 7]),
        ("a.gif", [255, 255, 0, 255]),
    ]:
        pixels = read_image(tmp_path / name)
        np.testing.assert_array_equal(pixels[..., :3], expected)
        assert pixels.shape[2] == (3 if alphas is None else 4)
        if alphas:
            np.testing.assert_array_equal(pixels[..., 3], np.float32(alphas)[indices] / np.float32(255))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_agrees_with_opencv(tmp_path, mode):
    smooth = cv2.resize(random((6, 8, 3)), (80, 60), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(smooth).convert(mode).save(tmp_path / "a.jpg", quality=95)
    stored = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_UNCHANGED)
    expected = stored[..., None] if mode == "L" else stored[..., ::-1]
    assert np.abs(read_image(tmp_path / "a.jpg") * 255 - expected).max() < 1.5  # two implementations of the DCT


def test_cmyk_jpeg(tmp_path):
    inks = np.zeros((16, 64, 4), np.uint8)
    inks[:, 16:32, 0] = inks[:, 32:48, 1] = inks[:, 48:, 3] = 255  # paper, cyan, magenta, black
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.jpg", quality=100)
    image = read_source_image(tmp_path / "a.jpg")
    colours = image.pixels[8, 8::16]
    np.testing.assert_allclose(colours, [[1, 1, 1], [0, 1, 1], [1, 0, 1], [0, 0, 0]], atol=0.02)
    assert image.notes == ("CMYK converted to RGB",)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", "-16.tif", "-lzw.tif"])
def test_orientation(tmp_path, suffix, orientation):
    stored = cv2.resize(random((3, 4, 3)), (40, 30), interpolation=cv2.INTER_NEAREST)
    path = tmp_path / f"a{suffix}"
    expected = {  # where the first row and column of the stored image belong, by the EXIF standard
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).swapaxes(0, 1),
        8: np.rot90(stored),
    }[orientation]
    if suffix == "-16.tif":
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, np.uint16(stored) * 257, photometric="rgb", extratags=tags)
    else:
        exif = Image.Exif()
        exif[274] = orientation
        options = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
        if suffix == "-lzw.tif":
            options["compression"] = "tiff_lzw"
        Image.fromarray(stored).save(path, exif=exif, **options)
    image = read_source_image(path)
    np.testing.assert_allclose(image.pixels * 255, expected, atol=3 if suffix == ".jpg" else 1e-4)
    assert image.notes == (() if orientation == 1 else (f"EXIF orientation {orientation} applied",))


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
    image = read_source_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.pixels, np.broadcast_to(np.float32([1, 0, 0]), (10, 20, 3)))
    assert image.notes == ("first of 3 frames",)


def test_a_gif_is_transparent_around_its_first_frame(tmp_path):
    """As browsers show it; Pillow fills the rest with the first colour of the palette."""
    frame = Image.new("P", (3, 2), 1)
    frame.putpalette([0, 0, 0, 255, 0, 0])
    frame.save(tmp_path / "a.gif")
    content = bytearray((tmp_path / "a.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 6, 5)  # the screen
    descriptor = content.index(b",\0\0\0\0")
    content[descriptor + 1 : descriptor + 5] = struct.pack("<HH", 2, 1)  # place of the frame
    (tmp_path / "a.gif").write_bytes(content)
    image = read_source_image(tmp_path / "a.gif")
    expected = np.zeros((5, 6))
    expected[1:3, 2:5] = 1
    np.testing.assert_array_equal(image.pixels[..., 3], expected)
    np.testing.assert_array_equal(image.pixels[1:3, 2:5, :3], np.broadcast_to([1, 0, 0], (2, 3, 3)))
    assert image.notes == ("transparent around the first frame",)


@pytest.mark.parametrize(
    ("chunks", "notes"),
    [
        ([], ()),
        ([(b"gAMA", struct.pack(">I", 45455))], ()),
        ([(b"gAMA", struct.pack(">I", 100000))], ("gamma of 1 not applied",)),
        ([(b"gAMA", struct.pack(">I", 100000)), (b"sRGB", b"\0")], ()),
        (
            [(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))],
            ("primaries other than those of sRGB not applied",),
        ),
    ],
)
def test_gamma_and_primaries_are_noted(tmp_path, chunks, notes):
    stored = random((3, 4, 3))
    extra = b"".join(chunk(*each) for each in chunks)
    (tmp_path / "a.png").write_bytes(png_of(stored, 2, extra=extra))
    image = read_source_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.pixels, as_image(stored))
    assert image.notes == notes


@pytest.mark.parametrize("codes", [(1, 13, 0, 1), (12, 13, 0, 1)])
def test_colours_that_a_png_declares_by_code_are_noted(tmp_path, codes):
    (tmp_path / "a.png").write_bytes(png_of(random((3, 4, 3)), 2, extra=chunk(b"cICP", bytes(codes))))
    note = "colours other than sRGB, which the file declares by code, not applied"
    assert read_source_image(tmp_path / "a.png").notes == (() if codes[0] == 1 else (note,))


@pytest.mark.parametrize("index", ["R98", "R03"])
def test_adobe_rgb_of_cameras_is_noted(tmp_path, index):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: index}
    Image.fromarray(random((8, 8, 3))).save(tmp_path / "a.jpg", exif=exif)
    note = "Adobe RGB, which EXIF declares without a profile, not applied"
    assert read_source_image(tmp_path / "a.jpg").notes == (() if index == "R98" else (note,))


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow reads no AVIF")
@pytest.mark.parametrize("bits", [8, 10])
def test_bits_of_avif_that_are_left_out_are_noted(tmp_path, bits):
    stored = random((8, 8, 3)) if bits == 8 else random((8, 8, 3), np.uint16) >> 6
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(stored, bitspersample=bits))
    notes = () if bits == 8 else ("more than 8 bits per channel reduced to 8",)
    assert read_source_image(tmp_path / "a.avif").notes == notes


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow reads no AVIF")
def test_avif(tmp_path):
    smooth = cv2.resize(random((6, 8, 3)), (80, 60), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(smooth).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    decoded = imagecodecs.avif_decode((tmp_path / "a.avif").read_bytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.avif"), as_image(decoded))


@pytest.mark.parametrize("bits", [8, 10])
def test_heic(tmp_path, bits):
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    smooth = cv2.resize(random((6, 8, 3)), (80, 60), interpolation=cv2.INTER_CUBIC)
    stored = smooth if bits == 8 else smooth.astype(np.uint16) * 4 + 1
    data, mode = (stored, "RGB") if bits == 8 else (stored << 6, "RGB;16")
    file = heif.from_bytes(mode=mode, size=(80, 60), data=data.tobytes())
    exif = Image.Exif()
    exif[274] = 6  # as phones store it, and libheif applies it
    file.save(tmp_path / "a.heic", quality=-1, chroma=444, exif=exif.tobytes())
    image = read_source_image(tmp_path / "a.heic")
    levels = 2**bits - 1
    # Lossless but for the rounding of colours to YCbCr.
    np.testing.assert_allclose(image.pixels * levels, np.rot90(stored, -1), rtol=0, atol=1.01)
    assert image.bit_depth == (8 if bits == 8 else 16)
    assert image.notes == (() if bits == 8 else ("10 bits per channel scaled to 16",))


def test_heic_without_its_package_names_it(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "pip install 'eoren[heif]'" in error_of(tmp_path / "a.heic")


def test_npy(tmp_path):
    path = tmp_path / "a.npy"
    for array in [
        np.random.default_rng(0).random((5, 6, 2)),
        np.random.default_rng(0).random((5, 6)).astype(">f4"),
        np.asfortranarray(random((5, 6, 3), np.uint16)),
        random((5, 6)).astype(bool),
    ]:
        np.save(path, array)
        image = read_source_image(path)
        np.testing.assert_array_equal(image.pixels, as_image(array))
        assert image.bit_depth == {"f": 32, "u": 16, "b": 8}[array.dtype.kind]
        assert image.pixels.flags.writeable  # a copy, not mapped to the file


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 5)), "got (2, 2, 5)"),
        (np.zeros(4), "got (4,)"),
        (np.zeros((0, 3)), "without zeros, got (0, 3)"),
        (np.full((2, 2), np.nan), "values must be finite, got NaN or infinity"),
        (np.full((2, 2), 200.0), "divide by 255"),
        (np.zeros((2, 2), np.int64), "got int64"),
        (np.zeros((2, 2), complex), "got complex128"),
        (np.array([[{}]]), "damaged or not supported"),  # a pickle, which could run code
    ],
)
def test_npy_files_that_are_not_images(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    assert message in error_of(tmp_path / "a.npy")


# Errors in one line.


def test_files_that_are_not_images(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image\n" * 100)
    os.mkfifo(tmp_path / "pipe.png")
    assert "cannot be read (No such file or directory)" in error_of(tmp_path / "missing.png")
    assert "is a folder" in error_of(tmp_path)
    assert "or a device" in error_of(tmp_path / "pipe.png")
    assert "no image in a known format" in error_of(tmp_path / "empty.png")
    assert "no image in a known format" in error_of(tmp_path / "text.png")


@pytest.mark.parametrize("form", ["BMP", "PPM", "TGA", "ICO", "EPS", "JPEG2000", "PDF"])
def test_other_formats_of_pillow_are_refused(tmp_path, form):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", form)
    assert "no image in a known format; use an intact PNG, JPEG, TIFF, WebP, AVIF, HEIC, GIF or .npy" in error_of(
        tmp_path / "a.png"
    )


def test_size_limit(tmp_path):
    side = 2**15 + 1  # a little over the limit; the file holds a header only
    gif = (
        b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"," + struct.pack("<HHHHBB", 0, 0, side, side, 0, 8)
    )
    (tmp_path / "a.gif").write_bytes(gif)
    (tmp_path / "a.png").write_bytes(png(side, side, 1, 0, b""))
    Image.new("1", (16, 16)).save(tmp_path / "a.tif")
    tiff = bytearray((tmp_path / "a.tif").read_bytes())
    for tag in (256, 257, 278):  # width, height, rows per strip
        entry = tiff.index(struct.pack("<H", tag), 8)
        tiff[entry : entry + 12] = struct.pack("<HHII", tag, 4, 1, side)
    (tmp_path / "a.tif").write_bytes(tiff)
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (side, side))
    assert side**2 > MAX_PIXELS
    for name in ("a.gif", "a.png", "a.tif", "a.npy"):
        assert f"{side} x {side} pixels exceed the limit of 1073741824" in error_of(tmp_path / name)


def test_the_size_limit_of_pillow_has_no_effect(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # an error from 200 pixels on
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 30), np.uint8))
    assert read_image(tmp_path / "a.png").shape == (30, 30, 1)
    assert Image.MAX_IMAGE_PIXELS == 100


def encodings():
    """Return small files of every kind by name."""
    colours = cv2.resize(random((4, 4, 3)), (24, 20), interpolation=cv2.INTER_CUBIC)
    image, deep = Image.fromarray(colours), np.uint16(colours) * 257

    def saved(form, **options):
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    def tiff(samples, **options):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, samples, photometric="rgb", **options)
        return buffer.getvalue()

    npy = io.BytesIO()
    np.save(npy, colours)
    return {
        "8.png": saved("PNG"),
        "16.png": png_of(deep, 2),
        "interlaced.png": png_of(deep, 2, interlaced=True),
        "a.jpg": saved("JPEG"),
        "progressive.jpg": saved("JPEG", progressive=True),
        "a.gif": saved("GIF"),
        "a.webp": saved("WEBP"),
        "lossless.webp": saved("WEBP", lossless=True),
        "raw.tif": saved("TIFF"),
        "lzw.tif": saved("TIFF", compression="tiff_lzw"),
        "jpeg.tif": saved("TIFF", compression="jpeg"),
        "16.tif": tiff(deep, rowsperstrip=4),
        "16-zlib.tif": tiff(deep, rowsperstrip=4, compression="zlib"),
        "float.tif": tiff(deep / np.float32(65535), tile=(16, 16)),
        "lzw-16.tif": cv2.imencode(".tif", deep)[1].tobytes(),
        "a.npy": npy.getvalue(),
    }


def described(image):
    """Return what a source image has beside its pixels."""
    return {name: value for name, value in vars(image).items() if name != "pixels"}


@pytest.mark.parametrize(("name", "content"), encodings().items(), ids=encodings())
def test_bytes_and_file_objects_give_the_same_image(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    expected = read_source_image(tmp_path / name)
    with (tmp_path / name).open("rb") as file:
        sources = [(content, ""), (bytearray(content), ""), (io.BytesIO(content), ""), (file, name)]
        for source, named in sources:
            image = read_source_image(source)
            np.testing.assert_array_equal(image.pixels, expected.pixels)
            assert described(image) == {**described(expected), "name": named}
        assert not file.closed


def read_or_none(path):
    try:
        return read_image(path)
    except EorenError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return None


@pytest.mark.parametrize(("name", "content"), encodings().items(), ids=encodings())
def test_truncated_files_are_refused_or_complete(tmp_path, capfd, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    whole = read_image(path)
    cuts = {*range(0, len(content), max(1, len(content) // 30)), *range(len(content) - 12, len(content))}
    for cut in cuts:
        path.write_bytes(content[:cut])
        pixels = read_or_none(path)
        if pixels is not None:
            np.testing.assert_array_equal(pixels, whole)  # only padding or an end mark was cut off
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "content"), encodings().items(), ids=encodings())
def test_damage_raises_no_other_error(tmp_path, capfd, name, content):
    generator = np.random.default_rng(0)
    path = tmp_path / name
    path.write_bytes(content)
    whole = read_image(path)
    for _ in range(40):
        damaged = np.frombuffer(content, np.uint8).copy()
        positions = generator.integers(0, len(content), generator.integers(1, 4))
        damaged[positions] ^= generator.integers(1, 256, len(positions), dtype=np.uint8)
        path.write_bytes(damaged.tobytes())
        pixels = read_or_none(path)
        if pixels is not None:
            assert 0 <= pixels.min() <= pixels.max() <= 1
            if name.endswith(".png"):  # checksums detect all damage
                np.testing.assert_array_equal(pixels, whole)
    if name not in ("lzw.tif", "jpeg.tif", "lzw-16.tif"):  # libtiff writes to stderr, in C
        assert capfd.readouterr() == ("", "")


def test_messages_of_tifffile_become_notes(tmp_path, monkeypatch, caplog):
    tifffile.imwrite(tmp_path / "a.tif", random((4, 4), np.uint16))
    asarray = tifffile.TiffPage.asarray

    def warn(page, **options):
        log = logging.getLogger("tifffile")
        log.warning("one\nthing")
        other = threading.Thread(target=log.warning, args=("of another thread",))
        other.start()
        other.join()
        return asarray(page, **options)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", warn)
    assert read_source_image(tmp_path / "a.tif").notes == ("one thing",)
    assert caplog.messages == ["of another thread"]


def test_an_image_with_broken_exif_is_read(tmp_path):
    stored = random((5, 6))
    (tmp_path / "a.png").write_bytes(png_of(stored, 0, extra=chunk(b"eXIf", b"nonsense" * 4)))
    image = read_source_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.pixels, as_image(stored))
    assert len(image.notes) == 1
    assert image.notes[0].startswith("EXIF block ignored")


def test_threads_restore_the_state_of_the_process():
    log = logging.getLogger("tifffile")
    limit, filters, log_filters = Image.MAX_IMAGE_PIXELS, warnings.filters[:], log.filters[:]
    results = []
    threads = [threading.Thread(target=lambda: results.append(read_image("sample:chelsea"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert (limit, filters) == (Image.MAX_IMAGE_PIXELS, warnings.filters)
    assert log.filters == log_filters


# Real images.

REAL = {
    "16-bit-grey-alpha.png": ((96, 109, 2), 16, ("colours are in the profile 'Greyscale D50', which is kept",)),
    "16bit.cropped.tif": ((64, 64, 1), 16, ()),
    "chi.gif": ((240, 320, 4), 8, ("first of 31 frames",)),
    "delay.png": ((64, 128, 4), 8, ("first of 5 frames",)),
    "hopper.png": ((128, 128, 3), 8, ()),
    "hopper.webp": ((128, 128, 3), 8, ()),
    "hopper_gray.jpg": ((128, 128, 1), 8, ()),
    "hopper_orientation_3.jpg": ((128, 128, 3), 8, ("EXIF orientation 3 applied",)),
    "hopper_orientation_6.jpg": ((128, 128, 3), 8, ("EXIF orientation 6 applied",)),
    "i_trns.png": ((64, 64, 2), 16, ()),
    "l_trns.png": ((64, 64, 2), 8, ()),
    "pil123rgba.png": ((150, 162, 4), 8, ("gamma of 1 not applied",)),
    "pil_sample_cmyk.jpg": ((100, 100, 3), 8, ("CMYK converted to RGB",)),
    "transparent.png": ((150, 200, 4), 8, ()),
    "uncompressed_l.png": ((128, 128, 1), 8, ()),
}

BROKEN = {
    "65536-uint32-limit.png": "65536 x 65536 pixels exceed the limit",
    "decompression_bomb.gif": "65535 x 66601 pixels exceed the limit",
    "broken.png": "damaged",
    "broken_data_stream.png": "damaged",
    "truncated_image.png": "damaged",
    "zero_width.gif": "damaged",
}


@pytest.mark.parametrize("name", REAL)
def test_real_images(data, name):
    image = read_source_image(data / "formats" / name)
    assert (image.pixels.shape, image.bit_depth, image.notes) == REAL[name]
    with Image.open(data / "formats" / name) as opened:
        upright = ImageOps.exif_transpose(opened)
        pillow = np.asarray(upright.convert("RGBA")) if image.bit_depth == 8 else None
    if pillow is not None:
        colours = np.round(image.pixels * 255)
        colours = np.repeat(colours[..., :1], 3, 2) if colours.shape[2] < 3 else colours[..., :3]
        np.testing.assert_array_equal(colours, pillow[..., :3])
        if image.pixels.shape[2] in (2, 4):
            np.testing.assert_array_equal(np.round(image.pixels[..., -1] * 255), pillow[..., 3])


@pytest.mark.parametrize("name", ["16-bit-grey-alpha.png", "16bit.cropped.tif", "i_trns.png"])
def test_real_16_bit_images_agree_with_opencv(data, name):
    stored = cv2.imread(str(data / "formats" / name), cv2.IMREAD_UNCHANGED)
    stored = stored if stored.ndim == 3 else stored[..., None]
    assert stored.dtype == np.uint16
    pixels = np.round(read_image(data / "formats" / name) * 65535)
    np.testing.assert_array_equal(pixels[..., 0], stored[..., 0])
    if stored.shape[2] == 4:
        np.testing.assert_array_equal(pixels[..., 1], stored[..., 3])


@pytest.mark.parametrize("name", BROKEN)
def test_real_broken_images(data, name):
    assert BROKEN[name] in error_of(data / "formats" / name)
