"""The .eoren file: safetensors with JSON beside the numbers. Nothing in it can execute.

Tensors are those of :func:`eoren.model.quantization.pack`, ``alpha`` and ``beta`` of the channel tuning, the tree of
``tiles``, and ``checksums``. One metadata entry, ``eoren``, holds JSON: format version, image size, tiling,
frequency factors, bits, provenance. Files of version 1 are the same without checksums.

Files come from strangers: nothing in one is believed before it has been checked, and a checksum for every tile tells
which one was damaged on its way.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Int32, Int64
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren._version import __version__
from eoren.errors import EorenError, format_error
from eoren.field.field import Field, Provenance
from eoren.field.schema import Description
from eoren.fs.files import atomic_path, open_regular
from eoren.fs.safetensors_layout import DamagedError, ForeignError, check_file, check_layout
from eoren.model.quantization import pack
from eoren.model.tiling import Tiling

FORMAT_VERSION = 2
_KEY = "eoren"
_MOST_METRICS, _LONGEST_NAME, _LARGEST = 100, 100, 2**63


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
    path = Path(path)
    with open_regular(path) as (file, size):
        try:
            with _refusing():
                check_file(file, size)
            file.seek(0)
            return loads(file.read(size)).to(device)
        except EorenError as error:
            raise EorenError(f"{path}: {error}") from None


def dumps(field: Field) -> bytes:
    """The bytes of a field's file: the same field gives the same bytes."""
    tensors = {name: t.cpu().contiguous() for name, t in pack(field.siren, field.bits).items()}
    tensors["alpha"] = field.tuning.alpha.cpu().contiguous()
    tensors["beta"] = field.tuning.beta.cpu().contiguous()
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
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    tensors["checksums"] = torch.from_numpy(_checksums(tensors, text))
    return bytes(save_tensors(tensors, {_KEY: text}))


def loads(data: bytes) -> Field:
    """The field whose file has these bytes.

    Raises:
        EorenError: the bytes are damaged, of another kind, or of a newer version.
    """
    with _refusing():
        text = check_layout(data, len(data)).get(_KEY, "")
        header = _header(text)
        tensors = load_tensors(data)
        description = Description.of(header)
        sealed = header["format_version"] > 1
        batch = len(tensors["alpha"])
        description.check(tensors, {"tiles": (2 * batch - 1, 2), **({"checksums": (batch + 1,)} if sealed else {})})
        damaged = _damaged_tiles(tensors, text) if sealed else np.zeros(0, np.int64)
        tiling = description.tiling(tensors["tiles"])
        if len(damaged):
            raise DamagedError(_where(tiling, damaged))
        return description.field(tensors, tiling, _provenance(header["provenance"]))


@contextmanager
def _refusing() -> Iterator[None]:
    """Say of a file that is none of ours what it is, and what to do, whatever the reader stumbled over."""
    try:
        yield
    except ForeignError:
        raise EorenError("not an .eoren file; such files are written by 'eoren fit'") from None
    except (DamagedError, SafetensorError) as error:
        raise EorenError(
            f"damaged .eoren file: {format_error(error)}; copy it again, or fit the image again"
        ) from None
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        reason = format_error(f"{type(error).__name__}: {error}")
        raise EorenError(f"damaged .eoren file ({reason}); fit the image again") from None


def _header(text: str) -> dict[str, Any]:
    """The JSON of a file, once its kind and version are known to be ours.

    Raises:
        ForeignError: it is not.
        EorenError: another version.
    """
    try:
        header = json.loads(text, parse_float=_finite, parse_constant=_finite)
        version = header["format_version"]
    except DamagedError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ForeignError("its text is not ours") from None
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise EorenError(
            f".eoren format version {version!r:.40} is not one that eoren {__version__} reads (1 to "
            f"{FORMAT_VERSION}); upgrade eoren"
        )
    return dict(header)


def _checksums(tensors: Mapping[str, torch.Tensor], text: str) -> Int32[np.ndarray, " batch_and_one"]:
    """CRC-32 of every tile's numbers, by the tensors' names in order, and last of what all share: text, tree."""
    own = [_little_endian(t) for name, t in sorted(tensors.items()) if name not in ("tiles", "checksums")]
    found = []
    for tile in range(len(own[0])):
        value = 0
        for numbers in own:
            value = crc32(numbers[tile].data, value)
        found.append(value)
    found.append(crc32(_little_endian(tensors["tiles"]).data, crc32(text.encode())))
    return np.array(found, np.uint32).view(np.int32)


def _little_endian(tensor: torch.Tensor) -> np.ndarray:
    """The numbers as they are in the file."""
    numbers: np.ndarray = tensor.numpy()
    return numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)


def _damaged_tiles(tensors: Mapping[str, torch.Tensor], text: str) -> Int64[np.ndarray, " damaged"]:
    """Which tiles do not have their checksums.

    Raises:
        DamagedError: what all tiles share does not have its own.
    """
    wrong = np.flatnonzero(tensors["checksums"].numpy() != _checksums(tensors, text))
    if len(wrong) and wrong[-1] == len(tensors["alpha"]):
        raise DamagedError("its text or its tree of tiles does not match the checksum")
    return wrong


def _finite(text: str) -> float:
    """A number of the header; JSON has no others than finite ones, and what is read can be written again."""
    if not isfinite(number := float(text)):
        raise DamagedError(f"its text has a number that is not finite, {text:.20}")
    return number


def _where(tiling: Tiling, damaged: Int64[np.ndarray, " damaged"]) -> str:
    """Name the first of the damaged tiles, and how many they are."""
    first = int(damaged[0])
    x0, y0, x1, y1 = tiling.tree.boxes[first]
    return (
        f"{len(damaged)} of {tiling.count} tiles do not match their checksums, the first is tile {first}, "
        f"columns {x0} to {x1 - 1}, rows {y0} to {y1 - 1}"
    )


def _provenance(stored: Mapping[str, Any]) -> Provenance:
    """Provenance whose values have the types that it says, one by one."""
    found = Provenance(**stored)
    for name, example in asdict(Provenance(seconds=0.0)).items():
        value = getattr(found, name)
        if name == "seconds" and value is None:
            continue
        kinds = (int, float) if isinstance(example, float) else (type(example),)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"provenance: {name} is {value!r:.40}")
    if not all(value is None or type(value) in (int, float) for value in found.metrics.values()):
        raise ValueError("provenance: a metric is no number")
    # What is shown of it has bounds: no table as wide as a header, no number beyond all floats.
    if len(found.metrics) > _MOST_METRICS or any(len(name) > _LONGEST_NAME for name in found.metrics):
        raise ValueError("provenance: its metrics are too many, or their names too long")
    for number in (found.seed, found.steps, found.seconds, *found.metrics.values()):
        if number is not None and abs(number) > _LARGEST:
            raise ValueError("provenance: a number is too large")
    return found
