"""Evaluation of compact fields: splines of the features, window by window, then the color decoder."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.backends.mosaic_evaluation import Jet
from eoren.coding.bands import Box, blocks
from eoren.model.color_decoder import ColorDecoder
from eoren.model.latent_features import LatentFeatures
from eoren.model.spline_basis import PADDING, TAPS, coefficient_matrix, sampling_matrix, taps

WINDOW = 512
"""Sides of windows in pixels, at most about one and a half of it."""
_ORDERS = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2))  # by x and y: value, derivatives, second derivatives
_CHUNK_FLOATS = 1 << 22  # of the features of one chunk of points
_KEPT_FLOATS = 1 << 25  # of the windows that are kept for later calls: 128 MiB

Streams = Float[Tensor, "streams points features"]


class LatentEvaluator:
    """Evaluates a field of latents anywhere; keeps the features of recently used windows.

    Args:
        features: features of the picture.
        decoder: color decoder, on the same device and of the same precision.
    """

    def __init__(self, features: LatentFeatures, decoder: ColorDecoder) -> None:
        self._features, self._decoder = features, decoder
        self._size = features.width, features.height
        self._boxes = blocks(*self._size, 3, WINDOW)
        self._columns, self._rows = _edges(self._boxes)
        self._kept: OrderedDict[int, tuple[Tensor, tuple[int, int]]] = OrderedDict()

    def jet(
        self,
        points: Float[Tensor, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Evaluate at any points; see :meth:`eoren.field.representation.Representation.jet`."""
        orders = _ORDERS[: 5 if laplacian else 3 if gradient else 1]
        units = [side / length for side, length in zip(self._size, extent, strict=True)]
        position = points * points.new_tensor(self._size) - 0.5
        numbers = self._window_numbers(position.detach())
        order = torch.argsort(numbers, stable=True)
        windows, counts = torch.unique_consecutive(numbers[order], return_counts=True)
        parts = [points.new_zeros(len(orders) - (len(orders) == 5), 0, self._decoder.linear.shape[1])]
        for number, inside in zip(windows.tolist(), order.split(counts.tolist()), strict=True):
            samples, corner = self._window(number)
            coefficients = _coefficients(samples)
            chunk = max(1, _CHUNK_FLOATS // (coefficients.shape[-1] * TAPS * TAPS))
            for some in inside.split(chunk):
                streams = _at_points(coefficients, position[some] - points.new_tensor(corner), orders)
                parts.append(self._colors(streams, units))
        return _jet(torch.cat(parts, 1)[:, torch.argsort(order)])

    def sample(
        self,
        x: Float[Tensor, " columns"],
        y: Float[Tensor, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[Tensor, ...]:
        """Evaluate quantities on a grid; see :meth:`eoren.field.representation.Representation.sample`."""
        orders = _ORDERS[: 5 if "laplacian" in quantities else 3 if "gradient" in quantities else 1]
        units = [side / length for side, length in zip(self._size, extent, strict=True)]
        linear = self._decoder.linear
        shape = (len(y), len(x), linear.shape[1])
        outputs = {q: linear.new_empty((*shape, 2) if q == "gradient" else shape) for q in quantities}
        position = [p.cpu().numpy() * side - 0.5 for p, side in zip((x, y), self._size, strict=True)]
        for number, columns, rows in self._cells(*position):
            samples, corner = self._window(number)
            matrices = [
                _matrices(p[part] - first, length, orders, axis)
                for axis, (p, part, first, length) in enumerate(
                    zip(position, (columns, rows), corner, samples.shape[:0:-1], strict=True)
                )
            ]
            across = [samples @ torch.from_numpy(m.T).to(linear) for m in matrices[0]]
            strip = max(1, _CHUNK_FLOATS // (len(samples) * across[0].shape[-1] * len(orders)))
            for start in range(0, rows.stop - rows.start, strip):
                part = slice(start, start + strip)
                streams = torch.stack(
                    [
                        torch.from_numpy(down[part]).to(linear) @ wide
                        for wide, down in zip(across, matrices[1], strict=True)
                    ]
                )
                count = streams.shape[2]
                jet = _jet(self._colors(streams.flatten(2).transpose(1, 2), units))
                place = (slice(rows.start + start, rows.start + start + count), columns)
                for quantity, output in outputs.items():
                    output[place] = getattr(jet, quantity).view(count, -1, *output.shape[2:])
        return tuple(outputs[quantity] for quantity in quantities)

    def _colors(self, streams: Streams, units: Sequence[float]) -> Float[Tensor, "outputs points channels"]:
        """Apply the color decoder to features and their derivatives in pixels; the result is per unit of the extent."""
        if len(streams) == 5:
            scaled = [streams[1] * units[0], streams[2] * units[1]]
            bent = streams[3] * units[0] ** 2 + streams[4] * units[1] ** 2
            return self._decoder(torch.stack([streams[0], *scaled, bent]), laplacian=True)
        if len(streams) == 3:
            streams = torch.stack([streams[0], streams[1] * units[0], streams[2] * units[1]])
        return self._decoder(streams)

    def _window_numbers(self, position: Float[Tensor, "points 2"]) -> Int[Tensor, " points"]:
        pixel = (position + 0.5).floor()
        column, row = (
            torch.bucketize(pixel[:, axis].contiguous(), pixel.new_tensor(edges[1:-1]), right=True)
            for axis, edges in enumerate((self._columns, self._rows))
        )
        return row * (len(self._columns) - 1) + column

    def _cells(self, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, slice, slice]]:
        """Yield windows with the columns and rows of a grid that lie in them."""
        columns, rows = _runs(x, self._columns), _runs(y, self._rows)
        for row, row_part in rows:
            for column, column_part in columns:
                yield row * (len(self._columns) - 1) + column, column_part, row_part

    def _window(self, number: int) -> tuple[Float[Tensor, "features rows columns"], tuple[int, int]]:
        """Return the features of a window and the corner of their first pixel."""
        if number not in self._kept:
            self._kept[number] = self._features.window(self._boxes[number])
            while len(self._kept) > 1 and sum(w.numel() for w, _ in self._kept.values()) > _KEPT_FLOATS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]


def _coefficients(
    samples: Float[Tensor, "features rows columns"],
) -> Float[Tensor, "padded_rows padded_columns features"]:
    """Compute padded spline coefficients, the features of a place side by side."""
    rows, columns = (torch.from_numpy(coefficient_matrix(n)).to(samples) for n in samples.shape[1:])
    return (rows @ samples @ columns.T).permute(1, 2, 0).contiguous()


def _at_points(
    coefficients: Float[Tensor, "padded_rows padded_columns features"],
    position: Float[Tensor, "points 2"],
    orders: Sequence[tuple[int, int]],
) -> Streams:
    """Evaluate splines and their derivatives at positions in pixels of the window."""
    rows, columns, count = coefficients.shape
    x = [taps(position[:, 0], columns - 2 * PADDING, order) for order in range(max(o for o, _ in orders) + 1)]
    y = [taps(position[:, 1], rows - 2 * PADDING, order) for order in range(max(o for _, o in orders) + 1)]
    offsets = torch.arange(TAPS, device=position.device)
    places = ((y[0][0][:, None] + offsets) * columns)[:, :, None] + (x[0][0][:, None] + offsets)[:, None]
    near = coefficients.view(-1, count)[places]  # (points, 6, 6, features)
    streams = []
    for order_x, order_y in orders:
        weights = (y[order_y][1][:, :, None] * x[order_x][1][:, None]).to(near)
        streams.append((weights.flatten(1)[:, None] @ near.flatten(1, 2))[:, 0])
    return torch.stack(streams)


def _matrices(position: np.ndarray, length: int, orders: Sequence[tuple[int, int]], axis: int) -> list[np.ndarray]:
    """Return the sampling matrices along one axis for each stream."""
    needed = {order[axis] for order in orders}
    matrices = {order: sampling_matrix(position, length, order) for order in needed}
    return [matrices[order[axis]] for order in orders]


def _jet(streams: Float[Tensor, "streams points channels"]) -> Jet:
    gradient = torch.stack([streams[1], streams[2]], -1) if len(streams) > 1 else None
    return Jet(streams[0], gradient, streams[3] if len(streams) > 3 else None)


def _edges(boxes: Sequence[Box]) -> tuple[list[int], list[int]]:
    """Return the edges of windows along x and y."""
    columns, rows = sorted({box.x0 for box in boxes}), sorted({box.y0 for box in boxes})
    return [*columns, boxes[-1].x1], [*rows, boxes[-1].y1]


def _runs(position: np.ndarray, edges: Sequence[int]) -> list[tuple[int, slice]]:
    """Return the runs of monotone positions that lie between the same edges."""
    numbers = np.searchsorted(edges[1:-1], np.floor(position + 0.5), side="right")
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    ends = np.r_[starts[1:], len(position)]
    return [(int(numbers[a]), slice(int(a), int(b))) for a, b in zip(starts, ends, strict=True)]
