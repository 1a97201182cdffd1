"""The origin of a field: settings, seed, source image and quality, as stored in its file."""

import warnings
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from eoren.errors import DamageWarning, EorenError
from eoren.image.profiles import MAX_PROFILE, check_profile

# Bounds of what commands print: no table as wide as a header, no number beyond all floats.
_MAX_METRICS, _MAX_NAME, _MAX_NUMBER = 100, 100, 2**63


@dataclass(frozen=True)
class Provenance:
    """The origin of a field, as stored in its file.

    Attributes:
        settings: every setting of the fit.
        seed: seed of the random generator.
        steps: number of training steps.
        seconds: duration of the fit; None where steps alone end it, so that the same fit gives the same file.
        source_sha256: SHA-256 digest of the image file, or of the array.
        metrics: quality of the stored field against its image.
        version: version of eoren.
        composition: operation that made the image, with operands and options; empty for a plain image.
        profile: ICC profile of the colours; empty for sRGB, and if the image had none.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    steps: int = 0
    seconds: float | None = None
    source_sha256: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    version: str = ""
    composition: dict[str, Any] = field(default_factory=dict)
    profile: bytes = b""

    def as_stored(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON: the profile as base64 of a zlib stream, left out if it is empty."""
        stored = asdict(self)
        profile = stored.pop("profile")
        return stored | ({"profile": b64encode(zlib.compress(profile, 9)).decode()} if profile else {})

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any], channels: int) -> "Provenance":
        """Check and convert a stored provenance; a TypeError or ValueError if an entry is invalid.

        A profile that does not describe an image of these channels is left out, with a DamageWarning.
        """
        profile = _inflate_profile(stored["profile"]) if "profile" in stored else b""
        if profile:
            try:
                check_profile(profile, channels)
            except EorenError as error:
                warnings.warn(f"colour profile left out: {error}", DamageWarning, stacklevel=2)
                profile = b""
        provenance = cls(**{**stored, "profile": profile})
        for name, example in asdict(cls(seconds=0.0)).items():
            value = getattr(provenance, name)
            if name == "seconds" and value is None:
                continue
            types = (int, float) if isinstance(example, float) else (type(example),)
            if not isinstance(value, types) or isinstance(value, bool):
                raise ValueError(f"provenance: {name} is {value!r:.40}")
        metrics = provenance.metrics
        if not all(value is None or type(value) in (int, float) for value in metrics.values()):
            raise ValueError("provenance: a metric is not a number")
        if len(metrics) > _MAX_METRICS or any(len(name) > _MAX_NAME for name in metrics):
            raise ValueError("provenance: too many metrics, or a name too long")
        for number in (provenance.seed, provenance.steps, provenance.seconds, *metrics.values()):
            if number is not None and abs(number) > _MAX_NUMBER:
                raise ValueError("provenance: a number is too large")
        return provenance


def _inflate_profile(text: str) -> bytes:
    """Read a stored profile; a ValueError if it is damaged or too large."""
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(b64decode(text, validate=True), MAX_PROFILE)
    except zlib.error as error:
        raise ValueError(f"provenance: the profile does not inflate ({error})") from None
    if not inflater.eof or inflater.unused_data:
        raise ValueError("provenance: the profile is incomplete or too large")
    try:
        check_profile(profile)
    except EorenError as error:
        raise ValueError(f"provenance: the profile is invalid: {error}") from None
    return profile
