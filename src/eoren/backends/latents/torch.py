"""The evaluator of compact fields in PyTorch, which can differentiate results by points and by the color decoder."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from eoren.backends.latents.base import Features
from eoren.backends.latents.windows import Recent, Windows, pixel_centers, pixels_at
from eoren.backends.mosaic_evaluation import Jet
from eoren.coding.bands import Box
from eoren.model.arrays import Array, as_numpy, as_tensor
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.edge_prior import EdgePrior
from eoren.model.latents.spline_basis import PADDING, REACH, TAPS, coefficient_matrix, sampling_matrix, taps

_ORDERS = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2))  # by x and y: value, derivatives, second derivatives
_CHUNK_FLOATS = 1 << 20  # of the features of one chunk of points

Streams = Float[Tensor, "streams points features"]
# Features of a window, or spline coefficients, and the corner of their first pixel.
_Window = tuple[Tensor, tuple[int, int]]


class TorchLatentEvaluator:
    """Evaluates a field of latents; see :class:`eoren.backends.latents.base.LatentEvaluator`.

    Results at points are tensors; arrays become tensors on the CPU.
    """

    def __init__(self, features: Features, decoder: ColorDecoder) -> None:
        decoder = decoder.as_tensors()
        features = features.as_tensors(decoder.linear)
        if decoder.siren is None and not decoder.linear.requires_grad:
            # Without a SIREN, colours are features themselves.
            features = features.mixed(decoder.linear)
            decoder = ColorDecoder(torch.eye(decoder.linear.shape[1], dtype=decoder.linear.dtype).to(decoder.linear))
        self._features, self._decoder = features, decoder
        self._size = features.width, features.height
        self._windows = Windows(*self._size)
        self._recent: Recent[_Window] = Recent()

    @staticmethod
    def predict_details(prior: EdgePrior, pixels: Float[Tensor, "colors rows columns"]) -> Tensor:
        """Compute the outputs of an edge prior."""
        return prior(pixels)

    def jet(
        self,
        points: Float[Array, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Evaluate at any points."""
        orders = _ORDERS[: 5 if laplacian else 3 if gradient else 1]
        units = [side / length for side, length in zip(self._size, extent, strict=True)]
        linear, points = self._decoder.linear, as_tensor(points)
        position = points * points.new_tensor(self._size) - 0.5
        numbers = _window_numbers(self._windows, position.detach())
        order = torch.argsort(numbers, stable=True)
        windows, counts = torch.unique_consecutive(numbers[order], return_counts=True)
        parts = [linear.new_zeros(len(orders) - (len(orders) == 5), 0, linear.shape[1])]
        for number, inside in zip(windows.tolist(), order.split(counts.tolist()), strict=True):
            coefficients, corner = self._coefficients(number)
            chunk = max(1, _CHUNK_FLOATS // (coefficients.shape[-1] * TAPS * TAPS))
            for some in inside.split(chunk):
                streams = _at_points(coefficients, position[some] - points.new_tensor(corner), orders)
                parts.append(self._colors(streams, units))
        return _jet(torch.cat(parts, 1)[:, torch.argsort(order)])

    def sample(
        self,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[np.ndarray, ...]:
        """Evaluate quantities on a grid."""
        with torch.no_grad():
            return tuple(map(as_numpy, self._sample(x, y, *quantities, extent=extent)))

    def pixels(self, box: Box) -> Float[Tensor, "channels rows columns"]:
        """Evaluate the colours at the centres of pixels; PyTorch can follow them."""
        return self._sample(*pixel_centers(box, self._size), "color")[0].movedim(-1, 0)

    def _sample(
        self,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> list[Tensor]:
        orders = _ORDERS[: 5 if "laplacian" in quantities else 3 if "gradient" in quantities else 1]
        units = [side / length for side, length in zip(self._size, extent, strict=True)]
        linear = self._decoder.linear
        shape = (len(y), len(x), linear.shape[1])
        outputs = {q: linear.new_empty((*shape, 2) if q == "gradient" else shape) for q in quantities}
        position = [p * side - 0.5 for p, side in zip((x, y), self._size, strict=True)]
        for number, columns, rows in self._windows.cells(*position):
            samples, corner = self._samples(number)
            across = _sampled(samples, position[0][columns] - corner[0], [order[0] for order in orders])
            down = position[1][rows] - corner[1]
            strip = max(1, _CHUNK_FLOATS // (len(samples) * across[0].shape[-1] * len(orders)))
            for start in range(0, len(down), strip):
                part = down[start : start + strip]
                streams = _stacked_rows(across, part, [order[1] for order in orders])
                jet = _jet(self._colors(streams.flatten(2).transpose(1, 2), units))
                place = (slice(rows.start + start, rows.start + start + len(part)), columns)
                for quantity, output in outputs.items():
                    output[place] = getattr(jet, quantity).view(len(part), -1, *output.shape[2:])
        return [outputs[quantity] for quantity in quantities]

    def _colors(self, streams: Streams, units: Sequence[float]) -> Float[Tensor, "outputs points channels"]:
        """Apply the color decoder to features with derivatives in pixels; the result is per unit of the extent."""
        if len(streams) == 5:
            scaled = [streams[1] * units[0], streams[2] * units[1]]
            bent = streams[3] * units[0] ** 2 + streams[4] * units[1] ** 2
            streams = torch.stack([streams[0], *scaled, bent])
        elif len(streams) == 3:
            streams = torch.stack([streams[0], streams[1] * units[0], streams[2] * units[1]])
        colors: Tensor = self._decoder(streams, laplacian=len(streams) == 4)
        return colors

    def _samples(self, number: int) -> _Window:
        box = self._windows.boxes[number]
        return self._recent.get((number, 0), lambda: self._features.window(box), _floats)

    def _coefficients(self, number: int) -> _Window:
        """Return padded spline coefficients of a window, the features of a place side by side."""

        def compute() -> _Window:
            samples, corner = self._samples(number)
            rows, columns = (torch.from_numpy(coefficient_matrix(n)).to(samples) for n in samples.shape[1:])
            return (rows @ samples @ columns.T).permute(1, 2, 0).contiguous(), corner

        return self._recent.get((number, PADDING), compute, _floats)


def _window_numbers(windows: Windows, position: Float[Tensor, "points 2"]) -> Int[Tensor, " points"]:
    """Return the window of each position in pixels."""
    pixel = (position + 0.5).floor()
    column, row = (
        torch.bucketize(pixel[:, axis].contiguous(), pixel.new_tensor(edges[1:-1]), right=True)
        for axis, edges in enumerate((windows.columns, windows.rows))
    )
    return row * (len(windows.columns) - 1) + column


def _floats(window: _Window) -> int:
    return window[0].numel()


def _at_points(
    coefficients: Float[Tensor, "padded_rows padded_columns features"],
    position: Float[Tensor, "points 2"],
    orders: Sequence[tuple[int, int]],
) -> Streams:
    """Evaluate splines and their derivatives at positions in pixels of the window."""
    rows, columns, count = coefficients.shape
    highest = max(order for order, _ in orders)
    x = [taps(position[:, 0], columns - 2 * PADDING, order) for order in range(highest + 1)]
    y = [taps(position[:, 1], rows - 2 * PADDING, order) for order in range(highest + 1)]
    # Six adjacent coefficients at once: the rows of this view overlap.
    adjacent = coefficients.as_strided((rows * columns - TAPS + 1, TAPS * count), (count, 1))
    first = y[0][0][:, None] + torch.arange(TAPS, device=position.device)
    near = adjacent[first * columns + x[0][0][:, None]]  # (points, 6, 6 features)
    weights = [y[order_y][1][:, :, None] * x[order_x][1][:, None] for order_x, order_y in orders]
    stacked = torch.stack([w.flatten(1) for w in weights], 1).to(near)
    return (stacked @ near.view(len(near), TAPS * TAPS, count)).transpose(0, 1)


def _sampled(
    samples: Float[Tensor, "features rows columns"], position: np.ndarray, orders: Sequence[int]
) -> list[Tensor]:
    """Evaluate splines along the last axis, for each order of derivative."""
    length = samples.shape[-1]
    sampled = {}
    for order in set(orders):
        pixels = pixels_at(position, length) if order == 0 else None
        if pixels is not None:
            sampled[order] = samples[..., torch.from_numpy(pixels).to(samples.device)]
        else:
            matrix = torch.from_numpy(sampling_matrix(position, length, order)).to(samples)
            sampled[order] = samples @ matrix.T
    return [sampled[order] for order in orders]


def _stacked_rows(
    across: Sequence[Float[Tensor, "features rows columns"]], position: np.ndarray, orders: Sequence[int]
) -> Float[Tensor, "streams features positions columns"]:
    """Evaluate splines along y of one image per stream, from the rows that they depend on."""
    length = across[0].shape[1]
    first = int(np.clip(np.floor(position.min()) - REACH, 0, length - 1))
    end = int(np.clip(np.ceil(position.max()) + REACH, first + 1, length))
    streams = []
    for wide, order in zip(across, orders, strict=True):
        pixels = pixels_at(position, length) if order == 0 else None
        if pixels is not None:
            streams.append(wide[:, torch.from_numpy(pixels).to(wide.device)])
        else:
            matrix = torch.from_numpy(sampling_matrix(position - first, end - first, order)).to(wide)
            streams.append(matrix @ wide[:, first:end])
    return torch.stack(streams)


def _jet(streams: Float[Tensor, "streams points channels"]) -> Jet:
    gradient = torch.stack([streams[1], streams[2]], -1) if len(streams) > 1 else None
    return Jet(streams[0], gradient, streams[3] if len(streams) > 3 else None)
