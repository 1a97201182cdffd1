"""The index of a store: Parquet, a row for every image, and a file for every shard.

Anybody can read it (``pandas.read_parquet("store/index")``). We read it as what strangers wrote: its size, footer,
columns and what its pages would become are checked before they are decoded, and its rows before they are believed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eoren.dataset.parquet import chunks, pages
from eoren.errors import EorenError
from eoren.evaluation.metrics import METRICS
from eoren.fs.decompression import FREE_BYTES, most_unpacked
from eoren.fs.files import atomic_path, open_regular
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
}
"""With their types. docs/file-format.md says what they mean."""

MOST_ROWS = 1 << 20
"""Of a shard."""

_MAGIC = b"PAR1"
_MAX_FILE = 1 << 30
_MAX_FOOTER = 1 << 20
_MOST_PARTS = 1000  # of anything in the footer
_CODECS = {0, 6}  # none, zstd
# Columns that rows must have: all of them, and those that are done.
_ALWAYS = ("number", "name", "status", "shard")
_LEAST = {"width": 1, "height": 1, "channels": 1, "seed": 0, "networks": 1, "parameters": 1}
_LEAST |= {"steps": 0, "group": 0, "offset": 0}


def parquet() -> Any:
    """Pyarrow's part for it.

    Raises:
        EorenError: it is missing.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise EorenError("many images need pyarrow; pip install 'eoren[collections]'") from None
    return pyarrow.parquet


def schema() -> "pyarrow.Schema":
    """:data:`COLUMNS`, as pyarrow has them."""
    import pyarrow

    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a part of the index, or replace it: whole or not at all.

    Raises:
        EorenError: the place cannot be written to.
    """
    import pyarrow

    # SSIM is not a number where there is none: null says that to every reader.
    plain = [{name: None if value != value else value for name, value in row.items()} for row in rows]
    table = pyarrow.Table.from_pylist(plain, schema())
    # Dictionaries, statistics and Arrow's own schema only make such short columns longer.
    slim = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    with atomic_path(path) as temporary:
        parquet().write_table(table, temporary, compression="zstd", write_page_checksum=True, **slim)


def read_rows(path: Path, shard: int, size: int) -> "pyarrow.Table":
    """A part of the index.

    Args:
        path: of its file.
        shard: that it is of.
        size: images of a full shard.

    Raises:
        EorenError: it cannot be read.
        ValueError: it is damaged.
    """
    import pyarrow

    with open_regular(path) as (file, length):
        if length > _MAX_FILE:
            raise ValueError(f"it has {length} bytes, where {_MAX_FILE} are the most")
        data = file.read(length)
    try:
        table = _table(data, min(size, MOST_ROWS))
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(str(error)) from None
    _check_rows(table, shard, size)
    return table


def _table(data: bytes, most: int) -> "pyarrow.Table":
    """All rows of a file.

    Raises:
        ValueError, OSError, pyarrow.ArrowException: it is damaged.
    """
    import pyarrow

    footer = int.from_bytes(data[-8:-4], "little")
    if len(data) < 12 or data[:4] != _MAGIC or data[-4:] != _MAGIC:
        raise ValueError("it does not begin and end as Parquet does")
    if footer > min(_MAX_FOOTER, len(data) - 12):
        raise ValueError(f"its footer claims {footer} bytes")
    largest = _check_pages(data, len(data) - 8 - footer, most)
    file = parquet().ParquetFile(
        pyarrow.BufferReader(data),
        thrift_string_size_limit=_MAX_FOOTER,
        thrift_container_size_limit=_MOST_PARTS,
        page_checksum_verification=True,
        pre_buffer=False,
    )
    if not file.schema_arrow.equals(schema()):
        raise ValueError("other columns")
    # Values that name those of a dictionary may be much longer than their numbers: some at a time.
    batches, left = [], most_unpacked(len(data))
    for batch in file.iter_batches(max(1, FREE_BYTES // largest), use_threads=False):
        left -= batch.nbytes
        if left < 0:
            raise ValueError(f"it becomes more than {most_unpacked(len(data))} bytes")
        batches.append(batch)
    table = pyarrow.Table.from_batches(batches, schema())
    table.validate(full=True)
    return table


def _check_pages(data: bytes, end: int, most: int) -> int:
    """Refuse columns and pages that are not there, overlap, are written in odd ways, or become too much.

    Args:
        data: of the file.
        end: of its pages; its footer begins there.
        most: rows.

    Returns:
        The bytes of the largest dictionary, 1 if there is none.

    Raises:
        ValueError: so.
    """
    rows, groups = chunks(data[end:-8])
    if not 1 <= rows <= most:
        raise ValueError(f"it has {rows} rows, where {most} are the most")
    if any(len(group) != len(COLUMNS) for group in groups):
        raise ValueError("a group of rows has other columns")
    if sum(group[0].rows for group in groups) != rows:
        raise ValueError(f"its groups have other rows than the {rows} that it says")
    before, largest, room = len(_MAGIC), 1, most_unpacked(len(data))
    for chunk in sorted((chunk for group in groups for chunk in group), key=lambda chunk: chunk.start):
        if chunk.codec not in _CODECS or chunk.values != chunk.rows:
            raise ValueError("a column is packed in an unknown way, or has other rows")
        if chunk.start < before or chunk.start + chunk.size > end:
            raise ValueError("its columns overlap, or are not there")
        before, expected = chunk.start + chunk.size, chunk.rows
        for page in pages(data, chunk.start, before):
            room -= page.size
            expected -= 0 if page.is_dictionary else page.values
            largest = max(largest, page.size if page.is_dictionary else 1)
        if expected or room < 0:
            raise ValueError("its pages have other values" if expected else "its pages claim too many bytes")
    return largest


def _check_rows(table: "pyarrow.Table", shard: int, size: int) -> None:
    """Refuse rows that say what cannot be.

    Raises:
        ValueError: so.
    """
    import pyarrow.compute

    if any(table[name].null_count for name in _ALWAYS):
        raise ValueError("a row has no name or no place")
    count = table.num_rows
    first = shard * size
    if table["shard"].to_pylist() != [shard] * count or table["number"].to_pylist() != [*range(first, first + count)]:
        raise ValueError("its rows are of another shard")
    status = table["status"]
    if not set(pyarrow.compute.unique(status).to_pylist()) <= {"done", "failed"}:
        raise ValueError("a row has no status")
    done = table.filter(pyarrow.compute.equal(status, "done"))
    for name, least in _LEAST.items():
        if done[name].null_count or bool((done[name].to_numpy() < least).any()):
            raise ValueError(f"a row has no {name}")
    if done["sha256"].null_count:
        raise ValueError("a row has no sha256")
    sides = [done[name].to_numpy().astype(np.int64) for name in ("width", "height", "channels")]
    if bool((sides[0] * sides[1] > MAX_PIXELS).any()) or bool((sides[2] > 4).any()):
        raise ValueError("a row has an image too large")
    places = np.stack([done[name].to_numpy() for name in ("group", "offset")], 1)
    if len(np.unique(places, axis=0)) != len(places):
        raise ValueError("two rows have the same networks")
    for name in METRICS:
        values = table[name].drop_null().to_numpy()
        if bool((np.isnan(values) | (values == -np.inf)).any()):
            raise ValueError(f"a row's {name} is no number")
