"""The .eoren file: safetensors with JSON beside the numbers. Nothing in it can execute.

Tensors are those of :func:`eoren.quantization.pack`, and ``alpha`` and ``beta`` of the channel tuning. One metadata
entry, ``eoren``, holds JSON: format version, picture size, tiling, frequency factors, bits, provenance.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.field import Field, Provenance
from eoren.files import atomic_path
from eoren.quantization import BITS, pack, unpack
from eoren.tiling import Tiling
from eoren.tuning import Tuning

FORMAT_VERSION = 1
_MAX_SIDE = 2**31 - 1
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
    except (OSError, ValueError) as error:
        raise EorenError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
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
        size = _whole(header, "width", _MAX_SIDE), _whole(header, "height", _MAX_SIDE)
        channels, bits = _whole(header, "channels", 4), _whole(header, "bits", 32)
        omegas = tuple(float(omega) for omega in header["omegas"])
        _check_tensors(tensors, channels, len(omegas), bits)
        tiling = Tiling(*size, float(header["halo"]), tensors["tiles"].numpy())
        field = Field(
            unpack(tensors, omegas),
            Tuning(tensors["alpha"], tensors["beta"]),
            tiling,
            bits,
            _provenance(header["provenance"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, SafetensorError) as error:
        raise EorenError(f"damaged .eoren file ({_one_line(error)}); fit the picture again") from None
    numbers = (*field.siren.tensors(), field.tuning.alpha, field.tuning.beta, torch.tensor(omegas))
    if not all(bool(t.isfinite().all()) for t in numbers):
        raise EorenError("damaged .eoren file: some of its numbers are not finite; fit the picture again")
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
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise EorenError(
            f".eoren format version {version!r:.40} is not one that eoren {__version__} reads (1 to "
            f"{FORMAT_VERSION}); "
            "upgrade eoren"
        )
    return dict(header)


def _provenance(stored: Mapping[str, Any]) -> Provenance:
    """Provenance whose values have the types that it says, one by one."""
    found = Provenance(**stored)
    for name, example in asdict(Provenance()).items():
        value = getattr(found, name)
        kinds = (int, float) if isinstance(example, float) else (type(example),)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"provenance: {name} is {value!r:.40}")
    if not all(value is None or type(value) in (int, float) for value in found.metrics.values()):
        raise ValueError("provenance: a metric is no number")
    return found


def _whole(header: Mapping[str, Any], name: str, most: int) -> int:
    value = header[name]
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}")
    return value


def _check_tensors(tensors: Mapping[str, torch.Tensor], channels: int, depth: int, bits: int) -> None:
    """Exactly the tensors that such a file has, of their types and shapes: damage must not fail later."""
    if bits not in BITS or depth < 1:
        raise ValueError(f"bits is {bits}, with {depth} sine layers")
    batch, _, width = tensors["weight.0"].shape
    sizes = [2, *[width] * depth, channels]
    plain = torch.float32 if bits == 32 else torch.float16
    expected: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "alpha": (torch.float32, (batch, 1, channels)),
        "beta": (torch.float32, (batch, 1, channels)),
        "tiles": (torch.int32, (2 * batch - 1, 2)),
    }
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        expected[f"weight.{layer}"] = torch.int8 if bits == 8 else plain, (batch, inputs, outputs)
        expected[f"bias.{layer}"] = plain, (batch, 1, outputs)
        if bits == 8:
            expected[f"scale.{layer}"] = torch.float32, (batch, 1, outputs)
    found = {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    if found != expected or width < 1:
        odd = next((name for name in {**expected, **found} if expected.get(name) != found.get(name)), "weight.0")
        raise ValueError(f"tensor {odd} does not fit the others")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
