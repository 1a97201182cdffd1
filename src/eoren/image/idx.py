"""Reader of the IDX format of MNIST."""

from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from eoren.errors import EorenError
from eoren.fs.decompression import open_decompressed
from eoren.fs.objects import ObjectPath

IDX_MAGIC = b"\0\0\x08"
"""First bytes of an IDX file of bytes, decompressed."""


def read_idx(path: Path | ObjectPath) -> UInt8[np.ndarray, "..."]:
    """Read an array of bytes with 1 to 4 axes from a file, plain or compressed by gzip, bzip2 or xz."""
    with open_decompressed(path) as file:
        content = file.read()
    # The format: the magic number, the number of axes, big-endian lengths, the content.
    axes = content[3] if content.startswith(IDX_MAGIC) and len(content) > 3 else 0
    start = 4 + 4 * axes
    shape = np.frombuffer(content[4:start], ">u4").tolist() if len(content) >= start else []
    if not 1 <= axes <= 4 or 0 in shape or len(content) - start != prod(shape):
        raise EorenError(f"{path}: not an IDX file of bytes, or damaged; replace it or delete it")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
