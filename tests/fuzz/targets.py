"""Fuzzing targets: readers with their valid inputs.

A target takes bytes and returns ``read`` or ``refused``; every exception is a failure. To add a reader, add an entry
to `TARGETS`.
"""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet
import tifffile
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren.backends.dispatch import choose_coder
from eoren.coding.bands import Latents, choose_levels
from eoren.coding.context_model import OFFSETS
from eoren.dataset.collection import Collection
from eoren.dataset.fit_many import fit_many
from eoren.dataset.sources import open_source
from eoren.dataset.tile_jobs import TileGroupResult
from eoren.errors import EorenError, SourceWarning
from eoren.field.field import Field
from eoren.field.file_format import refusing_damage
from eoren.field.serialization import dumps, loads
from eoren.field.wavelet_file import Contents, decode_contents, decoder_shapes, encode_contents
from eoren.fs.safetensors_layout import DamagedError, ForeignError, parse_metadata
from eoren.image.io import read_source_image
from eoren.model.latents.features import group_count
from eoren.training.checkpoint import Checkpoint, CheckpointKey, LoopState, read_checkpoint, write_checkpoint
from eoren.training.presets import make_settings

GOLDEN = Path(__file__).parents[1] / "golden"
MAX_LENGTH = 1 << 16
"""Length of the longest input, in bytes: small files must not have large effects."""


class Target(NamedTuple):
    """Reader to fuzz.

    Attributes:
        read: function that takes the bytes of a file.
        seeds: function that returns valid inputs by name.
    """

    read: Callable[[bytes], str]
    seeds: Callable[[], dict[str, bytes]]


def refused(error: EorenError) -> str:
    """Check the message of an error, and return the outcome."""
    message = str(error)
    assert message.strip(), "an empty message"
    assert "\n" not in message, "more than one line"
    assert len(message) < 1000, "a message that is too long"
    return "refused"


# Fields.


