"""The native engine: ctypes bindings of ``src/native``, for networks on the CPU.

The library is plain C behind pointers, so one build serves every version of Python and PyTorch; ctypes lets go of
the interpreter lock while it works. Where there is none (no compiler at installation), or a network has another shape
than it knows, PyTorch does the same work. The environment variable ``EOREN_ENGINE=torch|native`` forces one.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.errors import EorenError
from eoren.model.channel_tuning import Tuning
from eoren.model.loss import Pass
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

ENGINES = ("native", "torch")
TARGETS = ("generic", "avx2", "avx512", "neon")
NOT_BUILT = "the native engine was not built, or does not load here; pip install -v says why (docs/installing.md)"

# As in src/native/eoren.h.
_VERSION = 1
_MOST_LAYERS = 6
_MOST_CHANNELS = 4
_MOST_WIDTH = 256
_WIDTH_STEP = 16
KNOWN_WIDTHS = f"widths that are multiples of {_WIDTH_STEP}, up to {_MOST_WIDTH}"

_Stop = ctypes.CFUNCTYPE(c_int)


class _Networks(Structure):
    _fields_ = (
        ("width", c_int64),
        ("depth", c_int64),
        ("channels", c_int64),
        ("weight", c_void_p * _MOST_LAYERS),
        ("bias", c_void_p * _MOST_LAYERS),
        ("omega", c_float * _MOST_LAYERS),
    )


class _Tuning(Structure):
    _fields_ = (("alpha", c_void_p), ("beta", c_void_p))


class _Pass(Structure):
    _fields_ = (("axes", c_int64), ("axis", c_int64 * 2), ("offset", c_float * 2), ("weight", c_float * 3))


class _Step(Structure):
    _fields_ = (
        ("network", _Networks),
        ("gradient", _Networks),
        ("tuning", _Tuning),
        ("tiles", c_int64),
        ("tile", c_void_p),
        ("points", c_int64),
        ("point", c_void_p),
        ("box", c_void_p),
        ("columns", c_int64),
        ("centre", c_void_p),
        ("half", c_void_p),
        ("color", c_void_p),
        ("slope", c_void_p),
        ("passes", c_int64),
        ("pass_", _Pass * 2),
        ("error", c_void_p),
        ("moments", c_void_p),
    )


class _Adam(Structure):
    _fields_ = (
        ("tiles", c_int64),
        ("tile", c_void_p),
        ("tensors", c_int64),
        ("size", c_int64 * (2 * _MOST_LAYERS)),
        *((name, c_void_p * (2 * _MOST_LAYERS)) for name in ("value", "gradient", "mean", "square")),
        *((name, c_double) for name in ("first", "second")),
        *((name, c_float) for name in ("rate", "scale", "epsilon")),
    )


class _Muon(Structure):
    _fields_ = (
        ("tiles", c_int64),
        ("tile", c_void_p),
        ("tensors", c_int64),
        ("n", c_int64),
        *((name, c_void_p * _MOST_LAYERS) for name in ("value", "gradient", "mean")),
        ("momentum", c_float),
        ("rate", c_float),
        ("coefficient", c_float * 3),
        ("iterations", c_int64),
    )


class _Query(Structure):
    _fields_ = (
        ("network", _Networks),
        ("tuning", _Tuning),
        ("batch", c_int64),
        ("first", c_void_p),
        ("point", c_void_p),
        ("axes", c_int64),
        ("axis", c_int64 * 2),
        ("laplacian", c_int64),
        ("scale", c_void_p),
        ("said", c_void_p),
    )


class _Grid(Structure):
    _fields_ = (
        ("network", _Networks),
        ("tuning", _Tuning),
        ("batch", c_int64),
        ("centre", c_void_p),
        ("half", c_void_p),
        ("first", c_void_p),
        ("cut", c_void_p),
        ("halo", c_double),
        ("unit", c_double * 2),
        ("columns", c_int64),
        ("rows", c_int64),
        ("x", c_void_p),
        ("y", c_void_p),
        ("streams", c_int64),
        ("color", c_void_p),
        ("gradient", c_void_p),
        ("laplacian", c_void_p),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library, or none where it was not built."""
    for path in sorted(Path(__file__).parents[1].glob("eoren_native.*")):
        try:
            found = ctypes.CDLL(str(path))
        except OSError:  # built for another processor
            continue
        if found.eoren_version() != _VERSION:
            continue
        found.eoren_target.restype = c_char_p
        found.eoren_choose_target.argtypes = [c_char_p]
        found.eoren_gradients.argtypes = [POINTER(_Step), c_int64, _Stop]
        found.eoren_adam_step.argtypes = [POINTER(_Adam), c_int64]
        found.eoren_muon_step.argtypes = [POINTER(_Muon), c_int64]
        found.eoren_evaluate.argtypes = [POINTER(_Query), c_int64]
        found.eoren_render.argtypes = [POINTER(_Grid), c_int64]
        found.eoren_sincos.argtypes = [c_void_p, c_int64, c_void_p, c_void_p]
        _apply_target(found)
        return found
    return None


