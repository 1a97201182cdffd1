"""ICC colour profiles: which are kept with an image, and conversion to sRGB by LittleCMS."""

import struct
from functools import lru_cache
from io import BytesIO

import numpy as np
from jaxtyping import Float, Float32

from eoren.errors import EorenError, format_error
from eoren.image.arrays import Image

MAX_PROFILE = 1 << 19
"""Bytes of the largest profile that is kept. Those of displays and cameras have 0.5 to 60 thousand."""

# Colour space in the header of a profile -> channels of the colours.
_SPACES = {b"GRAY": 1, b"RGB ": 3}
_LEVEL = 1 / 255
_CREATED = slice(24, 36)  # date and time in the header


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return the profile of sRGB that LittleCMS makes, without the time at which it was made."""
    import imagecodecs

    profile = bytes(imagecodecs.cms_profile("srgb"))
    return profile[: _CREATED.start] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[_CREATED.stop :]


def color_count(channels: int) -> int:
    """Return the number of channels without alpha: 1 for gray, 3 for RGB."""
    return 1 if channels < 3 else 3


def keep_profile(profile: bytes, channels: int) -> tuple[bytes, tuple[str, ...]]:
    """Return the profile to keep with an image, which may be empty, and notes.

    A profile that agrees with sRGB to a level of 8 bits is not kept: images without profile are sRGB. Others are
    kept if they fit the channels, and a note names them.

    Args:
        profile: content of the profile in the file; empty without one.
        channels: channels of the image, with alpha.
    """
    if not profile:
        return b"", ()
    try:
        check_profile(profile, channels)
        if _agrees_with_srgb(profile):
            return b"", ()
    except EorenError as error:
        return b"", (f"colour profile left out: {error}",)
    return profile, (f"colours are in the profile {describe_profile(profile)!r}, which is kept",)


def check_profile(profile: bytes, channels: int | None = None) -> None:
    """Check the header of a profile, and that it describes an image of these channels.

    Raises:
        EorenError: the profile is no ICC profile, too large, or of another colour space; the message names no image.
    """
    if len(profile) > MAX_PROFILE:
        raise EorenError(f"it must have at most {MAX_PROFILE} bytes, got {len(profile)}")
    if len(profile) < 128 or profile[36:40] != b"acsp" or struct.unpack(">I", profile[:4])[0] > len(profile):
        raise EorenError("it is not a complete ICC profile")
    space = profile[16:20]
    if space not in _SPACES or channels not in (None, _SPACES[space], _SPACES[space] + 1):
        raise EorenError(f"it is one for {space.decode('ascii', 'replace').strip()}, not for these channels")


def describe_profile(profile: bytes) -> str:
    """Return the description in a profile, such as ``Display P3``, in at most 60 characters."""
    from PIL import ImageCms

    try:
        return f"{format_error(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))):.60}"
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "without a name"


def convert_to_srgb(pixels: Image, profile: bytes) -> Float32[np.ndarray, "height width channels"]:
    """Convert the colours of an image from a profile to sRGB, by LittleCMS; alpha stays.

    Colours outside sRGB are clamped to [0, 1].

    Raises:
        EorenError: the profile is damaged or does not fit the image; the message names no image.
    """
    check_profile(profile, pixels.shape[2])
    count = color_count(pixels.shape[2])
    converted = pixels.astype(np.float32)
    converted[..., :count] = _transform(converted[..., :count], profile)
    return converted


def gray_to_rgb(pixels: Image, profile: bytes) -> tuple[Float[np.ndarray, "height width expanded"], tuple[str, ...]]:
    """Convert gray to RGB, and from its profile to sRGB, because a profile of gray does not describe RGB.

    Args:
        pixels: gray, with or without alpha, which stays; values outside [0, 1] are clamped.
        profile: ICC profile of the gray; empty for sRGB.

    Returns:
        Pixels in sRGB, and notes. If the profile is damaged, the numbers stay, and a note says so.
    """
    notes: tuple[str, ...] = ()
    pixels = pixels.clip(0, 1)
    if profile:
        try:
            pixels = convert_to_srgb(pixels, profile)
            notes = (f"gray converted from {describe_profile(profile)!r} to sRGB",)
        except EorenError as error:
            notes = (f"colour profile left out: {error}",)
    return pixels.repeat([3, 1][: pixels.shape[2]], 2), notes


def _transform(
    colors: Float32[np.ndarray, "height width channels"], profile: bytes
) -> Float32[np.ndarray, "height width channels"]:
    import imagecodecs

    is_gray = colors.shape[2] == 1
    stored = np.ascontiguousarray(colors[..., 0] if is_gray else colors)
    try:
        result = imagecodecs.cms_transform(
            stored,
            profile,
            srgb_profile(),
            colorspace="gray" if is_gray else "rgb",
            outcolorspace="rgb",
        )
    except Exception as error:  # imagecodecs.CmsError, and whatever damaged profiles cause
        raise EorenError(f"it is damaged ({format_error(error)})") from error
    return np.asarray(result[..., :1] if is_gray else result, np.float32).clip(0, 1)


@lru_cache(maxsize=16)
def _agrees_with_srgb(profile: bytes) -> bool:
    """Whether numbers mean the same colours as in sRGB, to a level of 8 bits."""
    axis = np.linspace(0, 1, 9, dtype=np.float32)
    is_gray = profile[16:20] == b"GRAY"
    colors = axis[None, :, None] if is_gray else np.stack(np.meshgrid(axis, axis, axis), -1).reshape(9, 81, 3)
    return bool(np.abs(_transform(colors, profile) - colors).max() <= _LEVEL)
