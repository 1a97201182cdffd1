"""The native backend: fused C++ kernels for float32 networks on the CPU, one tile per thread.

ctypes releases the interpreter lock while the library works.
"""

from collections.abc import Callable, Sequence
from ctypes import Structure

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.backends.base import LossGradient, StepBatch, TargetGradient
from eoren.backends.native_library import (
    MAX_CHANNELS,
    MAX_LAYERS,
    MAX_WIDTH,
    WIDTH_MULTIPLE,
    AdamStep,
    ChannelTuning,
    Grid,
    MuonStep,
    Networks,
    Query,
    Step,
    StopCallback,
    library,
    loaded_library,
)
from eoren.backends.optimizers import ITERATIONS, NEWTON_SCHULZ, Adam, Muon
from eoren.model.channel_tuning import Moments, Tuning
from eoren.model.loss import Pass
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels
from eoren.model.tiling import Tiling

NOT_BUILT = "the native library was not built or does not load here; pip install -v shows why (docs/installing.md)"
SUPPORTED_WIDTHS = f"widths that are multiples of {WIDTH_MULTIPLE}, up to {MAX_WIDTH}"


class FusedAdam(Adam):
    """Adam in one pass over memory."""

    def _update(self, gradients: Sequence[Tensor], lr: float, denominator: float, networks: slice | Tensor) -> None:
        parameters = self.parameters
        indices = _indices(networks, parameters[0])
        step = AdamStep(tiles=len(indices), tile=data_ptr(indices, torch.int64), tensors=len(parameters))
        step.size[: len(parameters)] = [p[0].numel() for p in parameters]
        set_pointers(step, value=parameters, gradient=gradients, mean=self.exp_avg, square=self.exp_avg_sq)
        step.first, step.second = self.betas
        step.rate, step.scale, step.epsilon = lr, denominator, self.eps
        check_status(loaded_library().eoren_adam_step(step, torch.get_num_threads()))


class FusedMuon(Muon):
    """Muon, one network after the other in the cache."""

    def step(self, gradients: Sequence[Tensor], lr: float, networks: slice | Tensor = slice(None)) -> None:
        """Make one step, see :class:`eoren.backends.optimizers.Muon`."""
        parameters = self.parameters
        if not parameters:
            return
        indices = _indices(networks, parameters[0])
        step = MuonStep(tiles=len(indices), tile=data_ptr(indices, torch.int64), tensors=len(parameters))
        set_pointers(step, value=parameters, gradient=gradients, mean=self.momentum_buffer)
        step.n, step.iterations = parameters[0].shape[-1], ITERATIONS
        step.momentum, step.rate = self.momentum, lr
        step.coefficient[:] = NEWTON_SCHULZ
        check_status(loaded_library().eoren_muon_step(step, torch.get_num_threads()))


