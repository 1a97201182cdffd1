"""The index of a store: one Parquet file per shard, one row per image.

Any Parquet reader opens it (``pandas.read_parquet("store/index")``). eoren treats it as untrusted: size, footer and
page headers are checked before pages are decoded, and the rows before they are used.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from eoren.errors import EorenError
from eoren.evaluation.metrics import METRICS
from eoren.fs.decompression import FREE_BYTES, max_decompressed_size
from eoren.fs.parquet_layout import MAX_FOOTER, check_pages
from eoren.image.decoders import MAX_PIXELS

if TYPE_CHECKING:
    import pyarrow

COLUMNS: Mapping[str, str] = {
    "number": "int64",
    "name": "string",
    "label": "string",
    "width": "int32",
    "height": "int32",
    "channels": "int32",
    "sha256": "string",
    "seed": "int64",
    "status": "string",
    "error": "string",
    "networks": "int32",
    "parameters": "int64",
    "steps": "int64",
    "psnr": "float",
    "psnr_8bit": "float",
    "gradient_psnr": "float",
    "ssim": "float",
    "shard": "int32",
    "group": "int32",
    "offset": "int32",
    "notes": "string",
    "profile": "string",
}
"""Names and types of the columns. docs/file-format.md explains them."""

_OLDER = 20
"""Number of columns, the first, that an index written before notes and profiles were kept has."""

MAX_ROWS = 1 << 20
"""Largest number of images in a shard."""

MAX_FILE = 1 << 30
"""Largest file of the rows of a shard, in bytes."""

_MAX_CONTAINER = 1000  # elements of a list in the footer
_REQUIRED = ("number", "name", "status", "shard")
# Smallest values of columns that a row with status "done" requires.
_MINIMUM = {"width": 1, "height": 1, "channels": 1, "seed": 0, "networks": 0, "parameters": 1}
_MINIMUM |= {"steps": 0, "group": 0, "offset": 0}


def import_parquet() -> Any:
    """Import ``pyarrow.parquet``; raise :class:`EorenError` if pyarrow is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise EorenError("stores of many images need pyarrow; pip install 'eoren[collections]'") from None
    return pyarrow.parquet


def schema(count: int | None = None) -> "pyarrow.Schema":
    """Return the first of :data:`COLUMNS`, by default all, as a pyarrow schema."""
    import pyarrow

    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in [*COLUMNS.items()][:count]])


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode the rows of a shard as a Parquet file. NaN becomes null."""
    import pyarrow

    plain = [{name: None if value != value else value for name, value in row.items()} for row in rows]
    table = pyarrow.Table.from_pylist(plain, schema())
    # Dictionaries, statistics and the Arrow schema only enlarge such small files.
    slim = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    file = BytesIO()
    import_parquet().write_table(table, file, compression="zstd", write_page_checksum=True, **slim)
    return file.getvalue()


def decode_rows(data: bytes, shard: int, size: int) -> "pyarrow.Table":
    """Decode the rows of a shard; ``size`` is the number of images in a full shard.

    Raises ValueError if the file is damaged.
    """
    import pyarrow

    try:
        table = _decode(data, min(size, MAX_ROWS))
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(str(error)) from None
    _check_rows(table, shard, size)
    return table


def _decode(data: bytes, max_rows: int) -> "pyarrow.Table":
    """Decode all rows of a file within bounds of memory."""
    import pyarrow

    max_bytes = max_decompressed_size(len(data))
    dictionary = check_pages(data, (_OLDER, len(COLUMNS)), max_rows, max_bytes)
    file = import_parquet().ParquetFile(
        pyarrow.BufferReader(data),
        thrift_string_size_limit=MAX_FOOTER,
        thrift_container_size_limit=_MAX_CONTAINER,
        page_checksum_verification=True,
        pre_buffer=False,
    )
    columns = file.schema_arrow
    if columns not in (schema(), schema(_OLDER)):
        raise ValueError("it has other columns than an index")
    # Each row may repeat the whole dictionary, so rows are decoded in batches and their size is summed.
    batches, left = [], max_bytes
    for batch in file.iter_batches(max(1, FREE_BYTES // (4 * dictionary)), use_threads=False):
        left -= batch.nbytes
        if left < 0:
            raise ValueError(f"it would decode to more than {max_bytes} bytes")
        batches.append(batch)
    table = pyarrow.Table.from_batches(batches, columns)
    table.validate(full=True)
    for name in [*COLUMNS][len(columns) :]:
        table = table.append_column(schema().field(name), pyarrow.nulls(table.num_rows, pyarrow.string()))
    return table


def _check_rows(table: "pyarrow.Table", shard: int, size: int) -> None:
    import pyarrow.compute

    if any(table[name].null_count for name in _REQUIRED):
        raise ValueError(f"a row has no {', '.join(_REQUIRED[:-1])} or {_REQUIRED[-1]}")
    count, first = table.num_rows, shard * size
    if table["shard"].to_pylist() != [shard] * count or table["number"].to_pylist() != [*range(first, first + count)]:
        raise ValueError("its rows belong to another shard")
    if not set(pyarrow.compute.unique(table["status"]).to_pylist()) <= {"done", "failed"}:
        raise ValueError("the status of a row is neither done nor failed")
    done = table.filter(pyarrow.compute.equal(table["status"], "done"))
    for name, minimum in _MINIMUM.items():
        if done[name].null_count or bool((done[name].to_numpy() < minimum).any()):
            raise ValueError(f"a row has no valid {name}")
    if done["sha256"].null_count:
        raise ValueError("a row has no sha256")
    if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in table["profile"].unique().drop_null().to_pylist()):
        raise ValueError("the profile of a row is not a digest")
    width, height, channels = (done[name].to_numpy().astype(np.int64) for name in ("width", "height", "channels"))
    if bool((width * height > MAX_PIXELS).any()) or bool((channels > 4).any()):
        raise ValueError("a row has an image that is too large")
    locations = np.stack([done[name].to_numpy() for name in ("group", "offset")], 1)
    if len(np.unique(locations, axis=0)) != len(locations):
        raise ValueError("two rows refer to the same networks")
    for name in METRICS:
        values = table[name].drop_null().to_numpy()
        if bool((np.isnan(values) | (values == -np.inf)).any()):
            raise ValueError(f"the {name} of a row is not a valid number")
