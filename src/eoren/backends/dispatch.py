"""Who computes: PyTorch, anywhere, or the native engine, for networks that it knows on a CPU that it was built for.

Both do the same work to rounding (tested); a fit's state is the same tensors for either, so one can go on where the
other stopped.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.backends import native
from eoren.backends.backpropagation import Backpropagation
from eoren.backends.optimizers import ITERATIONS, NEWTON_SCHULZ, Adam, Muon, Networks
from eoren.backends.tile_pixels import TilePixels, Tiles
from eoren.errors import BackendWarning
from eoren.model.channel_tuning import Moments, Tuning
from eoren.model.loss import Pass
from eoren.model.siren import Siren, chunk_points, initialise


@runtime_checkable
class Engine(Protocol):
    """Differentiates a fit's objective, and moves the parameters.

    Attributes:
        gradients: by the parameters, like ``siren.tensors()``, from the last :meth:`differentiate`.
        adam: the optimiser that fits the engine.
        muon: likewise.
    """

    gradients: list[Tensor]
    adam: type[Adam]
    muon: type[Muon]

    def together(self, points: int, passes: Sequence[Pass]) -> int:
        """How many networks it likes to work on at a time."""

    def differentiate(
        self,
        tiles: Int[Tensor, " tiles"],
        points: Int[Tensor, " points"],
        passes: Sequence[Pass],
        tuning: Tuning,
        moments: Moments | None,
        stop: Callable[[], bool],
    ) -> Float[Tensor, "tiles 2"] | None:
        """The gradient of the objective at some pixels of some tiles.

        Args:
            tiles: which, in order.
            points: pixels, numbered within a tile; a tile that has fewer begins again.
            passes: over the points.
            tuning: of all networks.
            moments: takes in what the networks say and should say, if there are any.
            stop: asked every now and then. Once it says yes the work is given up.

        Returns:
            Every tile's sums of squared errors, of colour and of slope (both axes); none if it was given up.
        """


class TorchEngine:
    """Batched products in PyTorch. Chunks of networks and points whose activations stay in the cache."""

    def __init__(self, siren: Siren, patches: TilePixels, slopes: Float[Tensor, "pixels channels 2"] | None) -> None:
        """Make room for the gradients."""
        self.adam: type[Adam] = Adam
        self.muon: type[Muon] = Muon
        self._siren, self._patches, self._slopes = siren, patches, slopes
        self._backpropagation = Backpropagation(siren)
        self.gradients = self._backpropagation.gradients

    def together(self, points: int, passes: Sequence[Pass]) -> int:
        """As many as fit the cache: fewer would leave some of it unused."""
        return self._fitting(points, passes[0])[0]

    def differentiate(
        self,
        tiles: Int[Tensor, " tiles"],
        points: Int[Tensor, " points"],
        passes: Sequence[Pass],
        tuning: Tuning,
        moments: Moments | None,
        stop: Callable[[], bool],
    ) -> Float[Tensor, "tiles 2"] | None:
        """See :class:`Engine`."""
        self._backpropagation.zero()
        squares = torch.zeros(self._siren.batch, 2, device=points.device)
        for each in passes:
            for some, part in self._chunks(tiles, points, each):
                if stop():
                    return None
                squares[some] += self._accumulate(each, some, part, len(points), tuning, moments)
        return squares[tiles]

    def _accumulate(
        self,
        each: Pass,
        tiles: Tiles,
        part: Int[Tensor, " part"],
        count: int,
        tuning: Tuning,
        moments: Moments | None,
    ) -> Float[Tensor, "tiles 2"]:
        """Add one chunk's share to the gradients."""
        patches = self._patches
        pixels, positions = patches.pixels(tiles, part)
        target = [patches.color[pixels]]
        if each.axes:
            assert self._slopes is not None
            slope = self._slopes[pixels]
            target += [slope[..., axis] for axis in each.axes]
        per_pixel = (1 / patches.half_extents[tiles, None]).expand(-1, 2)
        said = self._backpropagation.forward(
            tiles, patches.local(positions, tiles, each.offset), axes=each.axes, scale=per_pixel
        )
        tuning = tuning.select(tiles)
        error = tuning.apply(said) - torch.stack(target, 1)
        if moments is not None:
            moments.add(tiles, said[:, 0], target[0])
        squares = error.square().sum((2, 3))
        squares = torch.stack([squares[:, 0], squares[:, 1:].sum(1)], 1)
        # Mean over points and channels.
        weights = error.new_tensor(each.weights)
        error *= weights[:, None, None] * (2 / (count * error.shape[-1])) * tuning.alpha.unsqueeze(1)
        self._backpropagation.backward(error)
        return squares

    def _fitting(self, points: int, each: Pass) -> tuple[int, int]:
        """How many networks a chunk has, and into how many parts their points go."""
        size = chunk_points(self._siren, streams=1 + len(each.axes))
        parts = -(-points // size)
        return max(1, size // -(-points // parts)), parts

    def _chunks(
        self, tiles: Int[Tensor, " tiles"], points: Int[Tensor, " points"], each: Pass
    ) -> Iterator[tuple[Tiles, Int[Tensor, " part"]]]:
        together, parts = self._fitting(len(points), each)
        every = len(tiles) == self._siren.batch
        for start in range(0, len(tiles), together):
            end = min(start + together, len(tiles))
            for part in points.split(-(-len(points) // parts)):
                yield slice(start, end) if every else tiles[start:end], part


class NativeEngine:
    """The fused step of ``src/native``, one tile a thread."""

    def __init__(self, siren: Siren, patches: TilePixels, slopes: Float[Tensor, "pixels channels 2"] | None) -> None:
        """Make room for the gradients."""
        self.gradients = [torch.zeros_like(t) for t in siren.tensors()]
        self.adam: type[Adam] = FusedAdam
        self.muon: type[Muon] = FusedMuon
        self._differentiation = native.Differentiation(
            siren,
            self.gradients,
            color=patches.color,
            slopes=slopes,
            columns=patches.columns,
            boxes=patches.boxes,
            centres=patches.centres,
            half_extents=patches.half_extents,
        )

    def together(self, points: int, passes: Sequence[Pass]) -> int:
        """Any number is as good as any other."""
        return 1

    def differentiate(
        self,
        tiles: Int[Tensor, " tiles"],
        points: Int[Tensor, " points"],
        passes: Sequence[Pass],
        tuning: Tuning,
        moments: Moments | None,
        stop: Callable[[], bool],
    ) -> Float[Tensor, "tiles 2"] | None:
        """See :class:`Engine`."""
        if stop():
            return None
        found = self._differentiation(tiles, points, passes, tuning, stop, moments=moments is not None)
        if found is None:
            return None
        squares, sums = found
        if moments is not None and sums is not None:
            moments.add_sums(tiles, sums, len(points) * len(passes))
        return squares.float()


class FusedAdam(Adam):
    """Adam in one pass over memory."""

    def _move(self, gradients: Sequence[Tensor], rate: float, scale: float, networks: Networks) -> None:
        native.adam_step(
            self._parameters,
            gradients,
            (self._mean, self._square),
            _indices(networks, self._parameters[0]),
            betas=self._betas,
            rate=rate,
            scale=scale,
            epsilon=self._epsilon,
        )


class FusedMuon(Muon):
    """Muon, one network after the other in the cache."""

    def step(self, gradients: Sequence[Tensor], rate: float, networks: Networks = slice(None)) -> None:
        """See :class:`eoren.backends.optimizers.Muon`."""
        if self._parameters:
            native.muon_step(
                self._parameters,
                gradients,
                self._mean,
                _indices(networks, self._parameters[0]),
                momentum=self._momentum,
                rate=rate,
                coefficients=NEWTON_SCHULZ,
                iterations=ITERATIONS,
            )


def _indices(networks: Networks, like: Tensor) -> Int[Tensor, " networks"]:
    return networks if isinstance(networks, Tensor) else torch.arange(len(like))[networks]


def engine_of(siren: Siren, patches: TilePixels, slopes: Float[Tensor, "pixels channels 2"] | None) -> Engine:
    """The engine that trains some networks: the native one where it can.

    Where nobody asked for PyTorch, and it is what there is for the CPU, that is said: once for every reason.
    """
    if native.is_native(siren):
        return NativeEngine(siren, patches, slopes)
    if siren.device.type == "cpu" and not native.forced():
        _say_once(f"PyTorch does the work, several times slower than the native engine: {native.obstacle(siren)}")
    return TorchEngine(siren, patches, slopes)


@cache
def _say_once(message: str) -> None:
    warnings.warn(message, BackendWarning, stacklevel=2)


class EngineInUse(NamedTuple):
    """Which engine works on the CPU here.

    Attributes:
        engine: ``native`` or ``torch``.
        target: what the native engine was compiled for that this processor runs; none where it was not built.
        threads: that it works with.
        why: in words.
    """

    engine: str
    target: str | None
    threads: int
    why: str


def engine_in_use() -> EngineInUse:
    """What ``eoren info --engine`` says.

    Raises:
        EorenError: an engine that there is not was asked for, or cannot be had.
    """
    usual = initialise(1, width=16, depth=2, channels=1, generator=torch.Generator())
    fused, wish = native.is_native(usual), native.forced()
    if wish:
        why = f"EOREN_ENGINE is {wish}"
    elif fused:
        why = f"it was built, and knows {native.KNOWN_WIDTHS}; PyTorch does the others"
    else:
        why = native.NOT_BUILT
    target = None if native.library() is None else native.target()
    return EngineInUse("native" if fused else "torch", target, torch.get_num_threads(), why)
