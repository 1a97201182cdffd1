"""Readers of files: inputs that failed once, random damage, random headers, and bombs.

`python -m tests.fuzz` fuzzes them for any length of time; see `docs/reliability.md`.
"""

import io
import json
import random
import re
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import MAX_LENGTH, TARGETS, checksums, png_of, read_field, read_file

ROOT = Path(__file__).parent.parent
KEPT = sorted((ROOT / "tests" / "fuzz" / "kept").glob("*-*"))

seeded = settings(
    derandomize=True, deadline=None, database=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("name", TARGETS)
def test_valid_inputs_are_read(name):
    for seed, data in TARGETS[name].seeds().items():
        assert TARGETS[name].read(data) == ("refused" if seed == "objects" else "read"), seed
        assert len(data) < MAX_LENGTH


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_inputs_that_failed_once(path):
    assert TARGETS[path.name.split("-")[0]].read(path.read_bytes()) in ("read", "refused")


@pytest.mark.parametrize("name", TARGETS)
def test_random_damage(name):
    target, rng = TARGETS[name], random.Random(name)
    seeds = [*target.seeds().values()]
    outcomes = [target.read(mutate(seeds, rng, MAX_LENGTH)) for _ in range(100)]
    assert set(outcomes) == {"read", "refused"}  # both occur, so the test reaches behind the first check


@pytest.mark.parametrize("name", ["field", "tiff"])
def test_atheris_measures_coverage(name, tmp_path):
    """If modules are not instrumented, atheris runs without an error and finds nothing."""
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.fuzz", "--worker", str(tmp_path), "--engine", "atheris"]
    done = subprocess.run(
        [*command, "--only", name, "--seconds", "2"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    assert done.returncode == 0, done.stderr
    assert int(coverage[0]) > 150


# Fields with any JSON in the header or any numbers in a tensor, and valid checksums.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = {name: data for name, data in TARGETS["field"].seeds().items() if name.startswith("v2")}
ENTRIES = ("format_version", "channels", "width", "height", "halo", "omegas", "bits", "provenance")


def unpack(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["eoren"]), load_tensors(data)


def pack(header, tensors):
    text = json.dumps(header)
    tensors = {**tensors, "checksums": checksums(text, tensors)}
    return save_tensors(tensors, {"eoren": text})


@seeded
@given(st.sampled_from(sorted(FIELDS)), st.sampled_from(ENTRIES), JSON)
def test_any_value_of_a_header_entry(name, entry, value):
    header, tensors = unpack(FIELDS[name])
    assert read_field(pack(header | {entry: value}, tensors)) in ("read", "refused")


@seeded
@given(
    st.sampled_from(["width", "height", "halo", "channels", "bits"]),
    st.integers(-(2**70), 2**70) | st.floats(allow_nan=False),
)
def test_any_size_in_a_header(entry, value):
    header, tensors = unpack(FIELDS["v2-16bits.eoren"])
    assert read_field(pack(header | {entry: value}, tensors)) in ("read", "refused")


@seeded
@given(st.sampled_from(sorted(FIELDS)), st.data())
def test_any_numbers_of_a_tensor(name, data):
    header, tensors = unpack(FIELDS[name])
    which = data.draw(st.sampled_from(sorted(tensors)))
    numbers = tensors[which].numpy().copy()
    flat = numbers.reshape(-1).view(np.uint8)
    at = data.draw(st.integers(0, len(flat) - 1))
    given = np.frombuffer(data.draw(st.binary(min_size=1, max_size=16)), np.uint8)[: len(flat) - at]
    flat[at : at + len(given)] = given
    tensors[which] = tensors[which].new_tensor(numbers)
    assert read_field(pack(header, tensors)) in ("read", "refused")


@seeded
@given(
    st.sampled_from([name for name, target in TARGETS.items() if target.read is read_file]), st.binary(max_size=200)
)
def test_any_bytes_after_the_start_of_an_image(name, rest):
    start = next(iter(TARGETS[name].seeds().values()))[: len(rest) % 40 + 4]
    assert read_file(start + rest) in ("read", "refused")


# Bombs: small files that would take gigabytes or minutes. Each is read in its own process, which is measured.

BOMB = """
import resource, sys, time
from tests.fuzz.targets import TARGETS
target = TARGETS[sys.argv[1]]
for seed in target.seeds().values():
    target.read(seed)
data, start, before = sys.stdin.buffer.read(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcome = target.read(data)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(outcome, grown / 1024, time.process_time() - start)
"""


def png(side):
    """Return an image of zeros, well compressed."""
    good = png_of(np.zeros((8, 8, 3), np.uint8), 2)
    press = zlib.compressobj(9)
    lines = b"".join(press.compress(bytes((1 + 3 * side) * 64)) for _ in range(side // 64)) + press.flush()

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return good[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def jpeg(height=None, scans=1):
    data = bytearray(TARGETS["jpeg"].seeds()["progressive"])
    frame, last = data.index(b"\xff\xc2"), data.rindex(b"\xff\xda")
    data[-2:-2] = data[last:-2] * (scans - 1)
    if height:
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, 4000)
    return bytes(data)


def gif():
    size = struct.pack("<HH", 30000, 30000)
    return b"GIF89a" + size + bytes(3) + b"," + bytes(4) + size + b"\0\x08" + b"\x01\x00\x00;"


def webp():
    """Return the header of a lossless image of 16383 x 16383 pixels: each side, less one, in 14 bits."""
    body = b"\x2f" + (16382 | 16382 << 14).to_bytes(4, "little") + bytes(8)
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body + b"\0"
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def tiff(data=bytes(4096), **tags):
    """Return 64 x 64 bytes of gray, with tags replaced by number, each by a value or a list of values."""
    entries = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 279: len(data)}
    entries |= {int(name[1:]): value for name, value in tags.items()}
    behind = 8 + len(data) + 2 + 12 * len(entries) + 4
    extra, directory = b"", b""
    for tag, value in sorted(entries.items()):
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"<{len(values)}I", *values)
        content = packed if len(values) == 1 else struct.pack("<I", behind + len(extra))
        directory += struct.pack("<HHI", tag, 4, len(values)) + content
        extra += packed if len(values) > 1 else b""
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(entries))
        + directory
        + bytes(4)
        + extra
    )


def npy(text):
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def header(shape, kind="<f4"):
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n")


def index(name, count=1, **options):
    """Return a part of an index whose images all have the same long name."""
    good = pyarrow.parquet.read_table(io.BytesIO(TARGETS["index"].seeds()["ours"]))
    row = good.slice(0, 1).to_pylist()[0]
    table = pyarrow.Table.from_pylist(
        [row | {"name": "", "number": k, "offset": k} for k in range(count)], good.schema
    )
    column = good.column_names.index("name")
    # With a dictionary, the name is in memory only once.
    names = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), [name])
    if not options.get("use_dictionary", True):
        names = names.dictionary_decode()
    buffer = io.BytesIO()
    options = {"compression": "zstd", "store_schema": False} | options
    pyarrow.parquet.write_table(table.set_column(column, "name", names), buffer, **options)
    return buffer.getvalue()