def _apply_target(found: ctypes.CDLL) -> None:
    """Use the instruction set that the environment variable ``EOREN_TARGET`` names, if it is set.

    Raises:
        EorenError: this build or this processor does not have it.
    """
    wanted = os.environ.get("EOREN_TARGET", "")
    if wanted and found.eoren_choose_target(wanted.encode()) != 1:
        raise EorenError(
            f"EOREN_TARGET must be one of {', '.join(TARGETS)} that this processor supports, got {wanted!r}; "
            "set it to another one, or unset it"
        )


def forced() -> str:
    """The engine that the environment variable forces, or an empty string.

    Raises:
        EorenError: there is no such engine.
    """
    wish = os.environ.get("EOREN_ENGINE", "")
    if wish not in ("", *ENGINES):
        raise EorenError(f"EOREN_ENGINE is {wish!r}; set it to one of {', '.join(ENGINES)}, or not at all")
    return wish


def is_native(siren: Siren) -> bool:
    """Whether the native engine works on some networks: it is there, it knows them, and nobody forbids it.

    Raises:
        EorenError: it was forced and cannot, or an engine that there is not was asked for.
    """
    wish = forced()
    if wish == "torch":
        return False
    found = obstacle(siren)
    if wish == "native" and found is not None:
        raise EorenError(f"EOREN_ENGINE is native, but {found}; leave it unset to work with PyTorch")
    return found is None


def obstacle(siren: Siren) -> str | None:
    """Why the native engine cannot work on some networks; none if it can."""
    if library() is None:
        return NOT_BUILT
    if siren.device.type != "cpu":
        return f"the native engine works on the CPU, not on {siren.device}"
    if any(t.dtype != torch.float32 for t in siren.tensors()):
        return "the native engine works in float32"
    if siren.width % _WIDTH_STEP or siren.width > _MOST_WIDTH:
        return f"width {siren.width} is none of {_WIDTH_STEP}, {2 * _WIDTH_STEP} ... {_MOST_WIDTH}"
    if siren.depth >= _MOST_LAYERS:
        return f"{siren.depth} sine layers are more than {_MOST_LAYERS - 1}"
    if siren.channels > _MOST_CHANNELS:
        return f"{siren.channels} channels are more than {_MOST_CHANNELS}"
    return None


def target() -> str:
    """What the library was compiled for that this processor runs: avx512, avx2, neon or generic."""
    name: bytes = _loaded().eoren_target()
    return name.decode()


class Differentiation:
    """The gradient of a fit's objective by the parameters of a batch of networks, and its errors.

    Args:
        siren: all the networks; parameters may move between calls, in place.
        gradients: where the gradients go, like ``siren.tensors()``.
        color: of the pixels that the networks answer for, row by row.
        slopes: of the same pixels, in intensity per pixel; none where only colours are fitted.
        columns: in a row of the pixels.
        boxes: per network, ``(column0, row0, column1, row1)`` of its own pixels.
        centres: per network, the origin of its coordinates.
        half_extents: per network, pixels to a unit of its coordinates.
    """

    def __init__(
        self,
        siren: Siren,
        gradients: Sequence[Tensor],
        *,
        color: Float[Tensor, "pixels channels"],
        slopes: Float[Tensor, "pixels channels 2"] | None,
        columns: int,
        boxes: Int[Tensor, "batch 4"],
        centres: Float[Tensor, "batch 2"],
        half_extents: Float[Tensor, " batch"],
    ) -> None:
        """Look up where everything is."""
        self._channels = siren.channels
        self._held = (siren, list(gradients), color, slopes, boxes, centres, half_extents)
        self._step = step = _Step(
            columns=columns, box=_at(boxes, torch.int64), centre=_at(centres), half=_at(half_extents)
        )
        step.network = _networks(siren)
        step.gradient = _networks(siren.with_tensors(gradients))
        step.color, step.slope = _at(color), None if slopes is None else _at(slopes)

    def __call__(
        self,
        tiles: Int[Tensor, " tiles"],
        points: Int[Tensor, " points"],
        passes: Sequence[Pass],
        tuning: Tuning,
        stop: Callable[[], bool],
        *,
        moments: bool,
    ) -> tuple[Float[Tensor, "tiles 2"], Float[Tensor, "tiles channels 5"] | None] | None:
        """Sums of squared errors and, if wanted, of what channel tuning needs; none if ``stop`` said so."""
        errors = torch.empty(len(tiles), 2, dtype=torch.float64)
        sums = torch.empty(len(tiles), self._channels, 5, dtype=torch.float64) if moments else None
        step = self._step
        step.tuning = _Tuning(_at(tuning.alpha), _at(tuning.beta))
        step.tiles, step.tile = len(tiles), _at(tiles, torch.int64)
        step.points, step.point = len(points), _at(points, torch.int64)
        step.passes = len(passes)
        for own, each in zip(step.pass_, passes, strict=False):
            own.axes, own.axis[: len(each.axes)] = len(each.axes), each.axes
            own.offset[:], own.weight[: len(each.weights)] = each.offset, each.weights
        step.error = _at(errors, torch.float64)
        step.moments = None if sums is None else _at(sums, torch.float64)
        raised: list[BaseException] = []

        def asked() -> int:
            # ctypes would drop what is raised here, Ctrl-C included.
            try:
                return int(stop())
            except BaseException as error:
                raised.append(error)
                return 1

        done = _loaded().eoren_gradients(step, torch.get_num_threads(), _Stop(asked))
        if raised:
            raise raised[0]
        return (errors, sums) if _finished(done) else None


