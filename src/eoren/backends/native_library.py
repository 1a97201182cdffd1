"""The shared library of the native backend: loading, checks, and its structures as ctypes sees them.

The library has a plain C interface (``src/native/eoren.h``), so that one build serves every version of Python and
PyTorch. A library of another interface version, or whose structures have another size, is not used.
"""

import ctypes
import os
import sys
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from eoren.coding.bands import MAX_LEVELS
from eoren.errors import EorenError

# As in src/native/eoren.h.
_VERSION = 6
MAX_LAYERS = 6
MAX_CHANNELS = 4
MAX_WIDTH = 256
WIDTH_MULTIPLE = 16
MAX_HIDDEN = 128
FINE_LEVELS = 3
MAX_CONVOLUTIONS = 8
_BANDS = 1 + 3 * MAX_LEVELS

TARGETS = ("generic", "avx2", "avx512", "neon")
"""Instruction sets that a library may be compiled for."""

StopCallback = ctypes.CFUNCTYPE(c_int)


def _pointers(*names: str) -> list[tuple[str, Any]]:
    return [(name, c_void_p) for name in names]


class Networks(Structure):
    """``eoren_networks``: a batch of SIRENs, or gradients by their parameters."""

    _fields_ = (
        ("width", c_int64),
        ("depth", c_int64),
        ("channels", c_int64),
        ("weight", c_void_p * MAX_LAYERS),
        ("bias", c_void_p * MAX_LAYERS),
        ("omega", c_float * MAX_LAYERS),
    )


class ChannelTuning(Structure):
    """``eoren_tuning``."""

    _fields_ = _pointers("alpha", "beta")


class LossPass(Structure):
    """``eoren_pass``."""

    _fields_ = (("axes", c_int64), ("axis", c_int64 * 2), ("offset", c_float * 2), ("weight", c_float * 3))


class Step(Structure):
    """``eoren_step``: the gradient of a loss."""

    _fields_ = (
        ("network", Networks),
        ("gradient", Networks),
        ("tuning", ChannelTuning),
        ("tiles", c_int64),
        ("tile", c_void_p),
        ("points", c_int64),
        *_pointers("point", "box"),
        ("columns", c_int64),
        *_pointers("centre", "half", "color", "slope"),
        ("passes", c_int64),
        ("pass_", LossPass * 2),
        *_pointers("error", "moments"),
    )


class AdamStep(Structure):
    """``eoren_adam``."""

    _fields_ = (
        ("tiles", c_int64),
        ("tile", c_void_p),
        ("tensors", c_int64),
        ("size", c_int64 * (2 * MAX_LAYERS)),
        *((name, c_void_p * (2 * MAX_LAYERS)) for name in ("value", "gradient", "mean", "square")),
        *((name, c_double) for name in ("first", "second")),
        *((name, c_float) for name in ("rate", "scale", "epsilon")),
    )


class MuonStep(Structure):
    """``eoren_muon``."""

    _fields_ = (
        ("tiles", c_int64),
        ("tile", c_void_p),
        ("tensors", c_int64),
        ("n", c_int64),
        *((name, c_void_p * MAX_LAYERS) for name in ("value", "gradient", "mean")),
        ("momentum", c_float),
        ("rate", c_float),
        ("coefficient", c_float * 3),
        ("iterations", c_int64),
    )


class Query(Structure):
    """``eoren_query``: networks at points that are sorted by network."""

    _fields_ = (
        ("network", Networks),
        ("tuning", ChannelTuning),
        ("batch", c_int64),
        *_pointers("first", "point"),
        ("axes", c_int64),
        ("axis", c_int64 * 2),
        ("laplacian", c_int64),
        *_pointers("scale", "said"),
    )


class Grid(Structure):
    """``eoren_grid``: a mosaic on a grid."""

    _fields_ = (
        ("network", Networks),
        ("tuning", ChannelTuning),
        ("batch", c_int64),
        *_pointers("centre", "half", "first", "cut"),
        ("halo", c_double),
        ("unit", c_double * 2),
        ("columns", c_int64),
        ("rows", c_int64),
        *_pointers("x", "y"),
        ("streams", c_int64),
        *_pointers("color", "gradient", "laplacian"),
    )


