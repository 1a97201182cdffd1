"""The pixels that networks answer for, ready to be asked for by network and number."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.backends.native import evaluate, is_native
from eoren.model.channel_tuning import Moments
from eoren.model.siren import Siren, chunk_points, propagate
from eoren.model.tiling import Tiling

# Some of the tiles.
Tiles = slice | Tensor


class TilePixels:
    """Pixels of a batch of networks, each with a box of its own: tiles of an image, or whole images.

    Args:
        color: ``(pixels, C)``, row by row of an image of so many columns.
        boxes: ``(networks, 4)``, each network's ``(column0, row0, column1, row1)`` in it, ends excluded.
        columns: of that image.
        areas: ``(networks,)``, pixels that each network alone answers for.
        device: where to keep the pixels.

    Attributes:
        color: as given.
        areas: as given.
        boxes: as given.
        columns: as given.
        half_extents: ``(networks,)``, pixels per unit of local coordinates, see :class:`eoren.model.tiling.Tiling`.
        centres: ``(networks, 2)``, origins of local coordinates.
        most: pixels of the largest box.

    Example:
        >>> single = Tiling.single(8, 6)
        >>> patches = TilePixels.of_tiles(np.zeros((6, 8, 1), np.float32), single, device=torch.device("cpu"))
        >>> index, position = patches.pixels(slice(0, 1), torch.tensor([9]))
        >>> index.tolist(), position.tolist(), patches.local(position, slice(0, 1)).tolist()
        ([[9]], [[[1, 1]]], [[[-0.625, -0.375]]])
    """

    def __init__(
        self,
        color: Float[np.ndarray, "pixels channels"],
        boxes: Int[Tensor, "networks 4"],
        *,
        columns: int,
        areas: Int[Tensor, " networks"],
        device: torch.device,
    ) -> None:
        """Where every network's coordinates begin, and how they grow, follows from its box."""
        low, high = boxes[:, :2], boxes[:, 2:]
        self.color = torch.from_numpy(color).to(device)
        self.boxes, self.columns = boxes.to(device), columns
        self.areas = areas.float().to(device)
        # Whole and half pixels are exact in float32.
        self.centres = ((low + high).double() / 2).float().to(device)
        self.half_extents = ((high - low).amax(1).double() / 2).float().to(device)
        self.most = int((high - low).prod(1).max())

    @classmethod
    def of_tiles(
        cls,
        image: Float[np.ndarray, "height width channels"],
        tiling: Tiling,
        tiles: slice = slice(None),
        *,
        at: tuple[int, int] = (0, 0),
        device: torch.device,
    ) -> "TilePixels":
        """Neighbouring tiles of an image, halo included.

        Nothing is kept of the image but the box around them, so that a large one is worked on piece by piece.

        Args:
            image: ``(H, W, C)``, the whole image, or what there is of it.
            tiling: of the image.
            tiles: which of its tiles; all by default.
            at: column and row of the image's first pixel in the image.
            device: where to keep the pixels.
        """
        x0, y0, x1, y1 = tiling.box(tiles)
        color = image[y0 - at[1] : y1 - at[1], x0 - at[0] : x1 - at[0]].reshape(-1, image.shape[2])
        areas = (tiling.boxes[tiles, 2:] - tiling.boxes[tiles, :2]).prod(1)
        # Relative to the box, so that pixels are exact however large the image.
        boxes = tiling.pixel_boxes[tiles] - torch.tensor([x0, y0, x0, y0])
        return cls(color, boxes, columns=x1 - x0, areas=areas, device=device)

    @classmethod
    def of_pictures(
        cls, images: Float[np.ndarray, "pictures height width channels"], *, device: torch.device
    ) -> "TilePixels":
        """Whole images of one size, one network each: boxes of a tall stack of them.

        Args:
            images: ``(B, H, W, C)``.
            device: where to keep the pixels.
        """
        count, height, width, channels = images.shape
        top = height * torch.arange(count)
        left = torch.zeros_like(top)
        boxes = torch.stack([left, top, left + width, top + height], 1)
        areas = torch.full_like(top, height * width)
        return cls(images.reshape(-1, channels), boxes, columns=width, areas=areas, device=device)

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
        return (positions - self.centres[tiles, None] + shift) / self.half_extents[tiles, None, None]

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

    def of_one_size(self, siren: Siren) -> Float[Tensor, "networks 3 pixels channels"]:
        """What networks with boxes of one size say at all their pixels: value, d/dx and d/dy per pixel."""
        assert len((self.boxes[:, 2:] - self.boxes[:, :2]).unique(dim=0)) == 1
        _, positions = self.pixels(slice(0, 1), torch.arange(self.most, device=self.color.device))
        points = self.local(positions, slice(0, 1)).expand(siren.batch, -1, -1)
        scale = (1 / self.half_extents)[:, None].expand(-1, 2)
        with torch.no_grad():
            if is_native(siren):
                counts = torch.full((siren.batch,), self.most)
                said = evaluate(siren, points.flatten(0, 1), counts, axes=(0, 1), scale=scale)
                return said.reshape(siren.batch, self.most, 3, siren.channels).movedim(1, 2)
            some = max(1, chunk_points(siren, streams=3) // self.most)
            parts = [slice(start, start + some) for start in range(0, siren.batch, some)]
            found = [propagate(siren.select(p), points[p], axes=(0, 1), scale=scale[p]) for p in parts]
            return torch.cat(found)


def _values(siren: Siren, points: Float[Tensor, "1 points 2"]) -> Float[Tensor, "1 points channels"]:
    if not is_native(siren):
        return propagate(siren, points)[:, 0]
    return evaluate(siren, points[0], torch.tensor([points.shape[1]])).movedim(1, 0)