def adam_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    memories: tuple[Sequence[Tensor], Sequence[Tensor]],
    tiles: Int[Tensor, " tiles"],
    *,
    betas: tuple[float, float],
    rate: float,
    scale: float,
    epsilon: float,
) -> None:
    """Move the parameters of some networks; see :class:`eoren.backends.optimizers.Adam`.

    Args:
        parameters: ``(B, ...)`` each.
        gradients: like the parameters.
        memories: of the gradients and of their squares.
        tiles: indices of the networks.
        betas: how much of the memories is kept.
        rate: bias correction of the mean included.
        scale: bias correction of the square root.
        epsilon: beside the square root.
    """
    step = _Adam(tiles=len(tiles), tile=_at(tiles, torch.int64), tensors=len(parameters))
    step.size[: len(parameters)] = [p[0].numel() for p in parameters]
    for field, tensors in (
        ("value", parameters),
        ("gradient", gradients),
        ("mean", memories[0]),
        ("square", memories[1]),
    ):
        getattr(step, field)[: len(tensors)] = [_at(t) for t in tensors]
    step.first, step.second = betas
    step.rate, step.scale, step.epsilon = rate, scale, epsilon
    _finished(_loaded().eoren_adam_step(step, torch.get_num_threads()))


def muon_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    memories: Sequence[Tensor],
    tiles: Int[Tensor, " tiles"],
    *,
    momentum: float,
    rate: float,
    coefficients: tuple[float, float, float],
    iterations: int,
) -> None:
    """Move ``(B, n, n)`` matrices of some networks; see :class:`eoren.backends.optimizers.Muon`."""
    step = _Muon(tiles=len(tiles), tile=_at(tiles, torch.int64), tensors=len(parameters), n=parameters[0].shape[-1])
    for field, tensors in {"value": parameters, "gradient": gradients, "mean": memories}.items():
        getattr(step, field)[: len(tensors)] = [_at(t) for t in tensors]
    step.momentum, step.rate, step.iterations = momentum, rate, iterations
    step.coefficient[:] = coefficients
    _finished(_loaded().eoren_muon_step(step, torch.get_num_threads()))


def evaluate(
    siren: Siren,
    points: Float[Tensor, "points 2"],
    counts: Int[Tensor, " batch"],
    *,
    tuning: Tuning | None = None,
    axes: Sequence[int] = (),
    scale: Float[Tensor, "batch 2"] | None = None,
    laplacian: bool = False,
) -> Float[Tensor, "points streams channels"]:
    """What :func:`eoren.model.siren.propagate` says at points that come network by network.

    Args:
        siren: B networks.
        points: in the networks' own coordinates, those of the first network first.
        counts: how many points each network has.
        tuning: of each network; none leaves what they say as it is.
        axes: derivatives wanted.
        scale: every network's ``(du/dx, dv/dy)``; ones by default.
        laplacian: wanted too.
    """
    if laplacian and tuple(axes) != (0, 1):
        raise ValueError(f"the Laplacian needs both derivatives, axes=(0, 1), got {tuple(axes)}")
    if tuning is None:
        ones = points.new_ones(siren.batch, 1, siren.channels)
        tuning = Tuning(ones, torch.zeros_like(ones))
    points, alpha, beta = points.contiguous(), tuning.alpha.contiguous(), tuning.beta.contiguous()
    siren = siren.with_tensors([t.contiguous() for t in siren.tensors()])
    first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    if len(counts) != siren.batch or int(first[-1]) != len(points):
        raise ValueError(f"{len(points)} points are not {int(first[-1])} of {len(counts)} for {siren.batch} networks")
    scale = (points.new_ones(siren.batch, 2) if scale is None else scale.to(points)).contiguous()
    said = points.new_empty(len(points), 1 + len(axes) + laplacian, siren.channels)
    query = _Query(
        network=_networks(siren),
        tuning=_Tuning(_at(alpha), _at(beta)),
        batch=siren.batch,
        first=_at(first, torch.int64),
        point=_at(points),
        axes=len(axes),
        laplacian=int(laplacian),
        scale=_at(scale),
        said=_at(said),
    )
    query.axis[: len(axes)] = axes
    _finished(_loaded().eoren_evaluate(query, torch.get_num_threads()))
    return said


