"""The content of an .eoren file: safetensors with a JSON header. Nothing in it can execute.

One metadata entry, ``eoren``, holds JSON with the format version and the kind of the representation, which defines
the rest: mosaics have versions 1 and 2 (:mod:`eoren.field.parts`), compact fields version 3
(:mod:`eoren.field.wavelet_file`). Files are untrusted: nothing is used before it was checked.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from eoren._version import __version__
from eoren.errors import EorenError, format_error
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.representation import Representation
from eoren.field.schema import finite_number
from eoren.field.wavelet_siren import WaveletSiren
from eoren.fs.safetensors_layout import DamagedError, ForeignError, parse_metadata

FORMAT_VERSION = 3
"""Newest version that this release reads."""

KINDS: Mapping[str, type[Representation]] = {kind.kind: kind for kind in (SirenMosaic, WaveletSiren)}
"""Representations that files may hold, by their name in the header; a file without a name holds a mosaic."""

_KEY, _KIND = "eoren", "representation"


def encode(representation: Representation, provenance: Provenance) -> bytes:
    """Encode a field as the bytes of its file: the same field gives the same bytes."""
    kind = {} if representation.kind == SirenMosaic.kind else {_KIND: representation.kind}
    text, tensors = representation.encode(kind, provenance.as_stored())
    return bytes(save_tensors(tensors, {_KEY: text}))


def decode(data: bytes, *, skip_damaged: bool = False) -> tuple[Representation, Provenance]:
    """Decode the bytes of a file; an EorenError if they are damaged, foreign, or of a newer version."""
    with refusing_damage():
        text = parse_metadata(data, len(data)).get(_KEY, "")
        header = _parse_header(text)
        kind = KINDS[header.get(_KIND, SirenMosaic.kind)]
        representation, stored = kind.decode(text, header, load_tensors(data), skip_damaged=skip_damaged)
        return representation, Provenance.from_stored(stored, representation.channels)


@contextmanager
def refusing_damage() -> Iterator[None]:
    """Convert the errors of reading an untrusted file to one line with a remedy."""
    try:
        yield
    except ForeignError:
        raise EorenError("not an .eoren file; such files are written by 'eoren fit'") from None
    except (DamagedError, SafetensorError) as error:
        line = format_error(error)
        raise EorenError(f"damaged .eoren file: {line}; copy it again, or fit the image again") from None
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        reason = format_error(f"{type(error).__name__}: {error}")
        raise EorenError(f"damaged .eoren file ({reason}); fit the image again") from None


def _parse_header(text: str) -> dict[str, Any]:
    """Parse the JSON header, once kind and version of the file are known to be ours."""
    try:
        header = json.loads(text, parse_float=finite_number, parse_constant=finite_number)
        version = header["format_version"]
    except DamagedError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ForeignError("its header is not that of an .eoren file") from None
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise EorenError(
            f".eoren format version must be 1 to {FORMAT_VERSION} for eoren {__version__}, got {version!r:.40}; "
            "upgrade eoren"
        )
    return dict(header)
