"""Where things are: pixel centres, tiles, and the smooth weights that blend one tile into the next.

The picture is the unit square, x to the right and y down; pixel (row i, column j) has its centre at
``((j + 0.5) / W, (i + 0.5) / H)``. Networks see *local* coordinates, isotropic and about -1..1 inside their tile,
so that a picture twice as wide as high is not squeezed and every tile poses the same problem.
"""

from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def pixel_centres(
    width: int,
    height: int,
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    *,
    rows: slice = slice(None),
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "rows width 2"]:
    """Centres of the pixels of a ``width x height`` grid laid over a region of the unit square.

    Args:
        width: columns of the grid.
        height: rows of the grid.
        region: ``(x0, y0, x1, y1)`` in unit-square coordinates.
        rows: only these rows.
        dtype: float64 by default: float32 cannot tell the pixels of a gigapixel picture apart.

    Returns:
        ``(rows, width, 2)``, last axis ``(x, y)``.

    Example:
        >>> pixel_centres(2, 1).tolist()
        [[[0.25, 0.5], [0.75, 0.5]]]
    """
    x0, y0, x1, y1 = region
    x = x0 + (torch.arange(width, dtype=dtype) + 0.5) * ((x1 - x0) / width)
    y = y0 + (torch.arange(height, dtype=dtype)[rows] + 0.5) * ((y1 - y0) / height)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def smooth_step(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The quintic step from 0 at t = -1 to 1 at t = 1, with its first two derivatives; constant outside.

    Twice continuously differentiable, so that colour, gradient and Laplacian stay continuous where tiles blend.
    """
    s = ((t + 1) / 2).clamp(0, 1)
    value = s**3 * (s * (6 * s - 15) + 10)
    slope = 15 * (s * (s - 1)) ** 2
    bend = 15 * s * (s - 1) * (2 * s - 1)
    return value, slope, bend


@dataclass(frozen=True)
class Tiling:
    """A picture of ``width x height`` pixels cut into a grid of tiles that overlap by twice a halo.

    Tile k of an axis is the stretch between the edges ``e[k]`` and ``e[k+1]``, whole pixels apart and as even as
    they can be; it answers for a halo beyond either inner edge. Its blending weight is
    ``S((X - e[k]) / halo) - S((X - e[k+1]) / halo)`` with ``S`` :func:`smooth_step` and X in pixels: the sum over
    tiles telescopes to one, everywhere, and no weight reaches beyond its tile's halo. The outermost steps are
    left away, so a single tile has weight one everywhere.

    Attributes:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        columns: tiles side by side.
        rows: tiles one above the other.
        halo: half the width of the overlap, in pixels; positive where there is more than one tile, and at most
            half a tile.

    Example:
        >>> tiling = Tiling.of(768, 512, tile=64, halo=2)
        >>> tiling.columns, tiling.rows, tiling.count
        (12, 8, 96)
    """

    width: int
    height: int
    columns: int = 1
    rows: int = 1
    halo: float = 0.0

    @classmethod
    def of(cls, width: int, height: int, *, tile: int | None, halo: float) -> "Tiling":
        """Tiles about ``tile`` pixels wide and high; ``None``, or a small picture, gives a single one."""
        columns = 1 if tile is None else max(1, round(width / tile))
        rows = 1 if tile is None else max(1, round(height / tile))
        return cls(width, height, columns, rows, halo if columns * rows > 1 else 0.0)

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.columns, self.rows) < 1:
            raise ValueError(f"a tiling needs at least one pixel and one tile an axis, got {self}")
        if self.columns > self.width or self.rows > self.height:
            raise ValueError(f"a tile is at least one pixel wide, got {self}")
        if self.count > 1 and not 0 < self.halo <= self._smallest / 2:
            raise ValueError(f"the halo of a tile lies above 0 and at most half the tile, got {self}")

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return self.columns * self.rows

    @property
    def half(self) -> float:
        """Pixels per unit of local coordinates: half the longer side of the largest tile, halo included."""
        return max(ceil(self.width / self.columns), ceil(self.height / self.rows)) / 2 + self.halo

    @property
    def _smallest(self) -> int:
        return min(
            *(self.width // n for n in [self.columns] if n > 1),
            *(self.height // n for n in [self.rows] if n > 1),
            max(self.width, self.height),
        )

    def edges(self) -> tuple[Int[Tensor, " columns_and_one"], Int[Tensor, " rows_and_one"]]:
        """Pixel positions of the tiles' edges along x and along y, picture borders included."""
        return _edges(self.width, self.columns), _edges(self.height, self.rows)

    def pixel_boxes(self) -> Int[Tensor, "count 4"]:
        """Per tile, ``(column0, row0, column1, row1)`` of the pixels whose centres it answers for, ends excluded."""
        spans = []
        for edges, size in zip(self.edges(), (self.width, self.height), strict=True):
            # The centre of pixel j lies at j + 0.5.
            first = torch.ceil(edges[:-1] - self.halo - 0.5).clamp(min=0).long()
            last = torch.floor(edges[1:] + self.halo - 0.5).clamp(max=size - 1).long() + 1
            first[0], last[-1] = 0, size
            spans.append(torch.stack([first, last], -1))
        x = spans[0].repeat(self.rows, 1)
        y = spans[1].repeat_interleave(self.columns, 0)
        return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], -1)

    def centres(self) -> Float[Tensor, "count 2"]:
        """Per tile, the point in pixels that is the origin of its local coordinates. float64."""
        x, y = ((edges[:-1] + edges[1:]).double() / 2 for edges in self.edges())
        return torch.stack([x.repeat(self.rows), y.repeat_interleave(self.columns)], -1)

    def local(self, points: Float[Tensor, "*points 2"], tiles: Int[Tensor, "*points"]) -> Float[Tensor, "*points 2"]:
        """Unit-square points in the local coordinates of the tile beside each."""
        size = torch.tensor([self.width, self.height], dtype=points.dtype, device=points.device)
        centres = self.centres().to(points.device, points.dtype)
        return (points * size - centres[tiles]) / self.half

    @property
    def local_per_unit(self) -> tuple[float, float]:
        """How fast local coordinates change by x and by y of the unit square."""
        return self.width / self.half, self.height / self.half

    def touching(
        self, points: Float[Tensor, "points 2"]
    ) -> tuple[
        Int[Tensor, "points candidates"],
        Float[Tensor, "points candidates orders orders"],
        Bool[Tensor, "points candidates"],
    ]:
        """The tiles that answer for each point, one, two or four of them, and how they blend.

        Args:
            points: ``(N, 2)`` anywhere in the plane; beyond the picture the outermost tiles answer.

        Returns:
            Tile indices ``(N, K)``; weights and their derivatives ``(N, K, 3, 3)``, entry ``[a, b]`` being the
            a-th derivative by x of the b-th by y, per unit-square side; and a mask ``(N, K)`` of the tiles with
            a part in it. K is 1 for a single tile, else 4.
        """
        axes = []
        for axis, (edges, count, size) in enumerate(
            zip(self.edges(), (self.columns, self.rows), (self.width, self.height), strict=True)
        ):
            axes.append(self._touching_axis(points[:, axis] * size, edges, count, size))
        (x_tile, x_weight, x_mask), (y_tile, y_weight, y_mask) = axes
        tiles = y_tile[:, :, None] * self.columns + x_tile[:, None, :]
        weights = y_weight[:, :, None, None, :] * x_weight[:, None, :, :, None]
        mask = y_mask[:, :, None] & x_mask[:, None, :]
        return tiles.flatten(1), weights.flatten(1, 2), mask.flatten(1)

    def _touching_axis(self, position: Tensor, edges: Tensor, count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Along one axis: the tile below and above the nearest inner edge, their weights, whether they count."""
        if count == 1:
            ones = torch.zeros(len(position), 1, 3, dtype=position.dtype, device=position.device)
            ones[:, :, 0] = 1
            tile = torch.zeros(len(position), 1, dtype=torch.long, device=position.device)
            return tile, ones, torch.ones_like(tile, dtype=torch.bool)
        inner = edges[1:-1].to(position.device, position.dtype)
        middles = (inner[:-1] + inner[1:]) / 2
        nearest = torch.bucketize(position.detach(), middles)
        value, slope, bend = smooth_step((position - inner[nearest]) / self.halo)
        rate = size / self.halo  # of the step's argument, per unit-square side
        step = torch.stack([value, slope * rate, bend * rate**2], -1)
        fall = torch.stack([1 - value, -slope * rate, -bend * rate**2], -1)
        weights = torch.stack([fall, step], 1)
        # Both tiles count in the open overlap; outside it, the one on whose side the point lies.
        mask = torch.stack([value < 1, value > 0], 1)
        return torch.stack([nearest, nearest + 1], 1), weights, mask


def _edges(size: int, count: int) -> Int[Tensor, " edges"]:
    return torch.arange(count + 1) * size // count
