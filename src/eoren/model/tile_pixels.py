"""Pixels of a batch of networks, addressed by network and by number within its tile."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.image.arrays import Image
from eoren.model.tiling import Tiling


class TilePixels:
    """Pixels of a batch of networks, one box of pixels each: tiles of an image, or whole images.

    ``color`` holds the pixels of an image of ``columns`` columns, row by row. Boxes are ``(column0, row0, column1,
    row1)`` in that image, ends excluded; areas count the pixels of each network without its halo; ``most`` is the
    number of pixels of the largest box. For centres and half extents see :class:`eoren.model.tiling.Tiling`.

    Example:
        >>> single = Tiling.single(8, 6)
        >>> pixels = TilePixels.of_tiles(np.zeros((6, 8, 1), np.float32), single, device=torch.device("cpu"))
        >>> index, position = pixels.pixels(slice(0, 1), torch.tensor([9]))
        >>> index.tolist(), position.tolist(), pixels.local(position, slice(0, 1)).tolist()
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
        image: Image,
        tiling: Tiling,
        tiles: slice = slice(None),
        *,
        at: tuple[int, int] = (0, 0),
        device: torch.device,
    ) -> "TilePixels":
        """Take the pixels of neighbouring tiles, halo included, from an image or a crop whose first pixel is ``at``.

        Only the box around the tiles is copied, so that a large image can be processed part by part.
        """
        x0, y0, x1, y1 = tiling.box(tiles)
        color = image[y0 - at[1] : y1 - at[1], x0 - at[0] : x1 - at[0]].reshape(-1, image.shape[2])
        areas = torch.from_numpy((tiling.boxes[tiles, 2:] - tiling.boxes[tiles, :2]).prod(1))
        # Relative to the box, so that coordinates are exact however large the image.
        boxes = torch.from_numpy(tiling.pixel_boxes[tiles] - [x0, y0, x0, y0])
        return cls(color, boxes, columns=x1 - x0, areas=areas, device=device)

    @classmethod
    def of_images(
        cls, images: Float[np.ndarray, "images height width channels"], *, device: torch.device
    ) -> "TilePixels":
        """Take all pixels of images of one size, one network per image: boxes of a stack of the images."""
        count, height, width, channels = images.shape
        top = height * torch.arange(count)
        left = torch.zeros_like(top)
        boxes = torch.stack([left, top, left + width, top + height], 1)
        areas = torch.full_like(top, height * width)
        return cls(images.reshape(-1, channels), boxes, columns=width, areas=areas, device=device)

    def pixels(
        self, networks: slice | Tensor, points: Int[Tensor, " points"]
    ) -> tuple[Int[Tensor, "networks points"], Int[Tensor, "networks points 2"]]:
        """Return indices into :attr:`color` and positions (column, row) of pixels numbered within each tile.

        Tiles differ in size: numbers beyond the pixels of a small tile start again from its first.
        """
        x0, y0, x1, y1 = self.boxes[networks, :, None].unbind(1)
        within = points[None] % ((x1 - x0) * (y1 - y0))
        column, row = x0 + within % (x1 - x0), y0 + within // (x1 - x0)
        return row * self.columns + column, torch.stack([column, row], -1)

    def local(
        self,
        positions: Int[Tensor, "networks points 2"],
        networks: slice | Tensor,
        offset: tuple[float, float] = (0.0, 0.0),
    ) -> Float[Tensor, "networks points 2"]:
        """Convert positions (column, row), displaced by ``offset`` pixels, to their networks' local coordinates."""
        shift = self.centres.new_tensor(offset) + 0.5
        return (positions - self.centres[networks, None] + shift) / self.half_extents[networks, None, None]

    def every_pixel(self, chunk: int) -> Iterator[tuple[slice, Int[Tensor, " part"]]]:
        """Iterate over all pixels of every tile, one tile at a time, at most ``chunk`` pixels together."""
        for tile, box in enumerate(self.boxes.tolist()):
            pixels = (box[2] - box[0]) * (box[3] - box[1])
            for start in range(0, pixels, chunk):
                part = torch.arange(start, min(start + chunk, pixels), device=self.color.device)
                yield slice(tile, tile + 1), part
