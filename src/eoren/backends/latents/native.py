"""The native evaluator of compact fields, in float32."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from eoren.backends.latents.base import Features
from eoren.backends.latents.windows import Recent, Windows, pixel_centers, pixels_at
from eoren.backends.mosaic_evaluation import Jet
from eoren.backends.native import NativeBackend, array_obstacle, check_status, contiguous, data_ptr, describe_networks
from eoren.backends.native_library import (
    MAX_CHANNELS,
    Convolution,
    LatentField,
    LatentGrid,
    LatentPoints,
    LatentWindow,
    loaded_library,
    thread_count,
)
from eoren.coding.bands import Box
from eoren.model.arrays import Array, as_numpy, is_tensor, like
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.edge_prior import LEAK, EdgePrior
from eoren.model.latents.wavelet import Subbands, flatten, image_size, unflatten

_PADDING = 3  # spline coefficients beyond every end of a window
_TAIL = 16  # floats that the library may read behind the features
_PIXELS_TAIL = 64  # behind the input of a convolution
_STREAMS = {"color": 1, "gradient": 3, "laplacian": 4}


class _Window(NamedTuple):
    """Features of a window with its margin, as samples or as spline coefficients."""

    features: Float32[np.ndarray, " floats"]
    rows: int
    columns: int
    padding: int
    stride: int  # floats of a row
    corner: tuple[int, int]  # column and row of the first pixel


class NativeLatentEvaluator:
    """Evaluates a field of latents; see :class:`eoren.backends.latents.base.LatentEvaluator`."""

    def __init__(self, features: Features, decoder: ColorDecoder) -> None:
        self._size = features.width, features.height
        self._windows = Windows(*self._size)
        self._recent: Recent[_Window] = Recent()
        linear, siren = np.ascontiguousarray(as_numpy(decoder.linear)), decoder.siren
        self._channels = linear.shape[1]
        # Without a SIREN, colours are features themselves.
        self._linear = None if siren is None else linear
        self._features = features.mixed(linear) if siren is None else features
        if siren is not None:
            first = as_numpy(decoder.gains())[:, None] * as_numpy(siren.weights[0])
            self._siren = contiguous(siren.with_tensors([first, *siren.tensors()[1:]]))
        self._count = self._channels if siren is None else len(linear)

    @staticmethod
    def obstacle(decoder: ColorDecoder) -> str | None:
        """Return why the library cannot compute with this decoder, or None if it can."""
        linear = decoder.linear
        if obstacle := array_obstacle(linear):
            return obstacle
        if linear.shape[1] > MAX_CHANNELS:
            return f"channels must be at most {MAX_CHANNELS}, got {linear.shape[1]}"
        return None if decoder.siren is None else NativeBackend.obstacle(decoder.siren)

    @staticmethod
    def predict_details(prior: EdgePrior, pixels: Float[Array, "colors rows columns"]) -> Array:
        """Compute the outputs of an edge prior; tensors give tensors."""
        given, (colors, rows, columns) = as_numpy(pixels), pixels.shape
        memory = np.zeros(given.size + _PIXELS_TAIL, np.float32)
        memory[: given.size] = given.reshape(-1)
        inner = rows - 2 * prior.radius, columns - 2 * prior.radius
        outputs = np.empty((len(prior.biases[-1]), *inner), np.float32)
        layers = range(len(prior.weights))
        call = Convolution(len(layers), rows, columns, leak=LEAK, input_stride=columns)
        call.input, call.output = data_ptr(memory), data_ptr(outputs)
        call.width[: len(layers) + 1] = colors, *(len(bias) for bias in prior.biases)
        call.side[: len(layers)] = [weight.shape[-1] for weight in prior.weights]
        for k in layers:
            call.weight[k], call.bias[k] = data_ptr(prior.weights[k]), data_ptr(prior.biases[k])
        check_status(loaded_library().eoren_convolve(call, thread_count()))
        return like(pixels, outputs)

    def jet(
        self,
        points: Float[Array, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Evaluate at any points; tensors give tensors."""
        count, channels, windows = len(points), self._channels, self._windows
        given = np.ascontiguousarray(as_numpy(points), np.float64)
        color = np.empty((count, channels), np.float32)
        slopes = np.empty((count, channels, 2), np.float32) if gradient or laplacian else None
        bends = np.empty((count, channels), np.float32) if laplacian else None
        order = np.empty(count, np.int64)
        first = np.empty(len(windows.boxes) + 1, np.int64)
        size = np.array(self._size, np.float64)
        edges = [np.array(edges, np.int64) for edges in (windows.columns, windows.rows)]
        status = loaded_library().eoren_sort_points(
            data_ptr(given, "float64"),
            count,
            data_ptr(size, "float64"),
            *(value for axis in edges for value in (data_ptr(axis, "int64"), len(axis) - 1)),
            data_ptr(first, "int64"),
            data_ptr(order, "int64"),
        )
        check_status(status)
        for number in np.flatnonzero(np.diff(first)).tolist():
            start, end = first[number : number + 2].tolist()
            window = self._window(number, _PADDING)
            call = LatentPoints(
                field=self._field(window, extent, color=color, gradient=slopes, laplacian=bends),
                point=data_ptr(given, "float64"),
                count=end - start,
                order=data_ptr(order[start:end], "int64"),
            )
            call.size[:], call.corner[:] = self._size, window.corner
            check_status(loaded_library().eoren_evaluate_latents(call, thread_count()))
        return Jet(color, slopes, bends).like(points)

    def sample(
        self,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[np.ndarray, ...]:
        """Evaluate quantities on a grid."""
        shape = (len(y), len(x), self._channels)
        outputs = {q: np.empty((*shape, 2) if q == "gradient" else shape, np.float32) for q in quantities}
        position = [p * side - 0.5 for p, side in zip((x, y), self._size, strict=True)]
        for number, columns, rows in self._windows.cells(*position):
            parts = [p[part] for p, part in zip(position, (columns, rows), strict=True)]
            centers = [pixels_at(p, side) for p, side in zip(parts, self._size, strict=True)]
            exact = [p.astype(np.float64) for p in centers if p is not None]
            at_pixels = len(exact) == 2 and set(quantities) <= {"color"}
            window = self._window(number, 0 if at_pixels else _PADDING)
            places = [
                np.ascontiguousarray(p - first)
                for p, first in zip(exact if at_pixels else parts, window.corner, strict=True)
            ]
            views = {q: output[rows.start :, columns.start :] for q, output in outputs.items()}
            call = LatentGrid(
                field=self._field(window, extent, **views),
                columns=len(places[0]),
                rows=len(places[1]),
                x=data_ptr(places[0], "float64"),
                y=data_ptr(places[1], "float64"),
                pitch=len(x),
            )
            check_status(loaded_library().eoren_render_latents(call, thread_count()))
        return tuple(outputs[quantity] for quantity in quantities)

    def pixels(self, box: Box) -> Float32[np.ndarray, "channels rows columns"]:
        """Evaluate the colours at the centres of pixels."""
        return self.sample(*pixel_centers(box, self._size), "color")[0].transpose(2, 0, 1)

    def _field(self, window: _Window, extent: Sequence[float], **outputs: np.ndarray | None) -> LatentField:
        """Describe the field in a window; outputs may be views from a pixel of a grid on."""
        wanted = {name: output for name, output in outputs.items() if output is not None}
        field = LatentField(
            features=data_ptr(window.features),
            rows=window.rows,
            columns=window.columns,
            padding=window.padding,
            stride=window.stride,
            count=self._count,
            channels=self._channels,
            linear=None if self._linear is None else data_ptr(self._linear),
            streams=max((_STREAMS[name] for name in wanted), default=1),
            **{name: output.ctypes.data for name, output in wanted.items()},
        )
        if self._linear is not None:
            field.siren = describe_networks(self._siren)
        field.unit[:] = [side / length for side, length in zip(self._size, extent, strict=True)]
        return field

    def _window(self, number: int, padding: int) -> _Window:
        return self._recent.get(
            (number, padding), lambda: self._compute(number, padding), lambda window: window.features.size
        )

    def _compute(self, number: int, padding: int) -> _Window:
        """Compute the features of a window: samples, or with padding, spline coefficients."""
        box = self._windows.boxes[number]
        outer = self._features.with_margin(box)
        bands = unflatten([_with_adjacent_columns(b) for b in flatten(self._features.window_bands(outer))])
        rows, columns = image_size(bands)
        stride = -(-(columns + 2 * padding) * self._count // 16) * 16
        features = np.empty((rows + 2 * padding) * stride + _TAIL, np.float32)
        features[-_TAIL:] = 0
        groups = 1 + len(bands.details) if self._features.separate else 1
        call = describe_window(bands, features, groups=groups, padding=padding, stride=stride)
        check_status(loaded_library().eoren_latent_features(call, thread_count()))
        return _Window(features, rows, columns, padding, stride, (outer.x0, outer.y0))


def describe_window(bands: Subbands, features: Array, *, groups: int, padding: int, stride: int) -> LatentWindow:
    """Describe a window for the library.

    Args:
        bands: bands of the window, float32, whose columns are adjacent in memory; the library reads them.
        features: memory for the features, float32, which the library writes.
        groups: number of groups of features, 1 for their sum.
        padding: spline coefficients beyond every end, or 0 for samples.
        stride: floats of a row of features.
    """
    rows, columns = image_size(bands)
    window = LatentWindow(
        channels=len(bands.coarse),
        levels=len(bands.details),
        groups=groups,
        rows=rows,
        columns=columns,
        lowpass=_address(bands.coarse),
        padding=padding,
        stride=stride,
        features=data_ptr(features),
    )
    window.lowpass_stride[:] = _strides(bands.coarse)[:2]
    for k, band in enumerate(flatten(bands)[1:]):
        window.detail[k] = _address(band)
        window.channel_stride[k], window.row_stride[k] = _strides(band)[:2]
    return window


def _with_adjacent_columns(band: Float[np.ndarray, "channels rows columns"]) -> np.ndarray:
    return band if _strides(band)[2] == 1 else np.ascontiguousarray(band)


def _address(band: Array) -> int:
    address: int = band.data_ptr() if is_tensor(band) else band.ctypes.data
    return address


def _strides(band: Array) -> Sequence[int]:
    """Return the strides in elements."""
    return band.stride() if is_tensor(band) else [stride // band.itemsize for stride in band.strides]
