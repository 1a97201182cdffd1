"""The evaluator of compact fields with an edge prior: the field without it, and weighted details.

With the weight w of the details D (:mod:`eoren.model.latents.edge_prior`)::

    Phi      = Phi_0 + w D
    grad Phi = grad Phi_0 + w grad D + D grad w
    L Phi    = L Phi_0 + w L D + 2 grad w . grad D + D L w

The details are a field of latents too, one of no levels, whose windows the network computes from the pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from eoren.backends.latents.base import Features, LatentBackend, LatentEvaluator, PredictDetails
from eoren.backends.latents.windows import pixels_at
from eoren.backends.mosaic_evaluation import Jet
from eoren.coding.bands import Box
from eoren.model.arrays import Array, Tensor, as_tensor, is_tensor, like, namespace
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.edge_prior import SCALE, EdgePrior, center_bump, edge_prior, to_detail_image
from eoren.model.latents.spline_basis import REACH
from eoren.model.latents.wavelet import Subbands


@dataclass(frozen=True, eq=False)
class DetailFeatures:
    """The detail image of a field, computed window by window; see :class:`eoren.backends.latents.base.Features`.

    Attributes:
        base: evaluator of the field without the prior.
        prior: network for the colours of the field.
        predict: function that computes the outputs of the network.
        size: width and height of the image in pixels.
        channels: channels of the image; alpha has no details.
    """

    base: LatentEvaluator
    prior: EdgePrior
    predict: PredictDetails
    size: tuple[int, int]
    channels: int
    separate: bool = False

    @classmethod
    def of(cls, backend: LatentBackend, features: Features, decoder: ColorDecoder, version: int) -> "DetailFeatures":
        """Return the details of a field; see :class:`PriorEvaluator`."""
        channels = decoder.linear.shape[1]
        prior = edge_prior(version, 3 if channels >= 3 else 1)
        size = features.width, features.height
        return cls(backend(features, decoder), prior, backend.predict_details, size, channels)

    @property
    def width(self) -> int:
        """Width of the detail image."""
        return SCALE * self.size[0]

    @property
    def height(self) -> int:
        """Height of the detail image."""
        return SCALE * self.size[1]

    def as_tensors(self, like: Tensor) -> "DetailFeatures":
        """Return the features themselves: they are tensors if those of the base are."""
        del like
        return self

    def mixed(self, linear: Float[Array, "features channels"]) -> "DetailFeatures":
        """Return the features themselves: their decoder is the identity."""
        del linear
        return self

    def with_margin(self, box: Box) -> Box:
        """Return the detail pixels that the spline of a window depends on."""
        left, top = max(0, box.x0 - REACH), max(0, box.y0 - REACH)
        return Box(left, top, min(box.x1 + REACH, self.width), min(box.y1 + REACH, self.height))

    def window(self, box: Box) -> tuple[Float[Array, "features rows columns"], tuple[int, int]]:
        """Compute the details of a window with its margin, and return the column and row of the first of them."""
        outer = self.with_margin(box)
        return self.window_bands(outer).coarse, (outer.x0, outer.y0)

    def window_bands(self, outer: Box) -> Subbands:
        """Compute the details of some pixels, as latents of no levels."""
        radius, places, spans = self.prior.radius, [], []
        for start, end, side in zip(outer[:2], outer[2:], self.size, strict=True):
            # Beyond the border, pixels repeat the outermost ones.
            pixels = np.arange(start // SCALE - radius, end // SCALE + radius).clip(0, side - 1)
            spans.append((int(pixels[0]), int(pixels[-1]) + 1))
            places.append(pixels - pixels[0])
        (x0, x1), (y0, y1) = spans
        columns, rows = places
        colors = self.base.pixels(Box(x0, y0, x1, y1))[: self.prior.colors]
        details = to_detail_image(self.predict(self.prior, colors[:, rows][:, :, columns]))
        alpha = like(details, np.zeros((self.channels - len(details), *details.shape[1:])))
        return Subbands(namespace(details).concatenate([details, alpha]), ())


class PriorEvaluator:
    """Evaluates a field with its details; see :class:`eoren.backends.latents.base.LatentEvaluator`.

    Args:
        backend: evaluator of a backend, for the field without the prior and for the details.
        features: features of the field.
        decoder: its color decoder.
        version: version of the edge prior.
    """

    def __init__(self, backend: LatentBackend, features: Features, decoder: ColorDecoder, version: int) -> None:
        self._backend, self._features = backend, DetailFeatures.of(backend, features, decoder, version)
        self._base, self._size = self._features.base, self._features.size
        self._identity = ColorDecoder(like(decoder.linear, np.eye(self._features.channels)))
        # Where PyTorch follows the colours, it follows the details; each call then needs a graph of its own.
        follows = any(is_tensor(t) and t.requires_grad for t in decoder.tensors())
        self._kept = None if follows else backend(self._features, self._identity)

    def _details(self) -> LatentEvaluator:
        """Return the evaluator of the details, plus one half."""
        return self._kept or self._backend(self._features, self._identity)

    def jet(
        self,
        points: Float[Array, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Evaluate at any points."""
        base = self._base.jet(points, gradient=gradient, laplacian=laplacian, extent=extent)
        points = as_tensor(points) if is_tensor(base.color) else points
        details = self._details().jet(points, gradient=gradient or laplacian, laplacian=laplacian, extent=extent)
        position = [points[:, axis : axis + 1] * side - 0.5 for axis, side in enumerate(self._size)]
        return Jet(**self._sums(_quantities(base), _quantities(details), position, extent))

    def sample(
        self,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[np.ndarray, ...]:
        """Evaluate quantities on a grid."""
        samples = self._base.sample(x, y, *quantities, extent=extent)
        position = [line * side - 0.5 for line, side in zip((x, y), self._size, strict=True)]
        at_centers = [pixels_at(p, side) is not None for p, side in zip(position, self._size, strict=True)]
        if all(at_centers) and "laplacian" not in quantities:
            return samples  # the details and their slopes have no weight there
        count = 1 + max(Jet._fields.index(quantity) for quantity in quantities)
        names = Jet._fields[:count]
        details = dict(zip(names, self._details().sample(x, y, *names, extent=extent), strict=True))
        base = dict(zip(quantities, samples, strict=True))
        sums = self._sums(base, details, [position[0][None, :, None], position[1][:, None, None]], extent)
        return tuple(sums[quantity] for quantity in quantities)

    def pixels(self, box: Box) -> Float[Array, "channels rows columns"]:
        """Evaluate the colours at the centres of pixels, where the details have no weight."""
        return self._base.pixels(box)

    def _sums(
        self,
        base: Mapping[str, Array],
        details: Mapping[str, Array],
        position: Sequence[Array],
        extent: tuple[float, float],
    ) -> dict[str, Array]:
        """Add weighted details to some quantities.

        Args:
            base: quantities of the field without the prior.
            details: those of the details plus one half that the sums need.
            position: x and y in pixels, which broadcast.
            extent: width and height of the image in the units of the derivatives.
        """
        value = details["color"] - 0.5
        units = [side / length for side, length in zip(self._size, extent, strict=True)]

        def bumps(*orders: int) -> Array:
            """Compute the product of the bumps along both axes, or one of its derivatives."""
            across, down = (
                like(value, center_bump(position[axis], self._size[axis], order) * units[axis] ** order)
                for axis, order in enumerate(orders)
            )
            return across * down

        weight, slopes = 1 - bumps(0, 0), (-bumps(1, 0), -bumps(0, 1))
        sums = {}
        if "color" in base:
            sums["color"] = base["color"] + weight * value
        if "gradient" in base:
            steps = [weight * details["gradient"][..., k] + slope * value for k, slope in enumerate(slopes)]
            sums["gradient"] = base["gradient"] + namespace(value).stack(steps, -1)
        if "laplacian" in base:
            along = slopes[0] * details["gradient"][..., 0] + slopes[1] * details["gradient"][..., 1]
            bend = bumps(2, 0) + bumps(0, 2)
            sums["laplacian"] = base["laplacian"] + weight * details["laplacian"] + 2 * along - bend * value
        return sums


def _quantities(jet: Jet) -> dict[str, Array]:
    return {name: value for name, value in jet._asdict().items() if value is not None}