def checksums(text: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Compute the checksums of docs/file-format.md."""
    numbers = {name: t.numpy() for name, t in sorted(tensors.items()) if name not in ("tiles", "checksums")}
    batch = range(len(tensors["alpha"]))
    tiles = [zlib.crc32(b"".join(array[tile].tobytes() for array in numbers.values())) for tile in batch]
    shared = zlib.crc32(text.encode() + tensors["tiles"].numpy().tobytes())
    return torch.from_numpy(np.array([*tiles, shared], np.uint32).view(np.int32).copy())


def sealed(data: bytes) -> bytes:
    """Replace the checksums of a field by valid ones if possible: they would hide the code behind them."""
    try:
        text = parse_metadata(data, len(data))["eoren"]
        tensors = load_tensors(data)
        if "data" in tensors:
            sealed_bytes = bytearray(sealed_contents(tensors["data"].numpy().tobytes()))
            tensors["data"] = torch.frombuffer(sealed_bytes, dtype=torch.uint8)
        else:
            tensors["checksums"] = checksums(text, tensors)
        return save_tensors(tensors, {"eoren": text})
    except (
        DamagedError,
        ForeignError,
        SafetensorError,
        KeyError,
        TypeError,
        IndexError,
        ValueError,
        RuntimeError,
        struct.error,
    ):
        return data


def sealed_contents(data: bytes) -> bytes:
    """Replace the checksums of a compact field: those of its description and parameters, and of its blocks."""
    description, parameters, count, _ = struct.unpack_from("<4I", data)
    table = 16 + description + parameters
    at = start = table + 8 * count
    result = bytearray(data)
    for number in range(min(count, len(data) // 8)):
        (length,) = struct.unpack_from("<I", data, table + 8 * number)
        struct.pack_into("<I", result, table + 8 * number + 4, zlib.crc32(data[at : at + length]))
        at += length
    struct.pack_into("<I", result, 12, zlib.crc32(result[16:start]))
    return bytes(result)


def read_field(data: bytes) -> str:
    """Read a field as it is and with valid checksums, evaluate it, and store it again."""
    outcome = "refused"
    for content in (data, sealed(data)):
        try:
            field = loads(content)
        except EorenError as error:
            refused(error)
            continue
        outcome = "read"
        _exercise(field)
    return outcome


def _exercise(field: Field) -> None:
    """Evaluate a field, and store it again."""
    points = torch.tensor([[0.25, 0.5], [0.7, 0.1]])
    assert field.color(points).shape == (2, field.channels)
    assert field.laplacian(points).shape == (2, field.channels)
    assert field.render(3, 2).shape == (2, 3, field.channels)
    try:
        dumps(field)
    except EorenError as error:  # products of 8-bit weights and scales that exceed 16 bits
        refused(error)


def field_seeds() -> dict[str, bytes]:
    """Return fields of every format version and precision."""
    return {path.name: path.read_bytes() for path in sorted(GOLDEN.glob("*.eoren"))}


def read_contents(data: bytes) -> str:
    """Read the contents of a compact field as they are and with valid checksums, and write them again.

    It leaves out the container and evaluation, which `read_field` covers, so it tries more inputs.
    """
    outcome = "refused"
    for content in (data, _sealed_or_same(data)):
        try:
            with refusing_damage():
                contents = decode_contents(content, choose_coder().decode)
        except EorenError as error:
            refused(error)
            continue
        outcome = "read"
        assert len(encode_contents(contents, choose_coder().encode)) > 0
    return outcome


def _sealed_or_same(data: bytes) -> bytes:
    try:
        return sealed_contents(data)
    except struct.error:
        return data


def contents_seeds() -> dict[str, bytes]:
    """Return the contents of compact fields with few numbers, which are read fast; one has several blocks."""
    rng = np.random.default_rng(0)
    return {
        "gray": _contents(rng, channels=1, width=5, height=4),
        "line": _contents(rng, channels=2, width=1, height=9),
        "colors": _contents(rng, channels=3, width=3, height=3),
        "alpha": _contents(rng, channels=4, width=2, height=2),
        "siren": _contents(rng, channels=3, width=6, height=5, siren_width=2),
        "blocks": _contents(rng, channels=1, width=1600, height=1),
    }


def _contents(rng: np.random.Generator, *, channels: int, width: int, height: int, siren_width: int = 0) -> bytes:
    """Return random contents."""
    latents = Latents.zeros(channels, height, width, choose_levels(width, height))
    for band in latents.bands():
        band[:] = rng.laplace(scale=2, size=band.shape).round()
    shapes = decoder_shapes(channels, group_count(latents.levels), siren_width)
    weights = [rng.integers(-9, 10, shape) / 16 for shape in shapes]
    offsets = rng.integers(-9, 10, (3 * latents.levels + 1, channels)).astype(np.int16)
    shifts = rng.integers(-2, 3, OFFSETS).astype(np.int16)
    exponents = [4] * len(weights)
    contents = Contents(latents, width, height, 0.05, offsets, siren_width, weights, exponents, shifts, {"seed": 0})
    return encode_contents(contents, choose_coder().encode)


# Checkpoints.

_IDENTITY = CheckpointKey(make_settings("mosaic-fast", steps=5), 3, "ab" * 32)


def read_state(data: bytes) -> str:
    """Read a checkpoint."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            read_checkpoint(Path(file.name), _IDENTITY)
        except EorenError as error:
            return refused(error)
    return "read"


def state_seeds() -> dict[str, bytes]:
    """Return a checkpoint."""
    tensors = {"parameters.0": torch.ones(2, 3, 4), "steps": torch.arange(5), "finished.0": torch.zeros(6)}
    tensors["selected"] = torch.zeros(7, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.resume")
        write_checkpoint(path, _IDENTITY, Checkpoint(LoopState(1.5, 0.25, group=1), 4, tensors))
        return {"checkpoint": path.read_bytes()}


# Stores of many images: one file of a valid store is replaced.


_NETWORKS = {"width": 3, "depth": 2, "tile": 8}
_COMPACT = {"preset": "fast"}


@cache
def _good_store(kind: str = "networks") -> Mapping[str, bytes]:
    """Return the files of a store of three small images, of which one is invalid; one has several networks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        last = _colours() if kind == "networks" else _colours()[:4, :3]
        images = [(_colours()[:6, :8], "7"), (last, "12"), (np.full((6, 8, 3), np.nan), None)]
        fit_many(images, store=folder, steps=1, shard=2**20, **(_NETWORKS if kind == "networks" else _COMPACT))
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _read_store(part: str, data: bytes, kind: str = "networks") -> str:
    """Read a store, and call the methods of its collection."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, content in {**_good_store(kind), part: data}.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(content)
        try:
            collection = Collection(folder)
            json.dumps(collection.summary(), allow_nan=False)
            assert len(collection.names) == len(collection.labels) == len(collection)
            for number in range(min(len(collection), 8)):
                _exercise(collection[number])
                assert collection.weights(number).ndim == 1
        except EorenError as error:
            return refused(error)
        try:
            assert len(collection.dataset()) > 0
        except EorenError as error:  # networks of different shapes
            refused(error)
        if kind == "compact":
            assert all(latents.ndim == 3 for latents, _ in collection.latents())
    return "read"


def read_index(data: bytes) -> str:
    """Read a store with this part of its index."""
    return _read_store("index/0000000.parquet", data)


def read_shard(data: bytes) -> str:
    """Read a store with this file of networks."""
    return _read_store("shards/0000000.safetensors", data)


def read_compact(data: bytes) -> str:
    """Read a store with this file of compact fields, as it is and with valid checksums."""
    outcomes = [
        _read_store("shards/0000000.safetensors", content, "compact") for content in (data, sealed_shard(data))
    ]
    return "read" if "read" in outcomes else "refused"


def sealed_shard(data: bytes) -> bytes:
    """Replace the checksums of the compact fields in a shard by valid ones if possible."""
    try:
        metadata = {"eoren-shard": parse_metadata(data, len(data))["eoren-shard"]}
        tensors = load_tensors(data)
        codes, ends = tensors["0.data"].numpy().tobytes(), tensors["0.ends"].tolist()
        if ends != sorted(ends):  # parts that overlap
            return data
        parts = [codes[start:end] for start, end in pairwise([0, *ends, len(codes)])]
        joined = b"".join(_sealed_or_same(part) for part in parts)
        tensors["0.data"] = torch.frombuffer(bytearray(joined), dtype=torch.uint8)
        return save_tensors(tensors, metadata)
    except (DamagedError, ForeignError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
        return data


def read_manifest(data: bytes) -> str:
    """Read a store with this description."""
    return _read_store("store.json", data)


def read_piece(data: bytes) -> str:
    """Read a piece of a large image."""
    try:
        TileGroupResult.loads(data)
    except EorenError as error:
        return refused(error)
    return "read"


def index_seeds() -> dict[str, bytes]:
    """Return an index as EoREN writes it, and others: without checksums, with dictionaries, with small pages."""
    good = _good_store()["index/0000000.parquet"]
    table = pyarrow.parquet.read_table(io.BytesIO(good))
    inputs = {"ours": good}
    for name, options in {
        "plain": {"compression": "none", "use_dictionary": False, "store_schema": False},
        "packed": {"compression": "zstd", "use_dictionary": False, "store_schema": False, "write_statistics": False},
        "dictionary": {"compression": "zstd"},
        "pages": {"compression": "none", "data_page_version": "2.0", "data_page_size": 8, "row_group_size": 2},
    }.items():
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer, **options)
        inputs[name] = buffer.getvalue()
    return inputs


def shard_seeds() -> dict[str, bytes]:
    """Return networks of two sizes."""
    return {"shard": _good_store()["shards/0000000.safetensors"]}


def compact_seeds() -> dict[str, bytes]:
    """Return compact fields of two sizes."""
    return {"shard": _good_store("compact")["shards/0000000.safetensors"]}


def manifest_seeds() -> dict[str, bytes]:
    """Return the description of the store."""
    return {"manifest": _good_store()["store.json"]}


def piece_seeds() -> dict[str, bytes]:
    """Return a piece with networks, and one whose fit failed."""
    field = loads((GOLDEN / "v2-32bits.eoren").read_bytes()).to("cpu")
    return {
        "piece": TileGroupResult(0, 1, "ab" * 32, 5, field.representation.siren).dumps(),
        "failed": TileGroupResult(0, 1, "ab" * 32, 5, None, "it diverged").dumps(),
    }


# Images.


def read_file(data: bytes) -> str:
    """Read an image, and check its values."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            image = read_source_image(file.name)
        except EorenError as error:
            return refused(error)
    pixels = image.pixels
    assert pixels.dtype == np.float32
    assert pixels.ndim == 3
    assert 1 <= pixels.shape[2] <= 4
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1
    assert not any("\n" in note for note in image.notes)
    return "read"


def _colours() -> np.ndarray:
    y, x = np.mgrid[:20, :24]
    return np.uint8(np.stack([x * 10, y * 12, 6 * (x + y)], -1))


def _saved(form: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(_colours())).save(buffer, form, **options)
    return buffer.getvalue()


def _tiff(samples: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric="rgb", **options)
    return buffer.getvalue()


def png_of(samples: np.ndarray, colour_type: int) -> bytes:
    """Encode a PNG by its specification: Pillow does not write 16-bit colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes() for row in samples)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_seeds() -> dict[str, bytes]:
    """Return 8 and 16 bits, a palette, an animation, an EXIF block."""
    exif = Image.Exif()
    exif[274] = 6
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime")]
    return {
        "8": _saved("PNG", exif=exif),
        "16": png_of(np.uint16(_colours()) * 257, 2),
        "palette": _saved("PNG", Image.fromarray(_colours()).quantize(7), transparency=2),
        "animated": _saved("PNG", frames[0], save_all=True, append_images=frames[1:]),
    }


def jpeg_seeds() -> dict[str, bytes]:
    """Return baseline, progressive, gray and CMYK files."""
    image = Image.fromarray(_colours())
    exif = Image.Exif()
    exif[274] = 3
    return {
        "baseline": _saved("JPEG", exif=exif),
        "progressive": _saved("JPEG", progressive=True),
        "gray": _saved("JPEG", image.convert("L")),
        "cmyk": _saved("JPEG", image.convert("CMYK")),
    }


def gif_seeds() -> dict[str, bytes]:
    """Return a still image, and an animation with a transparent colour."""
    frames = [Image.new("P", (20, 10), colour) for colour in (1, 2, 3)]
    return {
        "still": _saved("GIF"),
        "animated": _saved("GIF", frames[0], save_all=True, append_images=frames[1:], transparency=2, duration=10),
    }


def webp_seeds() -> dict[str, bytes]:
    """Return lossy, lossless and animated files, and one with alpha."""
    image = Image.fromarray(_colours())
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime")]
    return {
        "lossy": _saved("WEBP"),
        "lossless": _saved("WEBP", lossless=True),
        "alpha": _saved("WEBP", image.convert("RGBA")),
        "animated": _saved("WEBP", frames[0], save_all=True, append_images=frames[1:]),
    }


def tiff_seeds() -> dict[str, bytes]:
    """Return strips and tiles, 1 bit to floats, chunky and planar, in every compression and with predictors."""
    deep = np.uint16(_colours()) * 257
    image = Image.fromarray(_colours())
    return {
        "plain": _saved("TIFF"),
        "lzw": _saved("TIFF", compression="tiff_lzw"),
        "jpeg": _saved("TIFF", compression="jpeg"),
        "packbits": _saved("TIFF", image.convert("1"), compression="packbits"),
        "palette": _saved("TIFF", image.quantize(7), compression="tiff_lzw"),
        "inks": _saved("TIFF", image.convert("CMYK")),
        "16": _tiff(deep, rowsperstrip=4),
        "deflate": _tiff(deep, rowsperstrip=4, compression="zlib"),
        "tiles": _tiff(np.float32(deep) / 65535, tile=(16, 16), compression="zlib", predictor=3),
        "zstd": _tiff(deep, compression="zstd", predictor=2),
        "planes": _tiff(np.moveaxis(deep, -1, 0), planarconfig="separate"),
        "big": _tiff(_colours(), bigtiff=True, byteorder=">"),
    }


def npy_seeds() -> dict[str, bytes]:
    """Return bytes, floats in Fortran order, and objects, which are refused."""
    inputs = {}
    for name, array in {
        "bytes": _colours(),
        "floats": np.asfortranarray(_colours() / 255.0),
        "big": (_colours() / 255).astype(">f4"),
        "objects": np.array([[{}]]),
    }.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        inputs[name] = buffer.getvalue()
    return inputs


# Archives of images.


def _read_source(name: str, data: bytes) -> str:
    """Read all members of an archive of this name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        outcome = "refused"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SourceWarning)
                items = [*open_source(path)]
            for item in items:
                content = item.load()
                f"{item.name} {content.label}".encode()
                if isinstance(content.data, EorenError):
                    refused(content.data)
                else:
                    outcome = "read"
        except EorenError as error:
            return refused(error)
    return outcome


def read_archive(data: bytes) -> str:
    """Read a zip or tar archive."""
    return _read_source("some.archive", data)


def read_digits(data: bytes) -> str:
    """Read an IDX file."""
    return _read_source("some-images-idx3-ubyte", data)


def _members() -> dict[str, bytes]:
    return {"a/0.png": _saved("PNG"), "a/1.png": _saved("PNG"), "b.txt": b"text", "b/2.npy": bytes(3000)}


def zip_seeds() -> dict[str, bytes]:
    """Return stored and deflated archives, with members in compressions that are refused."""
    inputs = {}
    for name, method in {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}.items():
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for member, content in _members().items():
                archive.writestr(member, content)
            archive.writestr("a/é.png", b"a name that is not ASCII", zipfile.ZIP_BZIP2)
            with archive.open("a/3.png", "w", force_zip64=True) as large:
                large.write(b"sizes of 64 bits")
        inputs[name] = buffer.getvalue()
    return inputs


def tar_seeds() -> dict[str, bytes]:
    """Return archives of three kinds with long names, uncompressed and compressed."""
    inputs = {}
    for name, kind in {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}.items():
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
            for member, content in _members().items():
                long = "" if kind == tarfile.USTAR_FORMAT else "é" * 101 + "/"
                header = tarfile.TarInfo(long + member)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
        inputs[name] = buffer.getvalue()
    inputs |= {"gzip": gzip.compress(inputs["pax"]), "bzip2": bz2.compress(inputs["gnu"])}
    return inputs | {"xz": lzma.compress(inputs["gnu"])}


def idx_seeds() -> dict[str, bytes]:
    """Return gray images, and compressed colour images."""
    gray = bytes([0, 0, 8, 3]) + struct.pack(">3I", 5, 8, 9) + bytes(range(5 * 8)) * 9
    colours = bytes([0, 0, 8, 4]) + struct.pack(">4I", 2, 20, 24, 3) + _colours().tobytes() * 2
    return {"gray": gray, "colours": gzip.compress(colours)}


TARGETS = {
    "field": Target(read_field, field_seeds),
    "contents": Target(read_contents, contents_seeds),
    "checkpoint": Target(read_state, state_seeds),
    "png": Target(read_file, png_seeds),
    "jpeg": Target(read_file, jpeg_seeds),
    "gif": Target(read_file, gif_seeds),
    "webp": Target(read_file, webp_seeds),
    "tiff": Target(read_file, tiff_seeds),
    "npy": Target(read_file, npy_seeds),
    "index": Target(read_index, index_seeds),
    "shard": Target(read_shard, shard_seeds),
    "compact": Target(read_compact, compact_seeds),
    "manifest": Target(read_manifest, manifest_seeds),
    "piece": Target(read_piece, piece_seeds),
    "zip": Target(read_archive, zip_seeds),
    "tar": Target(read_archive, tar_seeds),
    "idx": Target(read_digits, idx_seeds),
}
