"""The evaluator of compact fields with an edge prior: the field without it, and weighted details.

With the weight w of the details D (:mod:`eoren.model.latents.edge_prior`)::

    Phi      = Phi_0 + w D
    grad Phi = grad Phi_0 + w grad D + D grad w
    L Phi    = L Phi_0 + w L D + 2 grad w . grad D + D L w

The details are a field of latents too, one of no levels, whose windows the network computes from the pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eoren.backends.latents.base import Features, LatentBackend, LatentEvaluator, PredictDetails
from eoren.backends.latents.windows import pixels_at
from eoren.backends.mosaic_evaluation import Jet
from eoren.coding.bands import Box
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

    @property
    def width(self) -> int:
        """Width of the detail image."""
        return SCALE * self.size[0]

    @property
    def height(self) -> int:
        """Height of the detail image."""
        return SCALE * self.size[1]

    def mixed(self, linear: Float[Tensor, "features channels"]) -> "DetailFeatures":
        """Return the features themselves: their decoder is the identity."""
        del linear
        return self

    def with_margin(self, box: Box) -> Box:
        """Return the detail pixels that the spline of a window depends on."""
        left, top = max(0, box.x0 - REACH), max(0, box.y0 - REACH)
        return Box(left, top, min(box.x1 + REACH, self.width), min(box.y1 + REACH, self.height))

    def window(self, box: Box) -> tuple[Float[Tensor, "features rows columns"], tuple[int, int]]:
        """Compute the details of a window with its margin, and return the column and row of the first of them."""
        outer = self.with_margin(box)
        return self.window_bands(outer).coarse, (outer.x0, outer.y0)

    def window_bands(self, outer: Box) -> Subbands:
        """Compute the details of some pixels, as latents of no levels."""
        radius, places, lines = self.prior.radius, [], []
        for start, end, side in zip(outer[:2], outer[2:], self.size, strict=True):
            # Beyond the border, pixels repeat the outermost ones.
            pixels = np.arange(start // SCALE - radius, end // SCALE + radius).clip(0, side - 1)
            first, last = pixels[0], pixels[-1]
            lines.append((torch.arange(first, last + 1, dtype=torch.float64) + 0.5) / side)
            places.append(torch.from_numpy(pixels - first))
        colors = self.base.sample(*lines, "color")[0][..., : self.prior.colors]
        columns, rows = (place.to(colors.device) for place in places)
        pixels = colors.permute(2, 0, 1)[:, rows][:, :, columns].contiguous()
        details = to_detail_image(self.predict(self.prior, pixels))
        alpha = details.new_zeros(self.channels - len(details), *details.shape[1:])
        return Subbands(torch.cat([details, alpha]), ())


class PriorEvaluator:
    """Evaluates a field with its details; see :class:`eoren.backends.latents.base.LatentEvaluator`.

    Args:
        backend: evaluator of a backend, for the field without the prior and for the details.
        features: features of the field.
        decoder: its color decoder.
        version: version of the edge prior.
    """

    def __init__(self, backend: LatentBackend, features: Features, decoder: ColorDecoder, version: int) -> None:
        self._size = features.width, features.height
        self._backend, self._base = backend, backend(features, decoder)
        channels = decoder.linear.shape[1]
        prior = edge_prior(version, 3 if channels >= 3 else 1)
        self._features = DetailFeatures(self._base, prior, backend.predict_details, self._size, channels)
        self._identity = ColorDecoder(torch.eye(channels, dtype=torch.float32).to(decoder.linear))
        # Where PyTorch follows the colours, it follows the details; each call then needs a graph of its own.
        follows = any(t.requires_grad for t in decoder.tensors())
        self._kept = None if follows else backend(self._features, self._identity)

    def _details(self) -> LatentEvaluator:
        """Return the evaluator of the details, plus one half."""
        return self._kept or self._backend(self._features, self._identity)

    def jet(
        self,
        points: Float[Tensor, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Evaluate at any points."""
        jet = self._base.jet(points, gradient=gradient, laplacian=laplacian, extent=extent)
        details = self._details().jet(points, gradient=gradient or laplacian, laplacian=laplacian, extent=extent)
        axes = [(points[:, axis : axis + 1] * side - 0.5, side) for axis, side in enumerate(self._size)]
        return Jet(*_sums(jet, details, axes, extent))

    def sample(
        self,
        x: Float[Tensor, " columns"],
        y: Float[Tensor, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[Tensor, ...]:
        """Evaluate quantities on a grid."""
        samples = self._base.sample(x, y, *quantities, extent=extent)
        position = [line * side - 0.5 for line, side in zip((x, y), self._size, strict=True)]
        at_centers = [pixels_at(p.numpy(), side) is not None for p, side in zip(position, self._size, strict=True)]
        if all(at_centers) and "laplacian" not in quantities:
            return samples  # the details and their slopes have no weight there
        wanted = ("color", "gradient", "laplacian")
        wanted = wanted[: 1 + max(wanted.index(quantity) for quantity in quantities)]
        details = self._details().sample(x, y, *wanted, extent=extent)
        axes = [(position[0][None, :, None], self._size[0]), (position[1][:, None, None], self._size[1])]
        base = dict(zip(quantities, samples, strict=True))
        jet = Jet(*(base.get(quantity) for quantity in ("color", "gradient", "laplacian")))
        sums = Jet(*_sums(jet, Jet(*details), axes, extent))
        return tuple(getattr(sums, quantity) for quantity in quantities)


def _sums(
    base: Jet, details: Jet, axes: list[tuple[Tensor, int]], extent: tuple[float, float]
) -> list[Tensor | None]:
    """Add weighted details to the quantities that the base has.

    Args:
        base: quantities of the field without the prior.
        details: colour of the details, plus one half, and the derivatives that the sums need.
        axes: positions in pixels and sides of the image, along x and y.
        extent: width and height of the image in the units of the derivatives.
    """
    value = details.color - 0.5
    units = [side / length for (_, side), length in zip(axes, extent, strict=True)]

    def bumps(order_x: int, order_y: int) -> Tensor:
        """Compute the product of the bumps along both axes, or one of its derivatives."""
        across, down = (
            center_bump(position, side, order) * unit**order
            for (position, side), unit, order in zip(axes, units, (order_x, order_y), strict=True)
        )
        return across.to(value) * down.to(value)

    weight, slopes = 1 - bumps(0, 0), (-bumps(1, 0), -bumps(0, 1))
    color = None if base.color is None else torch.addcmul(base.color, weight, value)
    gradient = laplacian = None
    if base.gradient is not None:
        steps = [weight * details.gradient[..., axis] + slope * value for axis, slope in enumerate(slopes)]
        gradient = base.gradient + torch.stack(steps, -1)
    if base.laplacian is not None:
        across = sum(slope * details.gradient[..., axis] for axis, slope in enumerate(slopes))
        bend = bumps(2, 0) + bumps(0, 2)
        laplacian = base.laplacian + weight * details.laplacian + 2 * across - bend * value
    return [color, gradient, laplacian]
