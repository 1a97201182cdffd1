"""The native evaluator of compact fields, in float32 on as many threads as PyTorch has."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eoren.backends.latents.base import Features
from eoren.backends.latents.windows import Recent, Windows, pixels_at
from eoren.backends.mosaic_evaluation import Jet
from eoren.backends.native import NativeBackend, _networks, check_status, data_ptr, tensor_obstacle
from eoren.backends.native_library import (
    MAX_CHANNELS,
    Convolution,
    LatentField,
    LatentGrid,
    LatentPoints,
    LatentWindow,
    loaded_library,
)
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.edge_prior import LEAK, EdgePrior
from eoren.model.latents.wavelet import Subbands, flatten, image_size, unflatten

_PADDING = 3  # spline coefficients beyond every end of a window
_TAIL = 16  # floats that the library may read behind the features
_PIXELS_TAIL = 64  # behind the input of a convolution
_STREAMS = {"color": 1, "gradient": 3, "laplacian": 4}


class _Window(NamedTuple):
    """Features of a window with its margin, as samples or as spline coefficients."""

    features: Float[Tensor, " floats"]
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
        self._channels = decoder.linear.shape[1]
        # Without a SIREN, colours are features themselves.
        siren, self._linear = decoder.siren, None
        self._features = features.mixed(decoder.linear) if siren is None else features
        if siren is not None:
            self._linear = decoder.linear.contiguous()
            first = decoder.gains()[:, None] * siren.weights[0]
            tensors = [first, *siren.tensors()[1:]]
            self._siren = siren.with_tensors([t.contiguous() for t in tensors])
        self._count = self._channels if siren is None else len(decoder.linear)

    @staticmethod
    def obstacle(decoder: ColorDecoder) -> str | None:
        """Return why the library cannot compute with this decoder, or None if it can."""
        linear = decoder.linear
        if obstacle := tensor_obstacle(linear):
            return obstacle
        if linear.shape[1] > MAX_CHANNELS:
            return f"channels must be at most {MAX_CHANNELS}, got {linear.shape[1]}"
        return None if decoder.siren is None else NativeBackend.obstacle(decoder.siren)

    @staticmethod
    def predict_details(prior: EdgePrior, pixels: Float[Tensor, "colors rows columns"]) -> Tensor:
        """Compute the outputs of an edge prior."""
        colors, rows, columns = pixels.shape
        memory = torch.zeros(pixels.numel() + _PIXELS_TAIL, dtype=torch.float32)
        memory[: pixels.numel()] = pixels.flatten()
        outputs = torch.empty(
            len(prior.biases[-1]), rows - 2 * prior.radius, columns - 2 * prior.radius, dtype=torch.float32
        )
        layers = range(len(prior.weights))
        call = Convolution(len(layers), rows, columns, leak=LEAK, input_stride=columns)
        call.input, call.output = data_ptr(memory), data_ptr(outputs)
        call.width[: len(layers) + 1] = colors, *(len(bias) for bias in prior.biases)
        call.side[: len(layers)] = [weight.shape[-1] for weight in prior.weights]
        for k in layers:
            call.weight[k], call.bias[k] = prior.weights[k].ctypes.data, prior.biases[k].ctypes.data
        check_status(loaded_library().eoren_convolve(call, torch.get_num_threads()))
        return outputs

    @torch.no_grad()
    def jet(
        self,
        points: Float[Tensor, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Evaluate at any points."""
        count, channels, windows = len(points), self._channels, self._windows
        given = points.double().contiguous()
        color = torch.empty(count, channels, dtype=torch.float32)
        slopes = torch.empty(count, channels, 2, dtype=torch.float32) if gradient or laplacian else None
        bends = torch.empty(count, channels, dtype=torch.float32) if laplacian else None
        order = torch.empty(count, dtype=torch.int64)
        first = torch.empty(len(windows.boxes) + 1, dtype=torch.int64)
        size = torch.tensor(self._size, dtype=torch.float64)
        edges = [torch.tensor(edges, dtype=torch.int64) for edges in (windows.columns, windows.rows)]
        status = loaded_library().eoren_sort_points(
            data_ptr(given, torch.float64),
            count,
            data_ptr(size, torch.float64),
            *(value for axis in edges for value in (data_ptr(axis, torch.int64), len(axis) - 1)),
            data_ptr(first, torch.int64),
            data_ptr(order, torch.int64),
        )
        check_status(status)
        for number in torch.nonzero(first.diff()).flatten().tolist():
            start, end = first[number : number + 2].tolist()
            window = self._window(number, _PADDING)
            call = LatentPoints(
                field=self._field(window, extent, color=color, gradient=slopes, laplacian=bends),
                point=data_ptr(given, torch.float64),
                count=end - start,
                order=data_ptr(order[start:end], torch.int64),
            )
            call.size[:], call.corner[:] = self._size, window.corner
            check_status(loaded_library().eoren_evaluate_latents(call, torch.get_num_threads()))
        return Jet(color, slopes, bends)

    @torch.no_grad()
    def sample(
        self,
        x: Float[Tensor, " columns"],
        y: Float[Tensor, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[Tensor, ...]:
        """Evaluate quantities on a grid."""
        shape = (len(y), len(x), self._channels)
        outputs = {q: torch.empty((*shape, 2) if q == "gradient" else shape, dtype=torch.float32) for q in quantities}
        position = [p.numpy() * side - 0.5 for p, side in zip((x, y), self._size, strict=True)]
        for number, columns, rows in self._windows.cells(*position):
            parts = [p[part] for p, part in zip(position, (columns, rows), strict=True)]
            centers = [pixels_at(p, side) for p, side in zip(parts, self._size, strict=True)]
            exact = [p.astype(np.float64) for p in centers if p is not None]
            at_pixels = len(exact) == 2 and set(quantities) <= {"color"}
            window = self._window(number, 0 if at_pixels else _PADDING)
            places = [
                torch.from_numpy(np.ascontiguousarray(p - first))
                for p, first in zip(exact if at_pixels else parts, window.corner, strict=True)
            ]
            views = {q: output[rows.start :, columns.start :] for q, output in outputs.items()}
            call = LatentGrid(
                field=self._field(window, extent, **views),
                columns=len(places[0]),
                rows=len(places[1]),
                x=data_ptr(places[0], torch.float64),
                y=data_ptr(places[1], torch.float64),
                pitch=len(x),
            )
            check_status(loaded_library().eoren_render_latents(call, torch.get_num_threads()))
        return tuple(outputs[quantity] for quantity in quantities)

    def _field(self, window: _Window, extent: Sequence[float], **outputs: Tensor | None) -> LatentField:
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
            **{name: output.data_ptr() for name, output in wanted.items()},
        )
        if self._linear is not None:
            field.siren = _networks(self._siren)
        field.unit[:] = [side / length for side, length in zip(self._size, extent, strict=True)]
        return field

    def _window(self, number: int, padding: int) -> _Window:
        return self._recent.get(
            (number, padding), lambda: self._compute(number, padding), lambda window: window.features.numel()
        )

    def _compute(self, number: int, padding: int) -> _Window:
        """Compute the features of a window: samples, or with padding, spline coefficients."""
        box = self._windows.boxes[number]
        outer = self._features.with_margin(box)
        bands = unflatten([_with_adjacent_columns(b) for b in flatten(self._features.window_bands(outer))])
        rows, columns = image_size(bands)
        stride = -(-(columns + 2 * padding) * self._count // 16) * 16
        features = torch.empty((rows + 2 * padding) * stride + _TAIL, dtype=torch.float32)
        features[-_TAIL:] = 0
        groups = 1 + len(bands.details) if self._features.separate else 1
        call = describe_window(bands, features, groups=groups, padding=padding, stride=stride)
        check_status(loaded_library().eoren_latent_features(call, torch.get_num_threads()))
        return _Window(features, rows, columns, padding, stride, (outer.x0, outer.y0))


def describe_window(bands: Subbands, features: Tensor, *, groups: int, padding: int, stride: int) -> LatentWindow:
    """Describe a window for the library.

    Args:
        bands: bands of the window, whose columns are adjacent in memory; the library reads them.
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
        lowpass=bands.coarse.data_ptr(),
        padding=padding,
        stride=stride,
        features=data_ptr(features),
    )
    window.lowpass_stride[:] = bands.coarse.stride()[:2]
    for k, band in enumerate(flatten(bands)[1:]):
        window.detail[k] = band.data_ptr()
        window.channel_stride[k], window.row_stride[k] = band.stride()[:2]
    return window


def _with_adjacent_columns(band: Float[Tensor, "channels rows columns"]) -> Tensor:
    return band if band.stride(2) == 1 else band.contiguous()
