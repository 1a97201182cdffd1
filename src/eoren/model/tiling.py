"""A tiling of an image: tiles that blend smoothly, small where the image has much detail.

Cuts form a k-d tree: each divides a box across its longer side, so that both sides have the same share of the
detail. At a cut at position e, the right side has the weight ``S((X - e) / halo)`` and the left side one minus that,
with S :func:`smooth_step` and X in pixels. The weight of a tile is the product over the cuts above it: weights sum to
one everywhere, whatever the tree, and vanish beyond the tile's box and halo.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32

from eoren.model.arrays import Array, as_tensor, is_tensor, like, namespace

MAX_OVERLAP = 64
"""Largest number of tiles that may overlap at one point of a field: it bounds the cost of a point."""
MIN_HALO = 1e-6
"""Smallest halo, in pixels. Second derivatives grow with the square of its inverse, and must fit into float32."""

_LEAF = -1


def smooth_step(t: Array) -> tuple[Array, Array, Array]:
    """Compute the quintic step from 0 at t = -1 to 1 at t = 1, and its first two derivatives; constant outside.

    It is twice continuously differentiable, so that colour, gradient and Laplacian are continuous where tiles blend.
    """
    s = ((t + 1) / 2).clip(0, 1)
    value = s**3 * (s * (6 * s - 15) + 10)
    first = 15 * (s * (s - 1)) ** 2
    second = 15 * s * (s - 1) * (2 * s - 1)
    return value, first, second


class Blend(NamedTuple):
    """The weights of tiles at some points: one entry per point and tile that covers it, sorted by tile."""

    point: Int[Array, " entries"]
    tile: Int[Array, " entries"]
    weight: Float[Array, " entries"]
    grad: Float[Array, "entries 2"]  # of the weight by (x, y), per unit-square side
    second_derivatives: Float[Array, "entries 2"]  # by x and by y, per unit-square side squared


@dataclass(frozen=True, eq=False)
class Tiling:
    """Tiles of an image of ``width x height`` pixels, as a k-d tree of cuts.

    The inputs of a network are *local* coordinates: isotropic, with the origin in the middle of the tile's pixels,
    and -1 and 1 at the ends of their longer side. So an image twice as wide as high is not squeezed, and every tile
    poses the same problem.

    Attributes:
        halo: half the width of the overlap at a cut, in pixels; at least :data:`MIN_HALO` where there is a cut.
        nodes: ``(2 tiles - 1, 2)``, the tree in pre-order: ``(0, x)`` or ``(1, y)`` cuts across x or y at that
            pixel edge, the lower side first; ``(-1, 0)`` is a tile.

    Raises:
        ValueError: the halo is too small or infinite; the nodes do not form a tree, or cut outside their box.
    """

    width: int
    height: int
    halo: float
    nodes: Int32[np.ndarray, "nodes 2"]

    @classmethod
    def single(cls, width: int, height: int) -> "Tiling":
        """Return a tiling of one tile."""
        return cls(width, height, 0.0, np.array([[_LEAF, 0]], np.int32))

    @classmethod
    def by_detail(
        cls, detail: Float[np.ndarray, "height width"], *, count: int, halo: float, smallest: int = 16
    ) -> "Tiling":
        """Divide an image into tiles with the same share of detail, a positive amount per pixel, each.

        There are fewer than ``count`` tiles where ``smallest``, their shortest side in pixels, leaves no room.
        """
        height, width = detail.shape
        nodes: list[tuple[int, int]] = []

        def divide(box: tuple[int, int, int, int], tiles: int) -> None:
            """Append the subtree that divides a box into ``tiles`` tiles, in pre-order."""
            x0, y0, x1, y1 = box
            axis = 0 if x1 - x0 >= y1 - y0 else 1
            start, length = (x0, x1 - x0) if axis == 0 else (y0, y1 - y0)
            if tiles == 1 or length < 2 * smallest:
                nodes.append((_LEAF, 0))
                return
            lower = tiles // 2
            share = np.cumsum(detail[y0:y1, x0:x1].sum(axis, dtype=np.float64))
            cut = 1 + int(np.argmin(np.abs(share - share[-1] * lower / tiles)))
            # Leave room on either side for its tiles, each at least as long as the smallest, in a square arrangement.
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
            raise ValueError(f"an image must have at least one pixel, got {self.width}x{self.height}")
        if self.count > 1 and not MIN_HALO <= self.halo < float("inf"):
            raise ValueError(f"halo must be finite and at least {MIN_HALO:g} pixels, got {self.halo}")
        assert len(self.tree.boxes) == self.count

    @property
    def count(self) -> int:
        """Number of tiles."""
        return (len(self.nodes) + 1) // 2

    @property
    def boxes(self) -> Int[np.ndarray, "count 4"]:
        """``(x0, y0, x1, y1)`` of each tile in pixels, without its halo: a partition of the image."""
        return np.array(self.tree.boxes)

    @cached_property
    def pixel_boxes(self) -> Int[np.ndarray, "count 4"]:
        """``(column0, row0, column1, row1)`` of the pixels of each tile, halo included, ends excluded."""
        box, size = self.boxes.astype(np.float64), np.array([self.width, self.height], np.float64)
        low, high = box[:, :2], box[:, 2:]
        # The centre of pixel j lies at j + 0.5. There is no halo beyond the border.
        first = np.where(low > 0, np.ceil(low - self.halo - 0.5), low).clip(0)
        last = np.where(high < size, np.floor(high + self.halo - 0.5) + 1, high)
        return np.concatenate([first, np.minimum(last, size)], 1).astype(np.int64)

    @cached_property
    def centres(self) -> Float[np.ndarray, "count 2"]:
        """Origin of the local coordinates of each tile, in pixels, float64."""
        centres: Float[np.ndarray, "count 2"] = (self.pixel_boxes[:, :2] + self.pixel_boxes[:, 2:]) / 2
        return centres

    @cached_property
    def half_extents(self) -> Float[np.ndarray, " count"]:
        """Pixels per unit of local coordinates of each tile: half its longer side, halo included, float64."""
        half_extents: Float[np.ndarray, " count"] = (self.pixel_boxes[:, 2:] - self.pixel_boxes[:, :2]).max(1) / 2
        return half_extents

    @cached_property
    def cuts(self) -> tuple[Int[np.ndarray, " count_and_one"], Float[np.ndarray, "cuts 3"]]:
        """The cuts above every tile: index of the first cut of each tile, and of the end; and the cuts.

        A cut is ``(axis, position in pixels, 1 if the tile lies on the upper side, else 0)``, float64.
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
        return np.array(first), np.array(cuts, np.float64).reshape(-1, 3)

    def groups(self, most: int) -> list[slice]:
        """Divide the tiles into groups of at most ``most`` neighbours, in order: whole branches of the tree."""
        leaves = np.zeros(len(self.nodes), np.int64)
        lower, upper = self.tree.lower, self.tree.upper
        for node in reversed(range(len(self.nodes))):  # children come after their parent
            cut = self.nodes[node, 0] != _LEAF
            leaves[node] = leaves[lower[node]] + leaves[upper[node]] if cut else 1
        groups: list[slice] = []
        waiting = [0]
        while waiting:
            node = waiting.pop()
            if leaves[node] <= max(most, 1):
                start = groups[-1].stop if groups else 0
                groups.append(slice(start, start + int(leaves[node])))
            else:
                waiting += [int(upper[node]), int(lower[node])]
        return groups

    def box(self, tiles: slice = slice(None)) -> tuple[int, int, int, int]:
        """Return ``(column0, row0, column1, row1)`` around the pixels of some tiles, halo included, ends excluded."""
        boxes = self.pixel_boxes[tiles]
        (x0, y0), (x1, y1) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
        return x0, y0, x1, y1

    def local(self, points: Float[Array, "entries 2"], tiles: Int[Array, " entries"]) -> Float[Array, "entries 2"]:
        """Convert unit-square points to the local coordinates of the tile given for each."""
        size, centres, half_extents = (
            like(points, array) for array in ((self.width, self.height), self.centres, self.half_extents)
        )
        return (points * size - centres[tiles]) / half_extents[tiles, None]

    @property
    def local_per_unit(self) -> Float[np.ndarray, "count 2"]:
        """Derivatives of the local coordinates of each tile by x and y of the unit square, float64."""
        per_unit: Float[np.ndarray, "count 2"] = np.array([self.width, self.height]) / self.half_extents[:, None]
        return per_unit

    def blend(self, points: Float[Array, "points 2"]) -> Blend:
        """Compute which tiles cover each point, and their weights; differentiable by the points.

        Points may lie anywhere in the plane: beyond the image the outermost tiles are continued.
        """
        xp = namespace(points)
        axis, cut, lower, upper, tiles = (_on_device(points, column) for column in self.tree[:5])
        cut, size, powers = (like(points, values) for values in (cut, (self.width, self.height), range(3)))
        position = points * size
        point = _on_device(points, np.arange(len(points)))
        node = xp.zeros_like(point)
        # The product of the steps along each axis, with two derivatives; the weight is the product of both axes.
        one, zero = xp.ones_like(points), xp.zeros_like(points)
        product = xp.stack([one, zero, zero], -1)
        done: list[tuple[Array, Array, Array]] = []
        while len(node) or not done:
            leaf = axis[node] == _LEAF
            done.append((point[leaf], node[leaf], product[leaf]))
            point, node, product = point[~leaf], node[~leaf], product[~leaf]
            across = axis[node]
            t = (position[point, across] - cut[node]) / (self.halo or 1.0)  # without a halo there is no cut
            steps = xp.stack(smooth_step(t), -1) * (size[across, None] / (self.halo or 1.0)) ** powers
            sides = []
            for goes, child, factor in ((t < 1, lower, like(points, (1, 0, 0)) - steps), (t > -1, upper, steps)):
                sides.append((point[goes], child[node[goes]], _multiplied(product[goes], across[goes], factor[goes])))
            point, node, product = (xp.concatenate(pair) for pair in zip(*sides, strict=True))
        point, node, product = (xp.concatenate(parts) for parts in zip(*done, strict=True))
        tile = tiles[node]
        order = xp.argsort(tile, stable=True) if is_tensor(tile) else np.argsort(tile, kind="stable")
        (x, dx, ddx), (y, dy, ddy) = xp.moveaxis(product[order], 0, -1)
        return Blend(
            point[order], tile[order], x * y, xp.stack([dx * y, x * dy], -1), xp.stack([ddx * y, x * ddy], -1)
        )

    @cached_property
    def max_overlap(self) -> int:
        """Upper bound of the number of tiles that overlap at one point, see :meth:`blend`.

        These tiles lie within a halo of the point. In a grid over that square, as fine as the shortest tile, each of
        them contains a grid point of its own.
        """
        boxes = np.array(self.tree.boxes)
        least = (boxes[:, 2:] - boxes[:, :2]).min(0).tolist()
        most = 1
        for shortest, side in zip(least, (self.width, self.height), strict=True):
            most *= 1 if shortest == side else 1 + ceil(min(2 * self.halo / shortest, self.count))
        return min(self.count, most)

    @cached_property
    def tree(self) -> "Tree":
        """The nodes with their children and tiles; building it checks them."""
        nodes = self.nodes.tolist()
        lower, upper = np.zeros(len(nodes), np.int64), np.zeros(len(nodes), np.int64)
        tile = np.full(len(nodes), _LEAF, np.int64)
        boxes: list[tuple[int, int, int, int]] = []
        depth = 0
        # Boxes to visit, with the parent of an upper child, and the number of cuts above.
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
    """The k-d tree of a :class:`Tiling`, one entry per node."""

    axis: Int[np.ndarray, " nodes"]  # 0 or 1; -1 for a tile
    cut: Int[np.ndarray, " nodes"]
    lower: Int[np.ndarray, " nodes"]  # index of the node on the lower side
    upper: Int[np.ndarray, " nodes"]
    tile: Int[np.ndarray, " nodes"]  # index of the tile, or -1
    boxes: list[tuple[int, int, int, int]]  # of the tiles, halo not included
    depth: int  # number of cuts above the deepest tile


def _on_device(points: Array, array: np.ndarray) -> Array:
    """Convert an array to a tensor on the device of points if these are a tensor."""
    return as_tensor(array).to(points.device) if is_tensor(points) else array


def _multiplied(
    product: Float[Array, "entries 2 3"], axis: Int[Array, " entries"], factor: Float[Array, "entries 3"]
) -> Float[Array, "entries 2 3"]:
    """Multiply the product of one axis by another factor; derivatives follow the product rule."""
    xp, rows = namespace(product), _on_device(product, np.arange(len(axis)))
    value, first, second = xp.moveaxis(product[rows, axis], -1, 0)
    f, df, ddf = xp.moveaxis(factor, -1, 0)
    changed = xp.stack([value * f, first * f + value * df, second * f + 2 * first * df + value * ddf], -1)
    is_axis = (axis[:, None] == _on_device(axis, np.arange(2)))[..., None]
    return xp.where(is_axis, changed[:, None], product)