class NativeLossGradient:
    """The gradient of a training loss, by the fused kernel."""

    def __init__(self, siren: Siren, pixels: TilePixels, target_gradient: TargetGradient) -> None:
        self.gradients = [torch.zeros_like(t) for t in siren.tensors()]
        self._channels = siren.channels
        # The structure has addresses alone: keep what they point to.
        self._tensors = (siren, self.gradients, pixels, target_gradient)
        self._step = Step(
            network=_networks(siren),
            gradient=_networks(siren.with_tensors(self.gradients)),
            columns=pixels.columns,
            box=data_ptr(pixels.boxes, torch.int64),
            centre=data_ptr(pixels.centres),
            half=data_ptr(pixels.half_extents),
            color=data_ptr(pixels.color),
            slope=None if target_gradient is None else data_ptr(target_gradient),
        )

    def networks_per_chunk(self, points_per_network: int, passes: Sequence[Pass]) -> int:
        """Return 1: any number is as efficient as any other."""
        return 1

    def __call__(
        self, batch: StepBatch, moments: Moments | None, should_stop: Callable[[], bool]
    ) -> Float[Tensor, "networks 2"] | None:
        """Compute the gradient of the loss for one step, see :class:`eoren.backends.base.LossGradient`."""
        if should_stop():
            return None
        networks, points, passes = batch.networks, batch.pixel_numbers, batch.passes
        errors = torch.empty(len(networks), 2, dtype=torch.float64)
        sums = None if moments is None else torch.empty(len(networks), self._channels, 5, dtype=torch.float64)
        step = self._step
        step.tuning = ChannelTuning(data_ptr(batch.tuning.alpha), data_ptr(batch.tuning.beta))
        step.tiles, step.tile = len(networks), data_ptr(networks, torch.int64)
        step.points, step.point = len(points), data_ptr(points, torch.int64)
        step.passes = len(passes)
        for struct, loss_pass in zip(step.pass_, passes, strict=False):
            axes, weights = loss_pass.axes, loss_pass.weights
            struct.axes, struct.axis[: len(axes)] = len(axes), axes
            struct.offset[:], struct.weight[: len(weights)] = loss_pass.offset, weights
        step.error = data_ptr(errors, torch.float64)
        step.moments = None if sums is None else data_ptr(sums, torch.float64)
        raised: list[BaseException] = []

        def poll() -> int:
            # ctypes would discard an exception here, Ctrl-C included.
            try:
                return int(should_stop())
            except BaseException as error:
                raised.append(error)
                return 1

        status = loaded_library().eoren_gradients(step, torch.get_num_threads(), StopCallback(poll))
        if raised:
            raise raised[0]
        if not check_status(status):
            return None
        if moments is not None and sums is not None:
            moments.add_sums(networks, sums, len(points) * len(passes))
        return errors.float()


class NativeBackend:
    """The kernels of ``src/native``, on as many threads as PyTorch has."""

    name = "native"
    adam: type[Adam] = FusedAdam
    muon: type[Muon] = FusedMuon
    loss_gradient: type[LossGradient] = NativeLossGradient

    @staticmethod
    def obstacle(siren: Siren) -> str | None:
        """Return why the library cannot compute with these networks, or None if it can."""
        if obstacle := tensor_obstacle(*siren.tensors()):
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
        points: Float[Tensor, "points 2"],
        counts: Int[Tensor, " batch"],
        *,
        tuning: Tuning | None = None,
        axes: Sequence[int] = (),
        scale: Float[Tensor, "batch 2"] | None = None,
        laplacian: bool = False,
    ) -> Float[Tensor, "points streams channels"]:
        """Evaluate every network at its own points, see :class:`eoren.backends.base.Backend`."""
        if laplacian and tuple(axes) != (0, 1):
            raise ValueError(f"the Laplacian needs both derivatives, axes=(0, 1), got {tuple(axes)}")
        if tuning is None:
            ones = points.new_ones(siren.batch, 1, siren.channels)
            tuning = Tuning(ones, torch.zeros_like(ones))
        points, alpha, beta = points.contiguous(), tuning.alpha.contiguous(), tuning.beta.contiguous()
        siren = siren.with_tensors([t.contiguous() for t in siren.tensors()])
        first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        if len(counts) != siren.batch or int(first[-1]) != len(points):
            raise ValueError(
                f"counts must have {siren.batch} entries with sum {len(points)}, "
                f"got {len(counts)} with sum {int(first[-1])}"
            )
        scale = (points.new_ones(siren.batch, 2) if scale is None else scale.to(points)).contiguous()
        prediction = points.new_empty(len(points), 1 + len(axes) + laplacian, siren.channels)
        query = Query(
            network=_networks(siren),
            tuning=ChannelTuning(data_ptr(alpha), data_ptr(beta)),
            batch=siren.batch,
            first=data_ptr(first, torch.int64),
            point=data_ptr(points),
            axes=len(axes),
            laplacian=int(laplacian),
            scale=data_ptr(scale),
            said=data_ptr(prediction),
        )
        query.axis[: len(axes)] = axes
        check_status(loaded_library().eoren_evaluate(query, torch.get_num_threads()))
        return prediction

    def render(
        self,
        siren: Siren,
        tuning: Tuning,
        tiling: Tiling,
        x: Float[Tensor, " columns"],
        y: Float[Tensor, " rows"],
        *quantities: str,
        extent: tuple[float, float],
    ) -> tuple[Tensor, ...]:
        """Sample a mosaic on a grid, see :class:`eoren.backends.base.Backend`."""
        if not siren.batch == len(tuning.alpha) == tiling.count:
            raise ValueError(
                f"a mosaic must have one network and one tuning per tile, got {siren.batch} networks, "
                f"{len(tuning.alpha)} tunings and {tiling.count} tiles"
            )
        siren = siren.with_tensors([t.contiguous() for t in siren.tensors()])
        alpha, beta = tuning.alpha.contiguous(), tuning.beta.contiguous()
        first_cut, cuts = tiling.cuts
        centres, half_extents = tiling.centres.contiguous(), tiling.half_extents.contiguous()
        x, y = x * tiling.width, y * tiling.height
        grid = Grid(
            network=_networks(siren),
            tuning=ChannelTuning(data_ptr(alpha), data_ptr(beta)),
            batch=siren.batch,
            centre=data_ptr(centres, torch.float64),
            half=data_ptr(half_extents, torch.float64),
            first=data_ptr(first_cut, torch.int64),
            cut=data_ptr(cuts, torch.float64),
            halo=tiling.halo,
            columns=len(x),
            rows=len(y),
            x=data_ptr(x, torch.float64),
            y=data_ptr(y, torch.float64),
            streams=max({"color": 1, "gradient": 3, "laplacian": 4}[quantity] for quantity in quantities),
        )
        grid.unit[:] = tiling.width / extent[0], tiling.height / extent[1]
        outputs = {}
        for quantity in quantities:
            features = (siren.channels, 2) if quantity == "gradient" else (siren.channels,)
            outputs[quantity] = torch.empty(len(y), len(x), *features, dtype=torch.float32)
            setattr(grid, quantity, data_ptr(outputs[quantity]))
        check_status(loaded_library().eoren_render(grid, torch.get_num_threads()))
        return tuple(outputs[quantity] for quantity in quantities)


