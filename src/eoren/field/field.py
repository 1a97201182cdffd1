"""The Field: an image as a function of (x, y), which is what users hold."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from eoren.backends.native import Rendering, evaluate, is_native
from eoren.errors import EorenError
from eoren.model.channel_tuning import Tuning
from eoren.model.coordinates import grid_lines, pixel_centres
from eoren.model.devices import widest_float_dtype
from eoren.model.siren import Siren, chunk_points, propagate
from eoren.model.tiling import Tiling

Points = TypeVar("Points", np.ndarray, Tensor)
Show = Literal["color", "gradient", "laplacian"]

# Points in one call to the networks, fewer where more tiles may meet than at a corner: bounds memory whatever is
# asked of whom.
_POINTS_AT_ONCE = 1 << 18
_AT_A_CORNER = 4


class Jet(NamedTuple):
    """What a field says at N points.

    Attributes:
        color: ``(N, C)``.
        gradient: ``(N, C, 2)``, per unit-square side, if it was asked for.
        laplacian: ``(N, C)``, per unit-square side squared, if it was asked for.
    """

    color: Float[Tensor, "points channels"]
    gradient: Float[Tensor, "points channels 2"] | None = None
    laplacian: Float[Tensor, "points channels"] | None = None


class _Wanted(NamedTuple):
    """Which derivatives, and how fast every tile's local coordinates change along the units they come in."""

    gradient: bool
    laplacian: bool
    scale: Float[Tensor, "tiles 2"]


