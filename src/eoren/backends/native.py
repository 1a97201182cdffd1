"""The native backend: fused C++ kernels for float32 networks on the CPU, one tile per thread.

The library works on memory of NumPy arrays and of tensors alike. ctypes releases the interpreter lock while it works.
"""

from collections.abc import Sequence
from ctypes import Structure

import numpy as np
from jaxtyping import Float, Float64, Int

from eoren.backends.native_library import (
    MAX_CHANNELS,
    MAX_LAYERS,
    MAX_WIDTH,
    WIDTH_MULTIPLE,
    ChannelTuning,
    Grid,
    Networks,
    Query,
    library,
    loaded_library,
    thread_count,
)
from eoren.model.arrays import Array, as_numpy, as_tensor, is_tensor
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

NOT_BUILT = "the native library was not built or does not load here; pip install -v shows why (docs/installing.md)"
SUPPORTED_WIDTHS = f"widths that are multiples of {WIDTH_MULTIPLE}, up to {MAX_WIDTH}"


class NativeBackend:
    """The kernels of ``src/native``, on as many threads as :func:`.native_library.thread_count` gives."""

    name = "native"

    @staticmethod
    def obstacle(siren: Siren) -> str | None:
        """Return why the library cannot compute with these networks, or None if it can."""
        if obstacle := array_obstacle(*siren.tensors()):
            return obstacle
        if siren.width % WIDTH_MULTIPLE or siren.width > MAX_WIDTH:
            return f"width must be one of {WIDTH_MULTIPLE}, {2 * WIDTH_MULTIPLE} ... {MAX_WIDTH}, got {siren.width}"
        if siren.depth >= MAX_LAYERS:
            return f"depth must be at most {MAX_LAYERS - 1} sine layers, got {siren.depth}"
        if siren.channels > MAX_CHANNELS:
            return f"channels must be at most {MAX_CHANNELS}, got {siren.channels}"
        return None

    def evaluate(
        self,
        siren: Siren,
        points: Float[Array, "points 2"],
        counts: Int[Array, " batch"],
        *,
        tuning: Tuning | None = None,
        axes: Sequence[int] = (),
        scale: Float[Array, "batch 2"] | None = None,
        laplacian: bool = False,
    ) -> Float[Array, "points streams channels"]:
        """Evaluate every network at its own points, see :class:`eoren.backends.base.Backend`."""
        if laplacian and tuple(axes) != (0, 1):
            raise ValueError(f"the Laplacian needs both derivatives, axes=(0, 1), got {tuple(axes)}")
        batch, channels = siren.batch, siren.channels
        if tuning is None:
            ones = np.ones((batch, 1, channels), np.float32)
            tuning = Tuning(ones, np.zeros_like(ones))
        siren = contiguous(siren)
        positions, alpha, beta = (_contiguous(array) for array in (points, tuning.alpha, tuning.beta))
        first = np.concatenate([[0], as_numpy(counts).cumsum()])
        if len(counts) != batch or first[-1] != len(positions):
            raise ValueError(
                f"counts must have {batch} entries with sum {len(positions)}, got {len(counts)} with sum {first[-1]}"
            )
        factors = np.ones((batch, 2), np.float32) if scale is None else _contiguous(scale).astype(np.float32)
        prediction = np.empty((len(positions), 1 + len(axes) + laplacian, channels), np.float32)
        query = Query(
            network=describe_networks(siren),
            tuning=ChannelTuning(data_ptr(alpha), data_ptr(beta)),
            batch=batch,
            first=data_ptr(first, "int64"),
            point=data_ptr(positions),
            axes=len(axes),
            laplacian=int(laplacian),
            scale=data_ptr(factors),
            said=data_ptr(prediction),
        )
        query.axis[: len(axes)] = axes
        check_status(loaded_library().eoren_evaluate(query, thread_count()))
        return as_tensor(prediction) if is_tensor(points) else prediction

    def render(
        self,
        siren: Siren,
        tuning: Tuning,
        tiling: Tiling,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: str,
        extent: tuple[float, float],
    ) -> tuple[np.ndarray, ...]:
        """Sample a mosaic on a grid, see :class:`eoren.backends.base.Backend`."""
        if not siren.batch == len(tuning.alpha) == tiling.count:
            raise ValueError(
                f"a mosaic must have one network and one tuning per tile, got {siren.batch} networks, "
                f"{len(tuning.alpha)} tunings and {tiling.count} tiles"
            )
        siren = contiguous(siren)
        alpha, beta = _contiguous(tuning.alpha), _contiguous(tuning.beta)
        first_cut, cuts = tiling.cuts
        centres, half_extents = tiling.centres, tiling.half_extents
        x, y = x * tiling.width, y * tiling.height
        grid = Grid(
            network=describe_networks(siren),
            tuning=ChannelTuning(data_ptr(alpha), data_ptr(beta)),
            batch=siren.batch,
            centre=data_ptr(centres, "float64"),
            half=data_ptr(half_extents, "float64"),
            first=data_ptr(first_cut, "int64"),
            cut=data_ptr(cuts, "float64"),
            halo=tiling.halo,
            columns=len(x),
            rows=len(y),
            x=data_ptr(x, "float64"),
            y=data_ptr(y, "float64"),
            streams=max({"color": 1, "gradient": 3, "laplacian": 4}[quantity] for quantity in quantities),
        )
        grid.unit[:] = tiling.width / extent[0], tiling.height / extent[1]
        outputs = {}
        for quantity in quantities:
            features = (siren.channels, 2) if quantity == "gradient" else (siren.channels,)
            outputs[quantity] = np.empty((len(y), len(x), *features), np.float32)
            setattr(grid, quantity, data_ptr(outputs[quantity]))
        check_status(loaded_library().eoren_render(grid, thread_count()))
        return tuple(outputs[quantity] for quantity in quantities)


