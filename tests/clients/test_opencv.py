import numpy as np
import pytest

import eoren
from eoren.field.grid import WHOLE
from eoren.visualization.derivatives import write_field, write_gradient

cv2 = pytest.importorskip("cv2", reason="opencv-python is not installed")


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_rendered_files(picture, tmp_path, suffix):
    field, path = eoren.load(picture[1]), str(tmp_path / f"a.{suffix}")
    write_field(path, field, 48, 40, region=WHOLE, show="color")
    np.testing.assert_array_equal(cv2.imread(path)[..., ::-1], field.render_image(48, 40))


def test_floats(picture, tmp_path):
    field, path = eoren.load(picture[1]), str(tmp_path / "a.tif")
    write_field(path, field, 48, 40, region=WHOLE, show="color", bit_depth=32)
    np.testing.assert_array_equal(cv2.imread(path, cv2.IMREAD_UNCHANGED)[..., ::-1], field.render(48, 40))


def test_buffers_in_memory(picture):
    content = cv2.imencode(".png", cv2.imread(str(picture[0])))[1].tobytes()
    np.testing.assert_array_equal(eoren.read_image(content), eoren.read_image(picture[0]))


def test_gradients_of_gray(picture, tmp_path):
    gray = eoren.read_image(picture[0])[..., :1]
    write_gradient(tmp_path / "a.npy", eoren.adjusted_gradient(gray, "sobel", adjust=None))
    ours = np.load(tmp_path / "a.npy")[1:-1, 1:-1, 0]
    for axis, order in enumerate([(1, 0), (0, 1)]):
        theirs = cv2.Sobel(gray[..., 0], cv2.CV_32F, *order)[1:-1, 1:-1]
        np.testing.assert_allclose(np.abs(ours[..., axis]), np.abs(theirs), atol=1e-5)
