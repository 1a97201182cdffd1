"""The block coder of the native backend; see :class:`eoren.backends.block_coders.BlockCoder`."""

from collections.abc import Sequence
from ctypes import byref, c_int64, pointer
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from eoren.backends.block_coders import Bits
from eoren.backends.native_library import MAX_HIDDEN, Block, ContextModelTables, loaded_library, thread_count
from eoren.coding.bands import LARGE_LATENT, MAX_LEVELS, Latents
from eoren.coding.block_coder import finite_coefficients
from eoren.coding.context_model import OFFSETS, ContextModel, Shifts, context_model
from eoren.coding.contexts import SLOTS
from eoren.coding.rans import NOT_AT_END, PRECISION, TRUNCATED, TruncatedError, check_length

# As in src/native/eoren.h.
_FINISHED, _NO_MEMORY, _TRUNCATED, _LARGE_LATENT, _NOT_AT_END = 1, -1, -2, -3, -4


class NativeCoder:
    """The block coder in C++, whose threads, as many as PyTorch would take, share the places of a phase."""

    name = "native"

    def encode(self, latents: Latents, *, shifts: Shifts | None = None) -> bytes:
        """Encode the latents of a block."""
        block = _Block(latents, shifts)
        words = np.empty(4 + 2 * sum(band.size for band in latents.bands()), "<u4")
        start = c_int64()
        check_status(
            loaded_library().eoren_encode_block(
                block.struct, thread_count(), words.ctypes.data, len(words), byref(start)
            )
        )
        return words[start.value :].tobytes()

    def decode(self, data: bytes, latents: Latents, *, shifts: Shifts | None = None) -> None:
        """Decode a block into latents, which must be zero."""
        check_length(data)
        block = _Block(latents, shifts, output=True)
        array = np.frombuffer(data, np.uint8)
        status = loaded_library().eoren_decode_block(block.struct, thread_count(), array.ctypes.data, len(array) // 4)
        block.copy_back()
        check_status(status)

    def bits(self, latents: Latents, *, shifts: Shifts | None = None) -> Bits:
        """Compute the bits of the latents of each offset."""
        block, bits = _Block(latents, shifts), np.zeros(OFFSETS)
        check_status(loaded_library().eoren_block_bits(block.struct, thread_count(), bits.ctypes.data))
        return bits

    def quantize(
        self,
        coefficients: tuple[Float[np.ndarray, "channels _ _"], ...],
        latents: Latents,
        weight: float,
        *,
        shifts: Shifts | None = None,
    ) -> None:
        """Choose latents by rate and distortion."""
        exact = finite_coefficients(coefficients, latents)
        block = _Block(latents, shifts, output=True)
        block.struct.weight = weight
        for k, band in enumerate(exact):
            block.struct.coefficient[k] = band.ctypes.data
        check_status(loaded_library().eoren_quantize_block(block.struct, thread_count()))
        block.copy_back()


class _Block:
    """The structure of a block, and the arrays that it points to."""

    def __init__(self, latents: Latents, shifts: Shifts | None, *, output: bool = False) -> None:
        bands, (channels, rows, columns) = latents.bands(), latents.shape
        if latents.levels > MAX_LEVELS:
            raise ValueError(f"a block must have at most {MAX_LEVELS} levels, got {latents.levels}")
        if any(band.dtype != np.int32 for band in bands):
            raise ValueError(f"latents must be int32, got {', '.join(sorted({str(band.dtype) for band in bands}))}")
        self._given, self._model = bands, _adapted(_model(), shifts)
        self._arrays = [_with_adjacent_columns(band) for band in bands]
        self.struct = Block(
            model=pointer(self._model.struct), channels=channels, rows=rows, columns=columns, levels=latents.levels
        )
        for k, array in enumerate(self._arrays):
            self.struct.latent[k] = array.ctypes.data
            self.struct.channel_stride[k], self.struct.row_stride[k] = array.strides[0] // 4, array.strides[1] // 4
        if output and not all(band.flags.writeable for band in bands):
            raise ValueError("latents must be writeable")

    def copy_back(self) -> None:
        """Copy output into arrays whose columns are not adjacent."""
        for given, array in zip(self._given, self._arrays, strict=True):
            if given is not array:
                given[...] = array


def _with_adjacent_columns(band: np.ndarray) -> np.ndarray:
    adjacent = band.flags.aligned and (band.shape[2] < 2 or band.strides[2] == band.itemsize)
    return band if adjacent else np.ascontiguousarray(band)


class _Model(NamedTuple):
    struct: ContextModelTables
    arrays: Sequence[np.ndarray]  # to which the structure points


def _adapted(model: _Model, shifts: Shifts | None) -> _Model:
    """Return a model with the scales of one image."""
    if shifts is None:
        return model
    last_offset = np.ascontiguousarray(context_model().adapted(shifts).last_offset, np.float32)
    struct = ContextModelTables.from_buffer_copy(model.struct)
    struct.last_offset = last_offset.ctypes.data
    return _Model(struct, [*model.arrays, last_offset])


@cache
def _model() -> _Model:
    return _tables(context_model())


def _tables(model: ContextModel) -> _Model:
    """Return a context model as the library reads it, after checks of what the library relies on."""
    weights = {name: np.ascontiguousarray(getattr(model, name), np.float32) for name in ContextModel._fields[:-1]}
    hidden = model.second.shape[-1]
    if model.first.shape[1] != SLOTS or hidden % 16 or hidden > MAX_HIDDEN:
        raise ValueError(f"a context model must have {SLOTS} slots and a multiple of 16 up to {MAX_HIDDEN} as width")
    for name in ("first", "second", "last", "skip"):
        if (weights[name].astype(np.int16) != weights[name]).any():
            raise ValueError(f"{name} must be integers of 16 bits")
    distributions = model.distributions
    arrays = weights | {
        "reach": np.ascontiguousarray(distributions.reach, np.int32),
        "bounds": np.ascontiguousarray(distributions.table, np.uint32),
        "costs": np.ascontiguousarray(distributions.costs, np.float64),
        "starts": _first_symbols(distributions.table),
    }
    pointers = {name: array.ctypes.data for name, array in arrays.items()}
    struct = ContextModelTables(hidden=hidden, bounds_length=distributions.table.shape[1], **pointers)
    return _Model(struct, list(arrays.values()))


def _first_symbols(table: np.ndarray) -> UInt8[np.ndarray, "rows 256"]:
    """Return where to start to look for a symbol, given the high byte of a position in a table."""
    positions = np.arange(256) << (PRECISION - 8)
    return np.stack([np.minimum(np.searchsorted(row, positions, "right") - 1, 255) for row in table]).astype(np.uint8)


def check_status(status: int) -> None:
    """Raise the error that belongs to a status of the block coder."""
    if status == _NO_MEMORY:
        raise MemoryError("the native block coder is out of memory")
    if status == _TRUNCATED:
        raise TruncatedError(TRUNCATED)
    if status == _LARGE_LATENT:
        raise ValueError(LARGE_LATENT)
    if status == _NOT_AT_END:
        raise ValueError(NOT_AT_END)
    assert status == _FINISHED, status