BOMBS = {
    "png-zeros": png(8192),
    "jpeg-that claims a quarter of a gigapixel": jpeg(height=65000),
    "jpeg-painted 3000 times over": jpeg(height=4000, scans=3000),
    "gif-of 900 megapixels": gif(),
    "webp-of 268 megapixels": webp(),
    "tiff-gigapixel for libtiff": tiff(t259=5, t256=32768, t257=32768, t278=32768),
    "tiff-depth": tiff(t259=5, t32997=60000, t256=1024, t257=1024),
    "tiff-samples": tiff(t259=5, t277=60000, t256=1024, t257=1024),
    "tiff-tile": tiff(t322=2**20, t323=2**20, t324=8, t325=4096),
    "tiff-strip that inflates to a quarter of a gigabyte": tiff(zlib.compress(bytes(2**28), 9)[:50_000], t259=8),
    "tiff-strips that overlap": tiff(t278=1, t273=[8] * 64, t279=[4096] * 64),
    "npy-larger than the file": header("(30000, 30000, 4)"),
    "npy-negative": header("(-3, 4)"),
    "npy-overflowing": header("(4294967296, 4294967296)"),
    "npy-item of two gigabytes": header("(1, 1)", "|V2147483647"),
    "npy-deep": npy("(" * 9000 + "\n"),
    "index-page that inflates to eighty megabytes": index("a" * 80_000_000, use_dictionary=False),
    "index-dictionary of one name of thirty megabytes, a thousand times": index("a" * 30_000_000, 1000),
    "index-names of which each repeats the last": index(
        "a" * 2**20, 60, use_dictionary=False, column_encoding={"name": "DELTA_BYTE_ARRAY"}
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_little_cost(name):
    def limited():
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path[:] = {[str(ROOT), *sys.path]!r}\n{BOMB}"]
    assert len(BOMBS[name]) < 200_000
    done = subprocess.run(
        [*command, name.split("-")[0]], input=BOMBS[name], capture_output=True, check=False, timeout=300,
        preexec_fn=limited,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    outcome, megabytes, seconds = done.stdout.split()
    assert outcome == b"refused"
    assert float(megabytes) < 100
    assert float(seconds) < 5