class ContextModelTables(Structure):
    """``eoren_context_model``."""

    _fields_ = (
        ("hidden", c_int64),
        *_pointers("first", "first_bias", "first_offset", "second", "second_bias"),
        *_pointers("last", "skip", "last_bias", "last_offset", "reach"),
        ("bounds_length", c_int64),
        *_pointers("bounds", "costs", "starts"),
    )


class Block(Structure):
    """``eoren_block``: the latents of a block."""

    _fields_ = (
        ("model", POINTER(ContextModelTables)),
        *((name, c_int64) for name in ("channels", "rows", "columns", "levels")),
        ("latent", c_void_p * _BANDS),
        ("channel_stride", c_int64 * _BANDS),
        ("row_stride", c_int64 * _BANDS),
        ("coefficient", c_void_p * _BANDS),
        ("weight", c_double),
    )


class LatentWindow(Structure):
    """``eoren_latent_window``: features of a window of a compact field."""

    _fields_ = (
        *((name, c_int64) for name in ("channels", "levels", "groups", "rows", "columns")),
        ("lowpass", c_void_p),
        ("lowpass_stride", c_int64 * 2),
        ("detail", c_void_p * (3 * FINE_LEVELS)),
        ("channel_stride", c_int64 * (3 * FINE_LEVELS)),
        ("row_stride", c_int64 * (3 * FINE_LEVELS)),
        ("padding", c_int64),
        ("stride", c_int64),
        ("features", c_void_p),
    )


class DistortionProblem(Structure):
    """``eoren_distortion``: errors of an image that wavelet coefficients describe, and their gradient."""

    _fields_ = (
        ("window", LatentWindow),
        ("image", c_void_p),
        *((name, c_int64) for name in ("left", "top", "right", "bottom")),
        ("tap", c_void_p),
        ("reach", c_int64),
        ("weight", c_float),
        ("by_lowpass", c_void_p),
        ("by_detail", c_void_p * (3 * FINE_LEVELS)),
        ("errors", c_void_p),
    )


class LatentField(Structure):
    """``eoren_latent_field``: a compact field in a window, and the quantities to compute."""

    _fields_ = (
        ("features", c_void_p),
        *((name, c_int64) for name in ("rows", "columns", "padding", "stride", "count", "channels")),
        ("linear", c_void_p),
        ("siren", Networks),
        ("streams", c_int64),
        ("unit", c_double * 2),
        *_pointers("color", "gradient", "laplacian"),
    )


class LatentGrid(Structure):
    """``eoren_latent_grid``."""

    _fields_ = (
        ("field", LatentField),
        ("columns", c_int64),
        ("rows", c_int64),
        *_pointers("x", "y"),
        ("pitch", c_int64),
    )


class LatentPoints(Structure):
    """``eoren_latent_points``."""

    _fields_ = (
        ("field", LatentField),
        ("size", c_double * 2),
        ("corner", c_double * 2),
        ("point", c_void_p),
        ("count", c_int64),
        ("order", c_void_p),
    )


class Convolution(Structure):
    """``eoren_convolution``: a stack of convolutions."""

    _fields_ = (
        *((name, c_int64) for name in ("layers", "rows", "columns")),
        ("width", c_int64 * (MAX_CONVOLUTIONS + 1)),
        ("side", c_int64 * MAX_CONVOLUTIONS),
        ("weight", c_void_p * MAX_CONVOLUTIONS),
        ("bias", c_void_p * MAX_CONVOLUTIONS),
        ("leak", c_float),
        ("input_stride", c_int64),
        *_pointers("input", "output"),
    )


# In the order of eoren_struct_size.
_STRUCTURES = (
    *(Networks, ChannelTuning, LossPass, Step, AdamStep, MuonStep, Query, Grid),
    *(ContextModelTables, Block),
    *(LatentWindow, LatentGrid, LatentPoints, DistortionProblem, Convolution),
)