class Rendering:
    """A mosaic of networks, ready to be sampled on grids.

    Args:
        siren: a network for every tile.
        tuning: of each.
        tiling: where they are and how they blend.
        extent: sides of the image in the units of the derivatives.
    """

    def __init__(self, siren: Siren, tuning: Tuning, tiling: Tiling, extent: tuple[float, float]) -> None:
        """Look up where everything is."""
        if not siren.batch == len(tuning.alpha) == tiling.count:
            raise ValueError(f"{siren.batch} networks, {len(tuning.alpha)} tunings and {tiling.count} tiles")
        siren = siren.with_tensors([t.contiguous() for t in siren.tensors()])
        alpha, beta = tuning.alpha.contiguous(), tuning.beta.contiguous()
        first, cut = tiling.cuts
        centres, halves = tiling.centres.contiguous(), tiling.half_extents.contiguous()
        self._held = (siren, alpha, beta, first, cut, centres, halves)
        self._channels = siren.channels
        self._grid = _Grid(
            network=_networks(siren),
            tuning=_Tuning(_at(alpha), _at(beta)),
            batch=siren.batch,
            centre=_at(centres, torch.float64),
            half=_at(halves, torch.float64),
            first=_at(first, torch.int64),
            cut=_at(cut, torch.float64),
            halo=tiling.halo,
        )
        self._grid.unit[:] = tiling.width / extent[0], tiling.height / extent[1]

    def sample(self, x: Float[Tensor, " columns"], y: Float[Tensor, " rows"], *wanted: str) -> list[Tensor]:
        """What is wanted, at a grid.

        Args:
            x: of the columns, in pixels, ascending or descending. float64.
            y: of the rows, likewise.
            wanted: some of ``color``, ``gradient`` and ``laplacian``.

        Returns:
            ``(rows, columns, C)`` each, ``(rows, columns, C, 2)`` of the gradient.
        """
        grid = self._grid
        grid.columns, grid.rows, grid.x, grid.y = len(x), len(y), _at(x, torch.float64), _at(y, torch.float64)
        grid.streams = max({"color": 1, "gradient": 3, "laplacian": 4}[each] for each in wanted)
        grid.color = grid.gradient = grid.laplacian = None
        found = {}
        for each in wanted:
            features = (self._channels, 2) if each == "gradient" else (self._channels,)
            found[each] = torch.empty(len(y), len(x), *features)
            setattr(grid, each, _at(found[each]))
        _finished(_loaded().eoren_render(grid, torch.get_num_threads()))
        return [found[each] for each in wanted]


def sine_and_cosine(x: Float[Tensor, " n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """The engine's own, to 2.5 ulp for angles up to some thousands."""
    x = x.contiguous()
    sine, cosine = torch.empty_like(x), torch.empty_like(x)
    _loaded().eoren_sincos(_at(x), len(x), _at(sine), _at(cosine))
    return sine, cosine


def sine(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The engine's own where nobody wants the cosine, as right."""
    x = x.contiguous()
    found = torch.empty_like(x)
    _loaded().eoren_sincos(_at(x), len(x), _at(found), None)
    return found


def _loaded() -> ctypes.CDLL:
    found = library()
    assert found is not None, "no native engine: ask is_native first"
    return found


def _networks(siren: Siren) -> _Networks:
    own = _Networks(siren.width, siren.depth, siren.channels)
    own.weight[: siren.depth + 1] = [_at(t) for t in siren.weights]
    own.bias[: siren.depth + 1] = [_at(t) for t in siren.biases]
    own.omega[: siren.depth] = siren.omegas
    return own


def _at(tensor: Tensor, dtype: torch.dtype = torch.float32) -> int:
    """The address, of what C can read."""
    if tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        kind = f"{tensor.dtype} on {tensor.device}"
        raise ValueError(f"the native engine wants contiguous {dtype} on the CPU, got {kind}")
    return tensor.data_ptr()


def _finished(code: int) -> bool:
    if code < 0:
        raise MemoryError("the native engine found no memory to work in")
    return code == 1