def _networks(siren: Siren) -> Networks:
    struct = Networks(siren.width, siren.depth, siren.channels)
    set_pointers(struct, weight=siren.weights, bias=siren.biases)
    struct.omega[: siren.depth] = siren.omegas
    return struct


def _indices(networks: slice | Tensor, like: Tensor) -> Int[Tensor, " networks"]:
    return networks if isinstance(networks, Tensor) else torch.arange(len(like))[networks]


def set_pointers(struct: Structure, **tensors: Sequence[Tensor]) -> None:
    """Fill arrays of a structure with the addresses of tensors."""
    for name, sequence in tensors.items():
        getattr(struct, name)[: len(sequence)] = [data_ptr(t) for t in sequence]


def tensor_obstacle(*tensors: Tensor) -> str | None:
    """Return why the library cannot compute with tensors of their device and dtype, or None if it can."""
    if library() is None:
        return NOT_BUILT
    if tensors[0].device.type != "cpu":
        return f"the native backend computes on the CPU, not on {tensors[0].device}"
    if any(t.dtype != torch.float32 for t in tensors):
        return "the native backend computes in float32"
    return None


def data_ptr(tensor: Tensor, dtype: torch.dtype = torch.float32) -> int:
    """Return the address of a tensor that C can read."""
    if tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        raise ValueError(
            f"tensor must be contiguous {dtype} on the CPU for the native backend, got {tensor.dtype} "
            f"on {tensor.device}"
        )
    return tensor.data_ptr()


def check_status(status: int) -> bool:
    """Return whether the work was completed; a negative status means that memory ran out."""
    if status < 0:
        raise MemoryError("the native backend could not allocate its working memory")
    return status == 1
