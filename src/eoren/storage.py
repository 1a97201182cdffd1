"""The .eoren file: safetensors with JSON beside the numbers. Nothing in it can execute.

Tensors are those of :func:`eoren.quantization.pack`, and ``alpha`` and ``beta`` of the channel tuning. One metadata
entry, ``eoren``, holds JSON: format version, picture size, tiling, frequency factors, bits, provenance.
"""

import json
from dataclasses import asdict
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.field import Field, Provenance
from eoren.files import atomic_path
from eoren.quantization import pack, unpack
from eoren.tiling import Tiling
from eoren.tuning import Tuning

FORMAT_VERSION = 1
_KEY = "eoren"


def save(field: Field, path: str | PathLike[str]) -> None:
    """Write a field to a file, in ``field.bits`` bits a weight.

    A kill at any moment leaves the file that was there before, or the new one, whole.

    Raises:
        EorenError: the place cannot be written to.
    """
    data = dumps(field)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(data)


def load(path: str | PathLike[str], *, device: torch.device | str = "cpu") -> Field:
    """Read a field from a file.

    Raises:
        EorenError: the file is missing, damaged, of another kind, or of a newer version.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise EorenError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return loads(data).to(device)
    except EorenError as error:
        raise EorenError(f"{path}: {error}") from None


def dumps(field: Field) -> bytes:
    """The bytes of a field's file: the same field gives the same bytes."""
    tensors = {name: t.cpu().contiguous() for name, t in pack(field.siren, field.bits).items()}
    tensors["alpha"], tensors["beta"] = field.tuning.alpha.cpu(), field.tuning.beta.cpu()
    tensors["tiles"] = torch.from_numpy(field.tiling.nodes)
    header = {
        "format_version": FORMAT_VERSION,
        "channels": field.channels,
        "width": field.tiling.width,
        "height": field.tiling.height,
        "halo": field.tiling.halo,
        "omegas": field.siren.omegas,
        "bits": field.bits,
        "provenance": asdict(field.provenance),
    }
    return bytes(save_tensors(tensors, {_KEY: json.dumps(header, sort_keys=True, allow_nan=False)}))


def loads(data: bytes) -> Field:
    """The field whose file has these bytes.

    Raises:
        EorenError: the bytes are damaged, of another kind, or of a newer version.
    """
    header = read_header(data)
    try:
        tensors = load_tensors(data)
        size = int(header["width"]), int(header["height"])
        tiling = Tiling(*size, float(header["halo"]), tensors["tiles"].numpy())
        omegas = tuple(float(omega) for omega in header["omegas"])
        siren = unpack(tensors, omegas)
        tuning = Tuning(tensors["alpha"], tensors["beta"])
        field = Field(siren, tuning, tiling, int(header["bits"]), Provenance(**header["provenance"]))
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise EorenError(f"damaged .eoren file ({_one_line(error)}); fit the picture again") from None
    _check(field, int(header["channels"]))
    return field


def read_header(data: bytes) -> dict[str, Any]:
    """The JSON of a file, once its kind and version are known to be ours.

    Raises:
        EorenError: as :func:`loads`.
    """
    foreign = EorenError("not an .eoren file; such files are written by 'eoren fit'")
    # safetensors: eight bytes with the length of a JSON header, then the header.
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or data[8:9] != b"{":
        raise foreign
    if length > len(data) - 8:
        raise EorenError(f"damaged .eoren file: it ends after {len(data)} bytes; copy it again") from None
    try:
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
        version = header["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise foreign from None
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise EorenError(
            f".eoren format version {version!r} is newer than this eoren {__version__} reads "
            f"({FORMAT_VERSION}); upgrade eoren"
        )
    return dict(header)


def _check(field: Field, channels: int) -> None:
    """Shapes that fit together and finite numbers: a damaged file must not fail later, or silently."""
    siren, batch = field.siren, field.tiling.count
    width, depth = siren.width, siren.depth
    sizes = [2, *[width] * depth, channels]
    shapes = [(batch, i, o) for i, o in pairwise(sizes)]
    shapes += [(batch, 1, o) for o in sizes[1:]] + [(batch, 1, channels)] * 2
    tensors = [*siren.tensors(), field.tuning.alpha, field.tuning.beta]
    if [tuple(t.shape) for t in tensors] != shapes or not 1 <= channels <= 4:
        raise EorenError("damaged .eoren file: its tensors do not fit together; fit the picture again")
    if not all(bool(t.isfinite().all()) for t in tensors) or not np.isfinite(siren.omegas).all():
        raise EorenError("damaged .eoren file: some of its numbers are not finite; fit the picture again")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