@dataclass(frozen=True)
class Provenance:
    """Where a field comes from, as it is stored in its file.

    Attributes:
        settings: every setting of the fit.
        seed: of the random numbers.
        steps: that were made.
        seconds: that the fit took; none where only steps were to end it, so that the same fit gives the same file.
        source_sha256: of the image's file, or of the array's bytes.
        metrics: of the stored field against its image.
        version: of eoren.
        composition: the operation that made the image, with its operands and options; empty for a plain image.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    steps: int = 0
    seconds: float | None = None
    source_sha256: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    version: str = ""
    composition: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Field:
    """An image as a continuous function from the plane to C channels, with exact derivatives.

    Coordinates are ``(x, y)`` in the unit square, x to the right, y down; pixel (i, j) of the W x H image it was
    fitted to has its centre at ``((j + 0.5)/W, (i + 0.5)/H)``. Arrays in give arrays out, float32; tensors in give
    tensors out, on the field's device, and PyTorch can differentiate them by the points. Colours are not clamped.

    Attributes:
        siren: the networks, one a tile.
        tuning: the channel tuning of each.
        tiling: where the tiles are.
        bits: how many bits a number takes in the file: 32, 16 or 8.
        provenance: where the field comes from.

    Example:
        >>> import eoren, numpy as np
        >>> image = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 16, 1).repeat(16, 0)
        >>> found = eoren.fit(image, steps=300, width=16, depth=2, seed=0).field
        >>> bool(abs(found.color(np.array([[0.25, 0.5]])) - 0.234) < 0.05)
        True
        >>> found.gradient(np.zeros((5, 7, 2)) + 0.5).shape
        (5, 7, 1, 2)
    """

    siren: Siren
    tuning: Tuning
    tiling: Tiling
    bits: int = 32
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def channels(self) -> int:
        """1 gray, 2 gray and alpha, 3 RGB, 4 RGBA."""
        return self.siren.channels

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image it was fitted to, in pixels."""
        return self.tiling.width, self.tiling.height

    @property
    def parameters(self) -> int:
        """How many numbers the field stores: networks and tuning."""
        return self.siren.batch * (self.siren.parameters_per_network + 2 * self.channels)

    def to(self, device: torch.device | str) -> "Field":
        """The same field on another device."""
        return replace(self, siren=self.siren.to(device), tuning=self.tuning.to(device))

    def color(self, xy: Points) -> Points:
        """Colours at any points.

        Args:
            xy: ``(..., 2)``, points ``(x, y)`` of the unit square.

        Returns:
            ``(..., C)``, intensity, not clamped to [0, 1].

        Raises:
            EorenError: the last axis is not ``(x, y)``, or a point is not finite.
        """
        return self._query(xy, "color")[0]

    def gradient(self, xy: Points) -> Points:
        """Derivatives of the colours by x and y at any points, exact: those of the networks, not differences.

        Args:
            xy: ``(..., 2)``, points ``(x, y)`` of the unit square.

        Returns:
            ``(..., C, 2)``, intensity per unit-square side, last axis ``(d/dx, d/dy)``. Divide by ``(W, H)``
            for intensity per pixel.

        Raises:
            EorenError: the last axis is not ``(x, y)``, or a point is not finite.
        """
        return self._query(xy, "gradient")[0]

    def laplacian(self, xy: Points) -> Points:
        """Sums of the second derivatives by x and by y at any points, exact.

        Args:
            xy: ``(..., 2)``, points ``(x, y)`` of the unit square.

        Returns:
            ``(..., C)``, intensity per unit-square side squared.

        Raises:
            EorenError: the last axis is not ``(x, y)``, or a point is not finite.
        """
        return self._query(xy, "laplacian")[0]

    def color_and_gradient(self, xy: Points) -> tuple[Points, Points]:
        """:meth:`color` and :meth:`gradient` of the same points, in one pass."""
        color, gradient = self._query(xy, "color", "gradient")
        return color, gradient

    def render(
        self,
        width: int | None = None,
        height: int | None = None,
        *,
        region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
        show: Show = "color",
    ) -> Float[np.ndarray, "height width *features"]:
        """Sample the field at the pixel centres of a grid.

        Args:
            width: columns of the grid; the image's own by default, or in proportion to ``height``.
            height: rows of the grid, likewise.
            region: ``(x0, y0, x1, y1)`` of the unit square to lay it over.
            show: what to sample.

        Returns:
            float32 ``(height, width, C)``, or ``(height, width, C, 2)`` for the gradient. Not clamped.

        Raises:
            EorenError: an empty grid or region.
        """
        width, height = self.grid(width, height, region)
        return np.concatenate(list(self.render_rows(width, height, region=region, show=show)))

    def grid(
        self, width: int | None, height: int | None, region: tuple[float, float, float, float]
    ) -> tuple[int, int]:
        """The grid that :meth:`render` uses for these wishes: what is left out follows the image's own pixels.

        Raises:
            EorenError: an empty grid or region.
        """
        x0, y0, x1, y1 = region
        if not (x0 < x1 and y0 < y1 and np.isfinite(region).all()):
            raise EorenError(f"region {region} is empty or endless; give x0,y0,x1,y1 with x0 < x1 and y0 < y1")
        natural = (self.tiling.width * (x1 - x0), self.tiling.height * (y1 - y0))
        if width is None:
            width = round(natural[0] * (1 if height is None else height / natural[1]))
        if height is None:
            height = round(natural[1] * width / natural[0])
        if width < 1 or height < 1:
            raise EorenError(f"the output would be {width}x{height} pixels; it needs at least one each way")
        return width, height

    def render_rows(
        self,
        width: int,
        height: int,
        *,
        region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
        show: Show = "color",
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Iterator[Float[np.ndarray, "rows width *features"]]:
        """:meth:`render` strip by strip, top to bottom, with memory bounded whatever the size of the grid.

        Derivatives come in the units of ``extent``, the image's sides; its size in pixels gives them per pixel.
        """
        strip = max(1, _POINTS_AT_ONCE // width)
        for top in range(0, height, strip):
            rows = slice(top, top + strip)
            yield self.sample(width, height, show, region=region, rows=rows, extent=extent)[0]

    def sample(
        self,
        width: int,
        height: int,
        *wanted: Show,
        region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
        rows: slice = slice(None),
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[np.ndarray, ...]:
        """Everything wanted at some rows of a grid, in one pass; see :meth:`render_rows`.

        Example:
            >>> import eoren, numpy as np
            >>> found = eoren.fit(np.full((6, 5, 1), 0.5, np.float32), steps=1, width=8, depth=2).field
            >>> [each.shape for each in found.sample(10, 12, "color", "gradient", rows=slice(3, 5))]
            [(2, 10, 1), (2, 10, 1, 2)]
        """
        if not np.isfinite(region).all():
            raise EorenError(f"region {region} is not finite; give numbers x0,y0,x1,y1 of the unit square")
        if not is_native(self.siren):
            points = pixel_centres(width, height, region, rows=rows)
            return self._query(points.numpy(), *wanted, extent=extent)
        x, y = grid_lines(width, height, region, rows=rows)
        rendering = Rendering(self.siren, self.tuning, self.tiling, extent)
        found = rendering.sample(x * self.tiling.width, y * self.tiling.height, *wanted)
        return tuple(each.numpy() for each in found)

    def _query(self, xy: Points, *wanted: Show, extent: tuple[float, float] = (1.0, 1.0)) -> tuple[Points, ...]:
        if isinstance(xy, np.ndarray):
            found = self._query(torch.from_numpy(np.array(xy)), *wanted, extent=extent)
            return tuple(each.cpu().numpy() for each in found)
        if xy.ndim < 1 or xy.shape[-1] != 2:
            raise EorenError(f"points have shape {tuple(xy.shape)}, but the last axis must be (x, y)")
        if not bool(xy.isfinite().all()):
            raise EorenError("some points are not finite; give numbers (x, y) of the unit square")
        points = xy.to(self.siren.device, widest_float_dtype(self.siren.device)).reshape(-1, 2)
        with torch.set_grad_enabled(xy.requires_grad and torch.is_grad_enabled()):
            at_once = max(1, _POINTS_AT_ONCE // max(1, self.tiling.max_overlap - _AT_A_CORNER + 1))
            jets = [
                self.jet(part, gradient="gradient" in wanted, laplacian="laplacian" in wanted, extent=extent)
                for part in points.split(at_once)
            ]
            found = [torch.cat([getattr(jet, each) for jet in jets]) for each in wanted]
        return tuple(each.reshape(*xy.shape[:-1], *each.shape[1:]) for each in found)

    def jet(
        self,
        points: Float[Tensor, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Colour, and gradient and Laplacian if wanted, in one pass.

        Tiles blend by their weights w: ``Phi = sum w Phi_i``, ``grad Phi = sum w grad Phi_i + Phi_i grad w`` and
        ``L Phi = sum w L Phi_i + 2 grad w . grad Phi_i + Phi_i L w``.

        Args:
            points: ``(N, 2)`` on the field's device.
            gradient: wanted.
            laplacian: wanted; brings the gradient too.
            extent: sides of the image in the units of the derivatives: its width and height for derivatives
                per pixel.
        """
        blend = self.tiling.blend(points)
        dtype = self.siren.weights[0].dtype
        local = self.tiling.local(points[blend.point], blend.tile).to(dtype)
        per_side = torch.tensor(extent, dtype=blend.slope.dtype, device=points.device)
        weight, slope = blend.weight.to(dtype)[:, None], (blend.slope / per_side).to(dtype)[:, None]
        wanted = _Wanted(gradient or laplacian, laplacian, self.tiling.local_per_unit.to(points) / per_side)
        followed = torch.is_grad_enabled() or unpack_dual(points).tangent is not None
        by_tile = self._by_tile if followed or not is_native(self.siren) else self._by_tile_native
        said = by_tile(local, blend.tile, wanted)

        color = said[:, 0]
        parts = [weight * color]
        if gradient or laplacian:
            by_xy = said[:, 1:3].movedim(1, -1)
            parts.append((weight[..., None] * by_xy + color[..., None] * slope).flatten(1))
        if laplacian:
            bend = (blend.bend / per_side**2).sum(-1).to(dtype)[:, None]
            parts.append(weight * said[:, 3] + 2 * (by_xy * slope).sum(-1) + color * bend)
        total = torch.cat(parts, 1)
        if self.tiling.count > 1:
            total = total.new_zeros(len(points), total.shape[1]).index_add(0, blend.point, total)
        c = self.channels
        return Jet(
            total[:, :c],
            total[:, c : 3 * c].unflatten(1, (c, 2)) if gradient or laplacian else None,
            total[:, 3 * c :] if laplacian else None,
        )

    def _by_tile(
        self, local: Float[Tensor, "n 2"], tile: Int[Tensor, " n"], wanted: "_Wanted"
    ) -> Float[Tensor, "n streams channels"]:
        """What the tile beside each point says there: colour, d/dx, d/dy, Laplacian.

        Points come sorted by tile. Each tile's are cut into blocks of one length, so that many tiles are one
        batch; the last block of a tile repeats its last point.
        """
        counts = torch.bincount(tile)
        streams = 1 + 2 * wanted.gradient + wanted.laplacian
        chunk = chunk_points(self.siren, streams)
        block = int(min(chunk, max(16, -(-len(tile) // max(1, int((counts > 0).sum()))))))
        blocks = -(-counts // block)
        owner = torch.repeat_interleave(blocks)
        first = counts.cumsum(0) - counts
        place = torch.arange(len(owner), device=tile.device) - (blocks.cumsum(0) - blocks)[owner]
        inside = place[:, None] * block + torch.arange(block, device=tile.device)
        rows = first[owner, None] + torch.minimum(inside, counts[owner, None] - 1)
        keep = inside < counts[owner, None]
        parts = []
        at_once = max(1, chunk // block)
        for start in range(0, len(owner), at_once):
            part = slice(start, start + at_once)
            said = self._tuned(local[rows[part]], owner[part], wanted)
            parts.append(said.movedim(1, 2).flatten(0, 1)[keep[part].flatten()])
        return torch.cat(parts) if parts else local.new_zeros(0, streams, self.channels)

    def _by_tile_native(
        self, local: Float[Tensor, "n 2"], tile: Int[Tensor, " n"], wanted: "_Wanted"
    ) -> Float[Tensor, "n streams channels"]:
        """:meth:`_by_tile` where nobody differentiates."""
        return evaluate(
            self.siren,
            local,
            torch.bincount(tile, minlength=self.tiling.count),
            tuning=self.tuning,
            axes=(0, 1) if wanted.gradient else (),
            scale=wanted.scale,
            laplacian=wanted.laplacian,
        )

    def _tuned(
        self, points: Tensor, which: Tensor, wanted: "_Wanted"
    ) -> Float[Tensor, "batch streams points channels"]:
        """Some networks at their local points, tuned."""
        said = propagate(
            self.siren.select(which),
            points,
            axes=(0, 1) if wanted.gradient else (),
            scale=wanted.scale[which],
            laplacian=wanted.laplacian,
        )
        return self.tuning.select(which).apply(said)
