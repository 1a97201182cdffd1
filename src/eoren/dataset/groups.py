"""A fitted shard: its rows of the index, and its images in groups, networks of one size or compact fields.

A group of networks is a :class:`eoren.field.mosaic.SirenMosaic` with the networks of several images, one image after
the other. A group of compact fields holds the bytes of each, and where they end. One image can be read alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from eoren.field.mosaic import SirenMosaic
from eoren.field.schema import MosaicSchema
from eoren.field.wavelet_file import VERSION
from eoren.field.wavelet_siren import WaveletSiren

_KIND, _TENSORS = "representation", ("data", "ends")

Row = dict[str, Any]
"""A row of the index; see :data:`eoren.dataset.index.COLUMNS`."""


@runtime_checkable
class Group(Protocol):
    """Images that a shard stores together."""

    def header(self) -> dict[str, Any]:
        """Return the description that the file stores as JSON."""

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors that the file stores, as contiguous arrays."""


@dataclass(frozen=True, eq=False)
class CompactGroup:
    """Compact fields of any sizes, each as the bytes of the tensor ``data`` of an .eoren file."""

    codes: Sequence[bytes]

    def header(self) -> dict[str, Any]:
        """Return the description that the file stores as JSON."""
        return {_KIND: WaveletSiren.kind}

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the bytes of all fields, one after the other, and the end of each."""
        data = np.frombuffer(b"".join(self.codes), np.uint8)
        ends = np.cumsum([len(code) for code in self.codes], dtype=np.int64)
        return dict(zip(_TENSORS, (data, ends), strict=True))


@dataclass(frozen=True, eq=False)
class ShardResult:
    """A fitted shard: its images in groups, a row of the index for each, and their colour profiles."""

    shard: int
    groups: Sequence[Group]
    rows: Sequence[Row]  # one for each image, in order
    profiles: Mapping[str, bytes] = field(default_factory=dict)  # ICC profiles by the digests in the rows


def encode_compact(field: WaveletSiren) -> bytes:
    """Encode a compact field for :class:`CompactGroup`, without a provenance: the index of the store has it."""
    return field.encode({}, {})[1]["data"].tobytes()


def is_compact(header: Mapping[str, Any]) -> bool:
    """Check whether the header of a group is that of compact fields; a ValueError if it is of an unknown kind."""
    kind = header.get(_KIND, SirenMosaic.kind)
    if kind not in (SirenMosaic.kind, WaveletSiren.kind):
        raise ValueError(f"a group holds {kind!r:.40}")
    return bool(kind == WaveletSiren.kind)


def read_compact(stored: Any, group: int, offset: int) -> WaveletSiren:
    """Read one field of a group of compact fields.

    Args:
        stored: open safetensors file of the shard.
        group: number of the group.
        offset: number of the field in the group.

    Raises:
        ValueError: the file is damaged.
    """
    data, ends = (stored.get_slice(f"{group}.{name}") for name in _TENSORS)
    count, size = ends.get_shape()[0], data.get_shape()[0]
    if ends.get_dtype() != "I64" or not offset < count:
        raise ValueError(f"{count} compact fields, of which number {offset} is missing")
    first = max(0, offset - 1)
    start, end = [0, *ends[first : offset + 1].tolist()][-2:]
    if not 0 <= start < end <= size:
        raise ValueError(f"a compact field of bytes {start} to {end} of {size}")
    return WaveletSiren.decode("", {"format_version": VERSION}, {"data": data[start:end]})[0]


def read_networks(
    stored: Any, header: Mapping[str, Any], group: int, offset: int = 0, count: int | None = None
) -> SirenMosaic:
    """Read the networks of ``count`` images of a group, by default all from ``offset`` on.

    Args:
        stored: open safetensors file of the shard.
        header: header of the group.
        group: number of the group.
        offset: number of the first image in the group.
        count: number of images.

    Raises:
        LookupError, TypeError, ValueError, OverflowError: the file is damaged.
    """
    schema = MosaicSchema.from_header(header)
    prefix = f"{group}."
    tiling = schema.tiling(stored.get_tensor(f"{prefix}tiles"))
    first = offset * tiling.count
    end = None if count is None else first + count * tiling.count
    tensors = {
        name.removeprefix(prefix): stored.get_slice(name)[first:end]
        for name in stored.keys()  # noqa: SIM118
        if name.startswith(prefix) and name != f"{prefix}tiles"
    }
    schema.check(tensors, {})
    batch = len(tensors["alpha"])
    if batch == 0 or batch % tiling.count or (count is not None and batch != count * tiling.count):
        raise ValueError(f"{batch} networks for tiles of {tiling.count}")
    siren, tuning = schema.networks(tensors)
    return SirenMosaic(siren, tuning, tiling, schema.bits)
