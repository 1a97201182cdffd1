import numpy as np
import torch
from tests.fields import own_pixels, tiled_image

from eoren.backends.tile_evaluation import predict_all_pixels, tuning_moments
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels

CPU = torch.device("cpu")


def test_moments_include_all_pixels():
    image, tiling = tiled_image()
    tiles = slice(2, 7)
    siren = Siren.init(5, width=6, depth=2, channels=2, generator=torch.Generator().manual_seed(0))
    patches = TilePixels.of_tiles(image, tiling, tiles, device=CPU)
    tuning = tuning_moments(siren, patches).tuning()
    for network, tile in enumerate(range(2, 7)):
        pixels = own_pixels(tiling, tile)
        low, high = pixels.min(0), pixels.max(0) + 1
        local = torch.from_numpy((pixels + 0.5 - (low + high) / 2) / (max(high - low) / 2)).float()
        said = siren.select(slice(network, network + 1))(local[None])[0, 0].double().numpy()
        for channel in range(2):
            matrix = np.stack([said[:, channel], np.ones(len(said))], 1)
            goal = image[pixels[:, 1], pixels[:, 0], channel]
            best = np.linalg.lstsq(matrix, goal, rcond=None)[0]
            found = [float(tuning.alpha[network, 0, channel]), float(tuning.beta[network, 0, channel])]
            np.testing.assert_allclose(found, best, rtol=1e-3, atol=1e-4)


def test_all_pixels_are_evaluated_as_the_networks_define_them():
    images = np.random.default_rng(1).random((3, 5, 8, 2)).astype(np.float32)
    siren = Siren.init(3, width=16, depth=2, channels=2, generator=torch.Generator().manual_seed(0))
    prediction = predict_all_pixels(siren, TilePixels.of_images(images, device=CPU))
    x, y = np.meshgrid(np.arange(8) + 0.5 - 4, np.arange(5) + 0.5 - 2.5)
    points = torch.from_numpy(np.stack([x, y], -1).reshape(1, 40, 2) / 4).expand(3, -1, -1)
    scale = torch.full((3, 2), 0.25, dtype=torch.float64)
    expected = siren.to(torch.float64)(points, axes=(0, 1), scale=scale)
    torch.testing.assert_close(prediction.double(), expected, rtol=0, atol=1e-4)
