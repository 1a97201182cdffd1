"""An image cut into tiles that blend smoothly, small tiles where there is much to tell.

Cuts form a k-d tree: each halves a box, across its longer side, where both halves have the same share of what there
is to tell. At a cut at position e, what lies right of it weighs ``S((X - e) / halo)`` and what lies left of it one
minus that, with S :func:`smooth_step` and X in pixels. The weight of a tile is the product over the cuts above it, so
weights sum to one everywhere, whatever the tree, and none reaches beyond the tile's box and halo.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

MAX_OVERLAP = 64
"""Tiles that may answer for one point of an image that is fitted or read: what it costs has a bound."""
LEAST_HALO = 1e-6
"""In pixels. Second derivatives grow with the square of one over it, and 32 bits hold no more for large images."""

_LEAF = -1


def smooth_step(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The quintic step from 0 at t = -1 to 1 at t = 1, with its first two derivatives; constant outside.

    Twice continuously differentiable, so that colour, gradient and Laplacian stay continuous where tiles blend.
    """
    s = ((t + 1) / 2).clamp(0, 1)
    value = s**3 * (s * (6 * s - 15) + 10)
    slope = 15 * (s * (s - 1)) ** 2
    bend = 15 * s * (s - 1) * (2 * s - 1)
    return value, slope, bend


class Blend(NamedTuple):
    """The tiles that answer for some points: one entry for every point and tile that meet.

    Attributes:
        point: index of the point.
        tile: index of the tile; entries are in the order of tiles.
        weight: of the tile at the point.
        slope: ``(d/dx, d/dy)`` of the weight, per unit-square side.
        bend: its second derivatives by x and by y, per unit-square side squared.
    """

    point: Int[Tensor, " entries"]
    tile: Int[Tensor, " entries"]
    weight: Float[Tensor, " entries"]
    slope: Float[Tensor, "entries 2"]
    bend: Float[Tensor, "entries 2"]


