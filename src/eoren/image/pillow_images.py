"""Samples of Pillow images: those that users give, and those of PNG, JPEG, WebP, AVIF, HEIC and GIF files.

Files are opened by the class of their format, because ``Image.open`` checks sizes against a limit of the process;
ours depends on the file, and is checked before anything is decoded.
"""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt16
from PIL import (
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from eoren.errors import EorenError, format_error
from eoren.fs.files import BinaryFile
from eoren.fs.streams import Input, stream_name
from eoren.image import channels
from eoren.image.decoders import (
    ORIENTATION,
    Decoded,
    bit_depth,
    check_pixels,
    check_size,
    frame_notes,
    one_line_errors,
    upright,
)

# A JPEG file may have any number of scans of the whole image. Encoders write about a dozen.
_FREE_SCANS = 64
_SCAN = b"\xff\xda"

# Modes of plain samples; those of 16 bits and floats have more names.
_PLAIN = ("L", "LA", "RGB", "RGBA", "F", "I")
_PREMULTIPLIED = ("La", "RGBa")
_PHOTOMETRIC = 262  # tag of TIFF
# What PNG stores for a display as sRGB expects: gamma times 1e5, white and primaries (ITU-R BT.709).
_SRGB_GAMMA = 0.45455
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_CODED_COLORS = "colours other than sRGB, which the file declares by code, not applied"
_BT709, _UNKNOWN = 1, 2  # codes of primaries
_CICP_SRGB = bytes([1, 13])  # primaries and transfer function of sRGB (ITU-T H.273)
_MORE_BITS = 0x40  # of the third byte of an AV1 configuration
_HEADERS = 1 << 14  # bytes in which they stand


def _open_avif(file: BinaryFile) -> ImageFile.ImageFile:
    try:
        from PIL.AvifImagePlugin import SUPPORTED, AvifImageFile  # since Pillow 11.2
    except ImportError:
        SUPPORTED = False
    if not SUPPORTED:
        raise EorenError(f"{stream_name(file)}: this build of Pillow reads no AVIF; pip install --upgrade pillow")
    return AvifImageFile(file)


# Format -> function that reads the header of a file.
_OPENERS: dict[str, Callable[[Any], ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.jpeg_factory,
    "WebP": WebPImagePlugin.WebPImageFile,
    "AVIF": _open_avif,
    "GIF": GifImagePlugin.GifImageFile,
}


def decode_with_pillow(source: Input, kind: str) -> Decoded:
    """Decode the first image of a file of a format: PNG, JPEG, WebP, AVIF or GIF."""
    if kind == "GIF":  # Pillow allocates the first frame when it opens the file
        check_size(source, *_gif_size(source.file))
    with _opened(source, kind) as header:
        check_size(source, header.height, header.width)
        if kind == "JPEG":
            source.file.seek(0)
            check_scans(source, source.file.read(), header.height, header.width)
        layout, frames = _layout(header), getattr(header, "n_frames", 1)
        header.verify()  # PNG checksums, which decoding ignores
    if ";16" in layout and header.mode in ("RGB", "RGBA"):
        image, samples = _load_both_bytes(source, layout)
        decoded = _finish(samples, image, layout)
    else:
        with _opened(source, kind) as image:
            decoded = convert_pillow(image, source.name)
    return decoded._replace(notes=frame_notes(frames) + decoded.notes + _unreported(source, kind))


def check_scans(source: Input, jpeg: bytes, height: int, width: int) -> None:
    """Check the size of a JPEG image in a file, as often as its scans draw it."""
    check_size(source, height, width, times=max(1, jpeg.count(_SCAN) // _FREE_SCANS))


def decode_heif(source: Input) -> Decoded:
    """Decode the main image of a HEIC file, as phones take them; libheif turns it upright."""
    try:
        import pillow_heif
    except ImportError:
        raise EorenError(f"{source.name}: HEIC needs pillow-heif; pip install 'eoren[heif]'") from None
    file = pillow_heif.open_heif(source.file, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    check_size(source, file.size[1], file.size[0])
    samples, bits, profile = np.asarray(file), file.info["bit_depth"], bytes(file.info.get("icc_profile") or b"")
    notes: tuple[str, ...] = frame_notes(len(file))
    if not profile and file.info.get("nclx_profile", {}).get("color_primaries", _BT709) not in (_BT709, _UNKNOWN):
        notes += (_CODED_COLORS,)
    if bits > 8:
        levels = 2**bits - 1
        samples = ((samples.astype(np.uint32) * 65535 + levels // 2) // levels).astype(np.uint16)
        notes += (f"{bits} bits per channel scaled to 16",)
    if file.premultiplied_alpha and channels.has_alpha(samples):
        alpha = samples[..., -1]
        samples = channels.join(channels.divide_by_alpha(samples[..., :-1], alpha), alpha)
        notes += (channels.PREMULTIPLIED,)
    return Decoded(samples, notes, profile, 8 if bits == 8 else 16)


def convert_pillow(image: Image.Image, name: str) -> Decoded:
    """Convert a Pillow image to upright samples, as those of its file; Pillow keeps 16 bits of gray only."""
    with one_line_errors(name):
        check_pixels(str(name), image.height, image.width)
        layout, frame = _layout(image), _first_frame(image)
        image.load()
        samples, notes = _plain_samples(image, name)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            samples = _as_in_file(samples, image)
            notes += (channels.UNSPECIFIED,) if "X" in layout else ()
        if frame is not None and samples.ndim == 3:
            samples, notes = _transparent_outside(samples, frame), (*notes, "transparent around the first frame")
        decoded = _finish(samples, image, layout)
        return decoded._replace(notes=notes + decoded.notes)


def _plain_samples(image: Image.Image, name: str) -> tuple[Shaped[np.ndarray, "..."], tuple[str, ...]]:
    """Convert a loaded image of any mode to gray or RGB, with or without alpha, and note the conversion."""
    mode = image.mode
    if mode in _PLAIN or mode.startswith("I;16"):
        return np.asarray(image), ()
    if mode == "1":
        return np.asarray(image.convert("L")), ()
    if mode in ("P", "PA"):
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), ()
    if mode == "YCbCr":
        return np.asarray(image.convert("RGB")), ("YCbCr converted to RGB",)
    samples = np.asarray(image)
    if mode in _PREMULTIPLIED:
        colors = channels.divide_by_alpha(samples[..., :-1], samples[..., -1])
        return channels.join(colors, samples[..., -1]), (channels.PREMULTIPLIED,)
    if mode == "CMYK":
        return channels.cmyk_to_rgb(samples), (channels.CMYK,)
    if mode == "RGBX":
        return samples[..., :3], (channels.UNSPECIFIED,)
    raise EorenError(f"{name}: pixels of type {mode} are not supported; convert it to gray or RGB")


def _as_in_file(samples: Shaped[np.ndarray, "..."], image: Any) -> Shaped[np.ndarray, "..."]:
    """Invert samples of a TIFF image whose zero is white, as Pillow does up to 8 bits only."""
    white_is_zero = image.tag_v2.get(_PHOTOMETRIC) == 0
    return channels.invert(samples) if white_is_zero and samples.dtype != np.uint8 else samples


def _finish(samples: Shaped[np.ndarray, "..."], image: Image.Image, layout: str) -> Decoded:
    """Add the transparent colour of a PNG file, turn the image upright, and note what describes its colours."""
    depth = 8 if image.mode in _PREMULTIPLIED else bit_depth(samples.dtype)
    orientation, notes = _read_exif(image)
    samples, turned = upright(_with_key(samples, image, layout), orientation)
    profile = bytes(image.info.get("icc_profile") or b"")
    # A profile overrides what else describes the colours.
    return Decoded(samples, turned + notes + (() if profile else _png_colors(image)), profile, depth)


def _opened(source: Input, kind: str) -> ImageFile.ImageFile:
    """Read the header of an image file of a format."""
    source.file.seek(0)
    return _OPENERS[kind](source.file)


def _layout(image: Image.Image) -> str:
    """Return Pillow's name ("raw mode") for the layout of the decompressed bytes, or "" once they are loaded."""
    args = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    return str(args[0] if isinstance(args, tuple) else args or "")


def _load_both_bytes(source: Input, layout: str) -> tuple[Image.Image, UInt16[np.ndarray, "height width channels"]]:
    """Decode the 16-bit colour of a PNG file, of which Pillow keeps only one byte of every sample, in two passes.

    Layout ``;16B`` keeps the first byte of every sample, ``;16L`` the second. Two 16-bit channels need one pass,
    because they fill four bytes, as 8-bit RGBA does.
    """
    if layout == "LA;16B":
        image = _load_as(source, "RGBA")
        return image, np.asarray(image).view(">u2").astype(np.uint16)
    image, second = (_load_as(source, f"{layout.split(';')[0]};16{half}") for half in "BL")
    both = np.stack([np.asarray(image), np.asarray(second)], axis=-1)
    return image, both.view(">u2")[..., 0].astype(np.uint16)


def _load_as(source: Input, layout: str) -> Image.Image:
    """Decode a PNG file with another layout of the decompressed bytes."""
    with _opened(source, "PNG") as image:
        image.tile = [
            tile._replace(args=(layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout)
            for tile in image.tile
        ]
        image.load()
    return image


def _with_key(samples: Shaped[np.ndarray, "..."], image: Image.Image, layout: str) -> Shaped[np.ndarray, "..."]:
    """Append an alpha channel that is zero where the colour is the one that a PNG file declares transparent."""
    key = image.info.get("transparency")
    if key is None or image.mode in ("P", "PA"):  # in palettes it became alpha
        return samples
    # Pillow stretches samples of 1, 2 and 4 bits to 8, but not the key.
    key = 255 * bool(key) if image.mode == "1" else np.multiply(key, {"L;2": 85, "L;4": 17}.get(layout, 1))
    colors = samples if samples.ndim == 3 else samples[..., None]
    opaque = np.any(colors != key, axis=-1)
    return channels.join(colors, np.where(opaque, channels.peak(colors), 0).astype(colors.dtype))


def _gif_size(file: BinaryFile) -> tuple[int, int]:
    """Return height and width of a GIF file with its first frame, which may reach beyond the screen."""
    file.seek(0)
    width, height, flags = struct.unpack("<6xHHB2x", file.read(13))
    file.seek((3 << (flags & 7) + 1) if flags & 128 else 0, 1)
    while (kind := file.read(1)) == b"!":  # extensions before the frame
        file.read(1)
        while size := file.read(1)[0]:
            file.seek(size, 1)
    if kind == b",":
        x, y, columns, rows = struct.unpack("<4H", file.read(8))
        width, height = max(width, x + columns), max(height, y + rows)
    return height, width


def _first_frame(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the box of the first frame of a GIF file, if it does not fill the image and is not yet loaded."""
    tiles = image.tile if isinstance(image, GifImagePlugin.GifImageFile) else ()
    return tiles[0].extents if tiles and tiles[0].extents != (0, 0, *image.size) else None


def _transparent_outside(samples: Any, box: tuple[int, int, int, int]) -> Any:
    x0, y0, x1, y1 = box
    inside = np.zeros(samples.shape[:2], bool)
    inside[y0:y1, x0:x1] = True
    alpha = samples[..., 3] if samples.shape[2] == 4 else np.uint8(255)
    return channels.join(samples[..., :3], np.where(inside, alpha, 0).astype(np.uint8))


def _read_exif(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """Return the orientation, and notes on damage and on Adobe RGB, which cameras declare without a profile."""
    try:
        exif = image.getexif()
        orientation = int(exif.get(ORIENTATION, 1))
        is_adobe_rgb = exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex) == "R03"
    except Exception as error:  # the pixels may be intact, so only note it
        return 1, (f"EXIF block ignored ({format_error(error)})",)
    adobe_rgb = is_adobe_rgb and not image.info.get("icc_profile")
    return orientation, ("Adobe RGB, which EXIF declares without a profile, not applied",) if adobe_rgb else ()


def _png_colors(image: Image.Image) -> tuple[str, ...]:
    """Note gamma and primaries of a PNG file that differ from those of sRGB."""
    info, notes = image.info, []
    if "srgb" in info:
        return ()
    if "gamma" in info and abs(info["gamma"] - _SRGB_GAMMA) > 1e-3:
        notes.append(f"gamma of {info['gamma']:g} not applied")
    if "chromaticity" in info and not np.allclose(info["chromaticity"], _SRGB_PRIMARIES, rtol=0, atol=1e-3):
        notes.append("primaries other than those of sRGB not applied")
    return tuple(notes)


def _unreported(source: Input, kind: str) -> tuple[str, ...]:
    """Note what Pillow leaves out without a report: colours by code (cICP) of a PNG, and bits of an AVIF file."""
    source.file.seek(0)
    start = source.file.read(_HEADERS)
    _, found, content = start.partition(b"cICP" if kind == "PNG" else b"av1C")
    if kind == "PNG" and found and content[:2] != _CICP_SRGB:
        return (_CODED_COLORS,)
    if kind == "AVIF" and found and content[2:3] and content[2] & _MORE_BITS:
        return ("more than 8 bits per channel reduced to 8",)
    return ()
