"""The content of an .eoren file: safetensors with a JSON header. Nothing in it can execute.

Tensors are those of the representation, and ``checksums``. One metadata entry, ``eoren``, holds JSON: format version,
the header of the representation, provenance. Files of version 1 have no checksums. Files are untrusted: nothing is
used before it was checked, and a checksum per part (per tile of a mosaic) locates damage.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from typing import Any
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Int32
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from eoren._version import __version__
from eoren.errors import EorenError, format_error
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.representation import Representation
from eoren.fs.safetensors_layout import DamagedError, ForeignError, parse_metadata

FORMAT_VERSION = 2

KINDS: Mapping[str, type[Representation]] = {SirenMosaic.kind: SirenMosaic}
"""Representations that files may hold, by their name in the header; a file without a name holds a mosaic."""

_KEY, _KIND = "eoren", "representation"


def encode(representation: Representation, provenance: Provenance) -> bytes:
    """Encode a field as the bytes of its file: the same field gives the same bytes."""
    kind = {} if representation.kind == SirenMosaic.kind else {_KIND: representation.kind}
    header = {"format_version": FORMAT_VERSION} | kind | representation.header() | {"provenance": asdict(provenance)}
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    tensors = representation.tensors()
    tensors["checksums"] = torch.from_numpy(_checksums(tensors, representation.shared_tensors, text))
    return bytes(save_tensors(tensors, {_KEY: text}))


def decode(data: bytes) -> tuple[Representation, Provenance]:
    """Decode the bytes of a file; an EorenError if they are damaged, foreign, or of a newer version."""
    with refusing_damage():
        text = parse_metadata(data, len(data)).get(_KEY, "")
        header = _parse_header(text)
        tensors = load_tensors(data)
        kind = KINDS[header.get(_KIND, SirenMosaic.kind)]
        checksums = tensors.pop("checksums", None)
        parts = kind.check_stored(header, tensors)
        if header["format_version"] > 1:
            if checksums is None or checksums.dtype != torch.int32 or checksums.shape != (parts + 1,):
                raise ValueError("tensor checksums does not fit the others")
            damaged = np.flatnonzero(checksums.numpy() != _checksums(tensors, kind.shared_tensors, text)).tolist()
            if parts in damaged:
                shared = " or ".join(("header", *kind.shared_tensors))
                raise DamagedError(f"its {shared} does not match the checksum")
            if damaged:
                first = kind.locate_part(header, tensors, damaged[0])
                count = f"{len(damaged)} of {parts} parts"
                raise DamagedError(f"{count} do not match their checksums, the first is {first}")
        elif checksums is not None:
            raise ValueError("tensor checksums is unexpected in version 1")
        return kind.from_stored(header, tensors), Provenance.from_stored(header["provenance"])


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
        header = json.loads(text, parse_float=_finite, parse_constant=_finite)
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


def _finite(text: str) -> float:
    """Parse a number of the header, which has to be finite, so that it can be written again."""
    if not isfinite(number := float(text)):
        raise DamagedError(f"its header has a number that is not finite, {text:.20}")
    return number


def _checksums(
    tensors: Mapping[str, Tensor], shared: tuple[str, ...], text: str
) -> Int32[np.ndarray, " parts_and_one"]:
    """Compute the CRC-32 of each part, tensors in the order of their names, and last of header and shared tensors."""
    arrays = [_little_endian(tensor) for name, tensor in sorted(tensors.items()) if name not in shared]
    checksums = []
    for part in range(len(arrays[0])):
        value = 0
        for array in arrays:
            value = crc32(array[part].data, value)
        checksums.append(value)
    value = crc32(text.encode())
    for name in shared:
        value = crc32(_little_endian(tensors[name]).data, value)
    return np.array([*checksums, value], np.uint32).view(np.int32)


def _little_endian(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
