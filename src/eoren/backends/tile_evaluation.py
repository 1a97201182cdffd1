"""Evaluation of networks at all pixels of their tiles: for channel tuning, and for metrics of many images."""

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.backends.base import chunk_points
from eoren.backends.dispatch import choose_backend
from eoren.model.moments import Moments
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels


def tuning_moments(siren: Siren, pixels: TilePixels) -> Moments:
    """Accumulate, over all pixels of every tile, the sums from which channel tuning follows."""
    moments = Moments(siren.batch, siren.channels, pixels.color.device)
    backend = choose_backend(siren)
    with torch.no_grad():
        for tile, points in pixels.every_pixel(chunk_points(siren, streams=1)):
            index, positions = pixels.pixels(tile, points)
            count = points.new_tensor([len(points)])
            prediction = backend.evaluate(siren.select(tile), pixels.local(positions, tile)[0], count)
            moments.add(tile, prediction.movedim(1, 0), pixels.color[index])
    return moments


def predict_all_pixels(siren: Siren, pixels: TilePixels) -> Float[Tensor, "networks 3 pixels channels"]:
    """Evaluate value, d/dx and d/dy per pixel of networks whose tiles have one size, at all their pixels."""
    assert len((pixels.boxes[:, 2:] - pixels.boxes[:, :2]).unique(dim=0)) == 1
    _, positions = pixels.pixels(slice(0, 1), torch.arange(pixels.most, device=pixels.color.device))
    points = pixels.local(positions, slice(0, 1)).expand(siren.batch, -1, -1)
    scale = (1 / pixels.half_extents)[:, None].expand(-1, 2)
    counts = torch.full((siren.batch,), pixels.most, dtype=torch.int64, device=points.device)
    with torch.no_grad():
        prediction: Tensor = choose_backend(siren).evaluate(
            siren, points.flatten(0, 1), counts, axes=(0, 1), scale=scale
        )
    return prediction.reshape(siren.batch, pixels.most, 3, siren.channels).movedim(1, 2)
