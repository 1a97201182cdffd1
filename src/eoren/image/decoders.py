"""What the decoders of image files share: the result, limits on sizes, and one-line errors.

Files are untrusted. The size in a header is limited by the size of the file, see `FREE_PIXELS`, and every exception
but `MemoryError` becomes an `EorenError`. Decoding changes no state of the process: other threads may decode, log and
write to stderr.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from eoren.errors import EorenError, format_error
from eoren.fs.streams import Input

MAX_PIXELS = 2**30
"""Pixels of the largest image that is read. Larger ones are refused by their header, before any decoding."""

FREE_PIXELS = 2**24
"""Images with more pixels are refused as decompression bombs if they exceed `PIXELS_PER_BYTE` per byte of file."""

PIXELS_PER_BYTE = 256
"""Photographs have less than a hundred. Flat colours can have thousands; an uncompressed format helps."""

KNOWN = "an intact PNG, JPEG, TIFF, WebP, AVIF, HEIC, GIF or .npy file"

ORIENTATION = 0x0112
"""Tag of the orientation in EXIF and TIFF."""
# Orientation -> axes to flip, after transposing for 5 and above.
_FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}


class Decoded(NamedTuple):
    """Upright samples of gray or RGB, with or without alpha, not scaled to [0, 1] if they are integers.

    Attributes:
        samples: (height, width) or (height, width, channels).
        notes: what was changed or left out.
        profile: ICC profile of the colours; empty if the file has none.
        bit_depth: bits per channel in the file: 8 (also for fewer), 16, or 32 for floating point.
    """

    samples: Shaped[np.ndarray, "..."]
    notes: tuple[str, ...] = ()
    profile: bytes = b""
    bit_depth: int = 8


def bit_depth(dtype: np.dtype) -> int:
    """Return the bits per channel of samples of a type, 32 for all floating-point types."""
    return 32 if dtype.kind == "f" else 8 * dtype.itemsize


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Turn every exception of a decoder but MemoryError into an EorenError that names the image."""
    try:
        yield
    except (EorenError, MemoryError):
        raise
    except Exception as error:  # decoders raise almost any type for damaged files
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError from error
        raise EorenError(f"{name}: damaged or not supported ({format_error(error)}); use {KNOWN}") from error


def max_pixels(size: int) -> int:
    """Return the limit on the pixels of an image in a file of `size` bytes."""
    return max(FREE_PIXELS, PIXELS_PER_BYTE * size)


def check_pixels(name: str, height: int, width: int) -> None:
    """Raise an EorenError if an image is larger than `MAX_PIXELS`."""
    if height * width > MAX_PIXELS:
        raise EorenError(f"{name}: {width} x {height} pixels exceed the limit of {MAX_PIXELS}; make it smaller")


def check_size(source: Input, height: int, width: int, *, times: int = 1) -> None:
    """Check the size in a header before anything is allocated; `times` is how often the image is drawn."""
    check_pixels(source.name, height, width)
    if height * width * times > max_pixels(source.size):
        repeated = f" drawn {times} times" if times > 1 else ""
        raise EorenError(
            f"{source.name}: {width} x {height} pixels{repeated} from {source.size} bytes look like a decompression "
            "bomb; if it is not one, save it as uncompressed TIFF"
        )


def upright(samples: Shaped[np.ndarray, "..."], orientation: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Apply an EXIF orientation, and note it; unknown ones mean none."""
    if orientation not in _FLIPS:
        return samples, ()
    turned = np.flip(samples.swapaxes(0, 1) if orientation >= 5 else samples, _FLIPS[orientation])
    return turned, (f"EXIF orientation {orientation} applied",)


def frame_notes(count: int) -> tuple[str, ...]:
    """Note that a file has several images, of which the first is read."""
    return (f"first of {count} frames",) if count > 1 else ()