_NO_MEMORY = ("failed to map segment", "annot allocate memory")  # messages of the loader, of glibc and of musl


@cache
def library() -> ctypes.CDLL | None:
    """Load the library, once per process; None if it was not built, or has another interface or processor.

    An ``EOREN_TARGET`` that this library or processor does not support raises an EorenError; a MemoryError says
    that memory is missing, of which the work without the library would need more.
    """
    for path in sorted(Path(__file__).parents[1].glob("eoren_native.*")):
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError as error:  # built for another processor
            if any(message in str(error) for message in _NO_MEMORY):
                raise MemoryError(str(error)) from error
            continue
        if not _has_our_interface(loaded):
            continue
        loaded.eoren_target.restype = c_char_p
        loaded.eoren_choose_target.argtypes = [c_char_p]
        loaded.eoren_gradients.argtypes = [POINTER(Step), c_int64, StopCallback]
        loaded.eoren_adam_step.argtypes = [POINTER(AdamStep), c_int64]
        loaded.eoren_muon_step.argtypes = [POINTER(MuonStep), c_int64]
        loaded.eoren_evaluate.argtypes = [POINTER(Query), c_int64]
        loaded.eoren_render.argtypes = [POINTER(Grid), c_int64]
        loaded.eoren_encode_block.argtypes = [POINTER(Block), c_int64, c_void_p, c_int64, POINTER(c_int64)]
        loaded.eoren_decode_block.argtypes = [POINTER(Block), c_int64, c_void_p, c_int64]
        loaded.eoren_block_bits.argtypes = [POINTER(Block), c_int64, c_void_p]
        loaded.eoren_quantize_block.argtypes = [POINTER(Block), c_int64]
        loaded.eoren_latent_distortion.argtypes = [POINTER(DistortionProblem), c_int64]
        loaded.eoren_convolve.argtypes = [POINTER(Convolution), c_int64]
        loaded.eoren_latent_features.argtypes = [POINTER(LatentWindow), c_int64]
        loaded.eoren_render_latents.argtypes = [POINTER(LatentGrid), c_int64]
        loaded.eoren_evaluate_latents.argtypes = [POINTER(LatentPoints), c_int64]
        pointer, count = c_void_p, c_int64
        loaded.eoren_sort_points.argtypes = [pointer, count, pointer, *(pointer, count) * 2, pointer, pointer]
        loaded.eoren_sincos.argtypes = [c_void_p, c_int64, c_void_p, c_void_p]
        forced = os.environ.get("EOREN_TARGET", "")
        if forced and loaded.eoren_choose_target(forced.encode()) != 1:
            raise EorenError(
                f"EOREN_TARGET must be one of {', '.join(TARGETS)} that this processor supports, got {forced!r}; "
                "set it to another one, or unset it"
            )
        return loaded
    return None


def _has_our_interface(loaded: ctypes.CDLL) -> bool:
    if loaded.eoren_version() != _VERSION:
        return False
    loaded.eoren_struct_size.argtypes = [c_int]
    loaded.eoren_struct_size.restype = c_int64
    return all(loaded.eoren_struct_size(k) == ctypes.sizeof(kind) for k, kind in enumerate(_STRUCTURES))


def loaded_library() -> ctypes.CDLL:
    """Return the library where it is known to be available."""
    loaded = library()
    assert loaded is not None, "the native library is not built; check NativeBackend.obstacle first"
    return loaded


def thread_count() -> int:
    """Return the number of threads that PyTorch would take, or, where it is not imported, the OpenMP way to count.

    That is ``OMP_NUM_THREADS``, or one for each processor that this process may use.
    """
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "get_num_threads"):  # not while another thread imports it
        return int(torch.get_num_threads())
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if requested.isdecimal() and int(requested) > 0:
        return int(requested)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def target() -> str:
    """Return the instruction set in use: avx512, avx2, neon or generic."""
    name: bytes = loaded_library().eoren_target()
    return name.decode()
