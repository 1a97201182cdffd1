import numpy as np
import pytest
import torch
from tests.fields import own_pixels, tiled_image

from eoren.model.tile_pixels import TilePixels
from eoren.model.tiling import Tiling

CPU = torch.device("cpu")


@pytest.mark.parametrize("tiles", [slice(None), slice(0, 4), slice(3, 4), slice(6, 11)], ids=str)
def test_every_pixel_of_every_tile_comes_once_with_its_colour_and_place(tiles):
    image, tiling = tiled_image()
    patches = TilePixels.of_tiles(image, tiling, tiles, device=CPU)
    x0, y0, x1, y1 = tiling.box(tiles)
    assert patches.color.shape == ((x1 - x0) * (y1 - y0), 2)
    numbers = range(tiling.count)[tiles]
    seen = {number: [] for number in numbers}
    for tile, points in patches.every_pixel(17):
        assert len(points) <= 17
        index, position = patches.pixels(tile, points)
        number = numbers[tile.start]
        places = position[0].numpy() + np.array([x0, y0])
        np.testing.assert_array_equal(patches.color[index[0]].numpy(), image[places[:, 1], places[:, 0]])
        box = tiling.pixel_boxes[number].astype(float)
        half = max(box[2:] - box[:2]) / 2
        local = (places + 0.5 - (box[:2] + box[2:]) / 2) / half
        np.testing.assert_allclose(patches.local(position, tile)[0].numpy(), local, atol=1e-6)
        shifted = patches.local(position, tile, (0.5, -1.0))[0].numpy()
        np.testing.assert_allclose(shifted, local + np.array([0.5, -1.0]) / half, atol=1e-6)
        seen[number] += places.tolist()
    for number in numbers:
        assert sorted(seen[number]) == sorted(own_pixels(tiling, number).tolist())
    assert patches.most == max(len(pixels) for pixels in seen.values())


def test_a_small_tile_begins_again():
    image, tiling = tiled_image()
    patches = TilePixels.of_tiles(image, tiling, device=CPU)
    index, _ = patches.pixels(slice(0, tiling.count), torch.arange(patches.most))
    for tile in range(tiling.count):
        own = len(own_pixels(tiling, tile))
        assert len(set(index[tile].tolist())) == own
        assert index[tile, : patches.most - own].tolist() == index[tile, own:].tolist()


def test_images_of_a_stack_are_as_if_alone():
    images = np.random.default_rng(1).random((3, 5, 8, 2)).astype(np.float32)
    stack = TilePixels.of_images(images, device=CPU)
    points = torch.arange(40)
    index, positions = stack.pixels(slice(0, 3), points)
    local = stack.local(positions, slice(0, 3))
    assert (stack.most, stack.areas.tolist()) == (40, [40.0] * 3)
    for number, image in enumerate(images):
        alone = TilePixels.of_tiles(image, Tiling.single(8, 5), device=CPU)
        own_index, own_positions = alone.pixels(slice(0, 1), points)
        assert torch.equal(stack.color[index[number]], alone.color[own_index[0]])
        assert torch.equal(local[number], alone.local(own_positions, slice(0, 1))[0])
