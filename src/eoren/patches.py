"""The pixels that some tiles of a picture answer for, ready to be asked for by tile and number."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.native import evaluate, is_native
from eoren.siren import Siren, chunk_points, propagate
from eoren.tiling import Tiling
from eoren.tuning import Moments

# Some of the tiles.
Tiles = slice | Tensor


class Patches:
    """Neighbouring tiles of a picture: their pixels, halo included, and where their networks see them.

    Nothing is kept of the picture but the box around them, so that a large one is worked on piece by piece.

    Args:
        image: ``(H, W, C)``, the whole picture.
        tiling: of the picture.
        tiles: which of its tiles; all by default.
        device: where to keep the pixels.

    Attributes:
        box: ``(column0, row0, column1, row1)`` around the pixels, in the picture, ends excluded.
        color: ``(pixels of the box, C)``.
        areas: ``(tiles,)``, pixels of the tiles without their halos.
        halves: ``(tiles,)``, pixels to a unit of local coordinates, see :attr:`eoren.tiling.Tiling.halves`.
        most: pixels of the largest tile.
        boxes: ``(tiles, 4)``, each tile's pixels in the box, halo included, ends excluded.
        columns: of the box.
        centres: ``(tiles, 2)``, origins of local coordinates in the box.

    Example:
        >>> patches = Patches(np.zeros((6, 8, 1), np.float32), Tiling.single(8, 6), device=torch.device("cpu"))
        >>> index, position = patches.pixels(slice(0, 1), torch.tensor([9]))
        >>> index.tolist(), position.tolist(), patches.local(position, slice(0, 1)).tolist()
        ([[9]], [[[1, 1]]], [[[-0.625, -0.375]]])
    """

    def __init__(
        self,
        image: Float[np.ndarray, "height width channels"],
        tiling: Tiling,
        tiles: slice = slice(None),
        *,
        device: torch.device,
    ) -> None:
        """Cut the pixels out of the picture."""
        boxes = tiling.pixel_boxes[tiles]
        origin, end = boxes[:, :2].amin(0), boxes[:, 2:].amax(0)
        self.box: tuple[int, int, int, int] = (*origin.tolist(), *end.tolist())
        x0, y0, x1, y1 = self.box
        self.color = torch.from_numpy(image[y0:y1, x0:x1].reshape(-1, image.shape[2])).to(device)
        self.areas = (tiling.boxes[tiles, 2:] - tiling.boxes[tiles, :2]).prod(1).float().to(device)
        self.halves = tiling.halves[tiles].float().to(device)
        spans = boxes[:, 2:] - boxes[:, :2]
        self.most = int(spans.prod(1).max())
        self.columns = x1 - x0
        self.boxes = (boxes - origin.repeat(2)).to(device)
        # Relative to the box: whole and half pixels are exact in float32, however large the picture.
        self.centres = (tiling.centres[tiles] - origin).float().to(device)

    def pixels(
        self, tiles: Tiles, points: Int[Tensor, " points"]
    ) -> tuple[Int[Tensor, "tiles points"], Int[Tensor, "tiles points 2"]]:
        """Pixels of the box that the tiles' points are: as indices, and as (column, row).

        Tiles differ in size; a small one sees its pixels again while a large one goes through its own.
        """
        x0, y0, x1, y1 = self.boxes[tiles, :, None].unbind(1)
        within = points[None] % ((x1 - x0) * (y1 - y0))
        column, row = x0 + within % (x1 - x0), y0 + within // (x1 - x0)
        return row * self.columns + column, torch.stack([column, row], -1)

    def local(
        self, positions: Int[Tensor, "tiles points 2"], tiles: Tiles, offset: tuple[float, float] = (0.0, 0.0)
    ) -> Float[Tensor, "tiles points 2"]:
        """Pixel centres, moved by ``offset`` pixels, as the tiles' networks see them."""
        shift = self.centres.new_tensor(offset) + 0.5
        return (positions - self.centres[tiles, None] + shift) / self.halves[tiles, None, None]

    def every_pixel(self, chunk: int) -> Iterator[tuple[slice, Int[Tensor, " part"]]]:
        """All pixels of every tile, each once, one tile at a time, at most ``chunk`` together."""
        for tile, box in enumerate(self.boxes.tolist()):
            pixels = (box[2] - box[0]) * (box[3] - box[1])
            for start in range(0, pixels, chunk):
                part = torch.arange(start, min(start + chunk, pixels), device=self.color.device)
                yield slice(tile, tile + 1), part

    def moments(self, siren: Siren) -> Moments:
        """What channel tuning has to know of the tiles' networks: a pass over all pixels."""
        moments = Moments(siren.batch, siren.channels, self.color.device)
        with torch.no_grad():
            for tile, points in self.every_pixel(chunk_points(siren, streams=1)):
                index, positions = self.pixels(tile, points)
                said = _values(siren.select(tile), self.local(positions, tile))
                moments.add(tile, said, self.color[index])
        return moments


def _values(siren: Siren, points: Float[Tensor, "1 points 2"]) -> Float[Tensor, "1 points channels"]:
    if not is_native(siren):
        return propagate(siren, points)[:, 0]
    return evaluate(siren, points[0], torch.tensor([points.shape[1]])).movedim(1, 0)