def contiguous(siren: Siren) -> Siren:
    """Return networks whose parameters are contiguous NumPy arrays, which share memory where they can."""
    return siren.with_tensors([_contiguous(t) for t in siren.tensors()])


def describe_networks(siren: Siren) -> Networks:
    """Describe networks for the library; their parameters must be contiguous."""
    struct = Networks(siren.width, siren.depth, siren.channels)
    set_pointers(struct, weight=siren.weights, bias=siren.biases)
    struct.omega[: siren.depth] = siren.omegas
    return struct


def _contiguous(array: Array) -> np.ndarray:
    return np.ascontiguousarray(as_numpy(array))


def set_pointers(struct: Structure, **arrays: Sequence[Array]) -> None:
    """Fill arrays of a structure with the addresses of arrays."""
    for name, sequence in arrays.items():
        getattr(struct, name)[: len(sequence)] = [data_ptr(a) for a in sequence]


def array_obstacle(*arrays: Array) -> str | None:
    """Return why the library cannot compute with arrays of their device and dtype, or None if it can."""
    if library() is None:
        return NOT_BUILT
    if is_tensor(arrays[0]) and arrays[0].device.type != "cpu":
        return f"the native backend computes on the CPU, not on {arrays[0].device}"
    if any(_dtype(a) != "float32" for a in arrays):
        return "the native backend computes in float32"
    return None


def data_ptr(array: Array, dtype: str = "float32") -> int:
    """Return the address of an array that C can read."""
    if is_tensor(array):
        readable, address = array.device.type == "cpu" and array.is_contiguous(), array.data_ptr()
    else:
        readable, address = array.flags.c_contiguous, array.ctypes.data
    if not readable or _dtype(array) != dtype:
        device = f" on {array.device}" if is_tensor(array) else ""
        raise ValueError(
            f"array must be contiguous {dtype} on the CPU for the native backend, got {_dtype(array)}{device}"
        )
    return address


def _dtype(array: Array) -> str:
    return str(array.dtype).removeprefix("torch.")


def check_status(status: int) -> bool:
    """Return whether the work was completed; a negative status means that memory ran out."""
    if status < 0:
        raise MemoryError("the native backend could not allocate its working memory")
    return status == 1