@dataclass(frozen=True, eq=False)
class Tiling:
    """Tiles of an image of ``width x height`` pixels, as a k-d tree of cuts.

    Networks see *local* coordinates: isotropic, the origin in the middle of the tile's pixels, -1 and 1 at the ends
    of their longer side. So an image twice as wide as high is not squeezed, and every tile poses the same problem.

    Attributes:
        width: of the image, in pixels.
        height: of the image, in pixels.
        halo: half the width of the overlap at a cut, in pixels; at least :data:`LEAST_HALO` where there is a cut.
        nodes: ``(2 tiles - 1, 2)``, the tree in pre-order: ``(0, x)`` or ``(1, y)`` cuts across x or y at that
            pixel edge, the lower side first; ``(-1, 0)`` is a tile.

    Raises:
        ValueError: the halo is too small or infinite; the nodes are no tree, or cut outside the box they divide.

    Example:
        >>> tiling = Tiling.of(np.ones((512, 768)), count=64, halo=2.0)
        >>> tiling.count, tiling.boxes[0].tolist()
        (64, [0, 0, 96, 64])
    """

    width: int
    height: int
    halo: float
    nodes: Int32[np.ndarray, "nodes 2"]

    @classmethod
    def single(cls, width: int, height: int) -> "Tiling":
        """One tile."""
        return cls(width, height, 0.0, np.array([[_LEAF, 0]], np.int32))

    @classmethod
    def of(
        cls, detail: Float[np.ndarray, "height width"], *, count: int, halo: float, smallest: int = 16
    ) -> "Tiling":
        """Tiles with the same share of detail each.

        Args:
            detail: how much there is to tell at each pixel; positive.
            count: tiles wanted; fewer where ``smallest`` leaves no room.
            halo: half the overlap, in pixels.
            smallest: no side of a tile is shorter, in pixels.
        """
        height, width = detail.shape
        nodes: list[tuple[int, int]] = []

        def divide(box: tuple[int, int, int, int], tiles: int) -> None:
            """Append the subtree of a box that is to hold so many tiles, in pre-order."""
            x0, y0, x1, y1 = box
            axis = 0 if x1 - x0 >= y1 - y0 else 1
            start, length = (x0, x1 - x0) if axis == 0 else (y0, y1 - y0)
            if tiles == 1 or length < 2 * smallest:
                nodes.append((_LEAF, 0))
                return
            lower = tiles // 2
            share = np.cumsum(detail[y0:y1, x0:x1].sum(axis, dtype=np.float64))
            cut = 1 + int(np.argmin(np.abs(share - share[-1] * lower / tiles)))
            # Room for the tiles of either side, each at least as long as the smallest, in a square arrangement.
            least = max(smallest * ceil(sqrt(lower)), length // 5)
            most = length - max(smallest * ceil(sqrt(tiles - lower)), length // 5)
            cut = min(max(cut, least), most) if least <= most else length // 2
            nodes.append((axis, start + cut))
            at = start + cut
            divide((x0, y0, at, y1) if axis == 0 else (x0, y0, x1, at), lower)
            divide((at, y0, x1, y1) if axis == 0 else (x0, at, x1, y1), tiles - lower)

        divide((0, 0, width, height), count)
        return cls(width, height, halo if len(nodes) > 1 else 0.0, np.array(nodes, np.int32))

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"an image has at least one pixel, got {self.width}x{self.height}")
        if self.count > 1 and not LEAST_HALO <= self.halo < float("inf"):
            raise ValueError(f"the halo between tiles is finite and at least {LEAST_HALO:g} pixels, got {self.halo}")
        assert len(self.tree.boxes) == self.count

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return (len(self.nodes) + 1) // 2

    @property
    def boxes(self) -> Int[Tensor, "count 4"]:
        """Per tile, ``(x0, y0, x1, y1)`` in pixels, halo not included: a partition of the image."""
        return torch.from_numpy(np.array(self.tree.boxes))

    @cached_property
    def pixel_boxes(self) -> Int[Tensor, "count 4"]:
        """Per tile, ``(column0, row0, column1, row1)`` of the pixels it answers for, halo included, ends excluded."""
        box, size = self.boxes.double(), self.boxes.new_tensor([self.width, self.height]).double()
        low, high = box[:, :2], box[:, 2:]
        # The centre of pixel j lies at j + 0.5. There is no halo beyond the border.
        first = torch.where(low > 0, torch.ceil(low - self.halo - 0.5), low).clamp(min=0)
        last = torch.where(high < size, torch.floor(high + self.halo - 0.5) + 1, high)
        return torch.cat([first, torch.minimum(last, size)], 1).long()

    @cached_property
    def centres(self) -> Float[Tensor, "count 2"]:
        """Per tile, the origin of its local coordinates, in pixels. float64."""
        return (self.pixel_boxes[:, :2] + self.pixel_boxes[:, 2:]).double() / 2

    @cached_property
    def half_extents(self) -> Float[Tensor, " count"]:
        """Per tile, pixels to a unit of local coordinates: half the longer side, halo included. float64."""
        return (self.pixel_boxes[:, 2:] - self.pixel_boxes[:, :2]).amax(1).double() / 2

    @cached_property
    def cuts(self) -> tuple[Int[Tensor, " count_and_one"], Float[Tensor, "cuts 3"]]:
        """The cuts above every tile in the tree.

        Returns:
            Where each tile's begin, and after the last tile's their number; and per cut ``(axis, position in pixels,
            1 if the tile lies above it, else 0)``, float64.

        Example:
            >>> first, cuts = Tiling.of(np.ones((8, 16)), count=2, halo=2.0, smallest=4).cuts
            >>> first.tolist(), cuts.tolist()
            ([0, 1, 2], [[0.0, 8.0, 0.0], [0.0, 8.0, 1.0]])
        """
        first, cuts = [0], []
        waiting: list[list[tuple[int, int, int]]] = [[]]
        for axis, at in self.nodes.tolist():  # in pre-order
            above = waiting.pop()
            if axis == _LEAF:
                cuts += above
                first.append(len(cuts))
            else:
                waiting += [[*above, (axis, at, 1)], [*above, (axis, at, 0)]]
        return torch.tensor(first), torch.tensor(cuts, dtype=torch.float64).reshape(-1, 3)

    def groups(self, most: int) -> list[slice]:
        """Tiles in groups of neighbours, at most so many each, in order: whole branches of the tree.

        Example:
            >>> Tiling.of(np.ones((64, 64)), count=9, halo=2.0, smallest=4).groups(3)
            [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None), slice(6, 9, None)]
        """
        leaves = np.zeros(len(self.nodes), np.int64)
        lower, upper = self.tree.lower, self.tree.upper
        for node in reversed(range(len(self.nodes))):  # children come after their parent
            cut = self.nodes[node, 0] != _LEAF
            leaves[node] = leaves[lower[node]] + leaves[upper[node]] if cut else 1
        found: list[slice] = []
        waiting = [0]
        while waiting:
            node = waiting.pop()
            if leaves[node] <= max(most, 1):
                start = found[-1].stop if found else 0
                found.append(slice(start, start + int(leaves[node])))
            else:
                waiting += [int(upper[node]), int(lower[node])]
        return found

    def box(self, tiles: slice = slice(None)) -> tuple[int, int, int, int]:
        """``(column0, row0, column1, row1)`` around the pixels of some tiles, halo included, ends excluded.

        Example:
            >>> Tiling.of(np.ones((8, 16)), count=2, halo=2.0, smallest=4).box(slice(1, 2))
            (6, 0, 16, 8)
        """
        boxes = self.pixel_boxes[tiles]
        x0, y0, x1, y1 = (*boxes[:, :2].amin(0).tolist(), *boxes[:, 2:].amax(0).tolist())
        return x0, y0, x1, y1

    def local(self, points: Float[Tensor, "entries 2"], tiles: Int[Tensor, " entries"]) -> Float[Tensor, "entries 2"]:
        """Unit-square points in the local coordinates of the tile beside each."""
        size = torch.tensor([self.width, self.height], dtype=points.dtype, device=points.device)
        centres, half_extents = self.centres.to(points), self.half_extents.to(points)
        return (points * size - centres[tiles]) / half_extents[tiles, None]

    @property
    def local_per_unit(self) -> Float[Tensor, "count 2"]:
        """Per tile, how fast its local coordinates change by x and by y of the unit square. float64."""
        return self.half_extents.new_tensor([self.width, self.height]) / self.half_extents[:, None]

    def blend(self, points: Float[Tensor, "points 2"]) -> Blend:
        """Which tiles answer for each point, and how they blend; differentiable by the points.

        Args:
            points: anywhere in the plane; beyond the image the outermost tiles answer.
        """
        device, dtype = points.device, points.dtype
        axis, cut, lower, upper, tiles = (torch.from_numpy(column).to(device) for column in self.tree[:5])
        size = torch.tensor([self.width, self.height], dtype=dtype, device=device)
        position = points * size
        point = torch.arange(len(points), device=device)
        node = torch.zeros_like(point)
        # Each axis' product of steps, with its first two derivatives: the weight is one times the other.
        product = torch.zeros(len(points), 2, 3, dtype=dtype, device=device)
        product[..., 0] = 1
        done: list[tuple[Tensor, Tensor, Tensor]] = []
        while len(node) or not done:
            leaf = axis[node] == _LEAF
            done.append((point[leaf], node[leaf], product[leaf]))
            point, node, product = point[~leaf], node[~leaf], product[~leaf]
            across = axis[node]
            t = (position[point, across] - cut[node]) / self.halo if self.halo else position.new_zeros(0)
            steps = torch.stack(smooth_step(t), -1)
            steps = steps * (size[across, None] / self.halo) ** torch.arange(3, device=device) if self.halo else steps
            halves = []
            for goes, child, factor in (
                (t < 1, lower, steps.new_tensor([1.0, 0, 0]) - steps),
                (t > -1, upper, steps),
            ):
                halves.append(
                    (point[goes], child[node[goes]], _multiplied(product[goes], across[goes], factor[goes]))
                )
            point, node, product = (torch.cat(pair) for pair in zip(*halves, strict=True))
        point, node, product = (torch.cat(each) for each in zip(*done, strict=True))
        tile = tiles[node]
        order = torch.argsort(tile, stable=True)
        (x, dx, ddx), (y, dy, ddy) = product[order].movedim(0, -1)
        return Blend(
            point[order], tile[order], x * y, torch.stack([dx * y, x * dy], -1), torch.stack([ddx * y, x * ddy], -1)
        )

    @cached_property
    def max_overlap(self) -> int:
        """How many tiles may answer for one point, see :meth:`blend`: an upper bound.

        They come within a halo of it. Of points in that square, no further apart than the shortest tile is long,
        each tile has one of its own.

        Example:
            >>> Tiling.of(np.ones((512, 768)), count=64, halo=2.0).max_overlap
            4
        """
        boxes = np.array(self.tree.boxes)
        least = (boxes[:, 2:] - boxes[:, :2]).min(0).tolist()
        most = 1
        for shortest, side in zip(least, (self.width, self.height), strict=True):
            most *= 1 if shortest == side else 1 + ceil(min(2 * self.halo / shortest, self.count))
        return min(self.count, most)

    @cached_property
    def tree(self) -> "Tree":
        """The nodes with their children and tiles, from one walk over them, which also checks them."""
        nodes = self.nodes.tolist()
        lower, upper = np.zeros(len(nodes), np.int64), np.zeros(len(nodes), np.int64)
        tile = np.full(len(nodes), _LEAF, np.int64)
        boxes: list[tuple[int, int, int, int]] = []
        depth = 0
        # What is still to be visited: a box, the upper child's parent if it is one, and how many cuts are above.
        waiting: list[tuple[tuple[int, int, int, int], int, int]] = [((0, 0, self.width, self.height), _LEAF, 0)]
        for index, (axis, cut) in enumerate(nodes):
            if not waiting:
                raise ValueError(f"the tree of tiles ends at node {index} of {len(nodes)}")
            (x0, y0, x1, y1), parent, above = waiting.pop()
            depth = max(depth, above)
            if parent != _LEAF:
                upper[parent] = index
            if axis == _LEAF:
                tile[index] = len(boxes)
                boxes.append((x0, y0, x1, y1))
                continue
            if axis not in (0, 1) or not ((x0, y0)[axis] < cut < (x1, y1)[axis]):
                raise ValueError(f"node {index} of the tree of tiles cuts axis {axis} at {cut}, outside its box")
            lower[index] = index + 1
            waiting.append(((cut, y0, x1, y1) if axis == 0 else (x0, cut, x1, y1), index, above + 1))
            waiting.append(((x0, y0, cut, y1) if axis == 0 else (x0, y0, x1, cut), _LEAF, above + 1))
        if waiting:
            raise ValueError(f"the tree of tiles has {len(nodes)} nodes, too few")
        axis, cut = self.nodes.astype(np.int64).T.copy()
        return Tree(axis, cut, lower, upper, tile, boxes, depth)


class Tree(NamedTuple):
    """The k-d tree of a :class:`Tiling`, a column a property and an entry a node.

    Attributes:
        axis: 0 or 1 that the node cuts across, -1 where it is a tile.
        cut: at this pixel edge.
        lower: node on the lower side.
        upper: node on the upper side.
        tile: that the node is, else -1.
        boxes: of the tiles, ``(x0, y0, x1, y1)`` in pixels, halo not included.
        depth: cuts above the deepest tile.
    """

    axis: Int[np.ndarray, " nodes"]
    cut: Int[np.ndarray, " nodes"]
    lower: Int[np.ndarray, " nodes"]
    upper: Int[np.ndarray, " nodes"]
    tile: Int[np.ndarray, " nodes"]
    boxes: list[tuple[int, int, int, int]]
    depth: int


def _multiplied(
    product: Float[Tensor, "entries 2 3"], axis: Int[Tensor, " entries"], factor: Float[Tensor, "entries 3"]
) -> Float[Tensor, "entries 2 3"]:
    """Multiply one axis' product by one more factor, first and second derivative by the product rule."""
    rows = torch.arange(len(axis), device=axis.device)
    value, slope, bend = product[rows, axis].unbind(-1)
    f, df, ddf = factor.unbind(-1)
    one = torch.stack([value * f, slope * f + value * df, bend * f + 2 * slope * df + value * ddf], -1)
    chosen = (axis[:, None] == torch.arange(2, device=axis.device))[..., None]
    return torch.where(chosen, one[:, None], product)
