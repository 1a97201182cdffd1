import cv2
import numpy as np
import pytest
from skimage import filters

from eoren.errors import EorenError
from eoren.image.gradients import SPLINE, STENCILS, Stencil, adjusted_gradient, pixel_gradient
from eoren.image.spline import reference_gradient

SIZES = [(1, 1), (1, 7), (7, 1), (2, 1), (2, 2), (2, 5), (3, 2), (3, 3), (4, 6), (5, 64), (37, 91)]
FILTERS = list(STENCILS)
INNER = np.s_[2:-2, 2:-2]  # beyond the reach of every border rule


def random_image(height, width, channels=1, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).random((height, width, channels)).astype(dtype)


def pixel_centres(count, extent=1.0):
    return (np.arange(count) + 0.5) / count * extent


# All gradients that measure slopes, as functions of an image and an extent.
GRADIENTS = [
    *(
        pytest.param(
            lambda image, extent=(1.0, 1.0), name=name: adjusted_gradient(image, name, extent=extent), id=name
        )
        for name in FILTERS
    ),
    pytest.param(lambda image, extent=(1.0, 1.0): reference_gradient(image, extent=extent), id="reference"),
]


# Properties of every gradient.


@pytest.mark.parametrize("gradient_of", GRADIENTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("extent", [(1.0, 1.0), (3.0, 0.25), (640.0, 480.0)], ids=str)
@pytest.mark.parametrize(("dtype", "rounding"), [(np.float64, 1e-15), (np.float32, 5e-7)])
def test_ramp_has_its_slopes_everywhere(gradient_of, size, extent, dtype, rounding):
    height, width = size
    x, y = np.meshgrid(pixel_centres(width, extent[0]), pixel_centres(height, extent[1]))
    for channels in range(1, 5):
        a, b, c = np.random.default_rng(channels).uniform(-1, 1, (3, channels))
        ramp = (a * x[..., None] + b * y[..., None] + c).astype(dtype)
        expected = np.stack([a * (width > 1), b * (height > 1)], axis=-1)

        gradient = gradient_of(ramp, extent)

        assert gradient.shape == (height, width, channels, 2)
        assert gradient.dtype == dtype
        # Pixel values are rounded to `rounding` of the largest, and differences divide by one pixel.
        largest = np.abs(ramp).max()
        for component, density in enumerate((width / extent[0], height / extent[1])):
            tolerance = 20 * rounding * (largest * density + np.abs(expected).max())
            error = np.abs(gradient[..., component] - expected[:, component]).max()
            assert error <= tolerance, (channels, component)


@pytest.mark.parametrize("gradient_of", GRADIENTS)
@pytest.mark.parametrize("size", [(1, 9), (2, 3), (3, 4), (5, 5), (6, 11), (24, 17)], ids=str)
def test_transposed_image_has_transposed_gradient(gradient_of, size):
    image = random_image(*size, channels=2)
    transposed = gradient_of(image.transpose(1, 0, 2).copy())
    np.testing.assert_allclose(transposed.transpose(1, 0, 2, 3)[..., ::-1], gradient_of(image), atol=1e-11)


@pytest.mark.parametrize("gradient_of", [case for case in GRADIENTS if case.id != "forward"])
@pytest.mark.parametrize("size", [(1, 9), (2, 3), (3, 4), (5, 5), (6, 11), (24, 17)], ids=str)
def test_mirrored_image_has_mirrored_negated_slopes(gradient_of, size):
    image = random_image(*size, channels=2)
    mirrored = gradient_of(image[:, ::-1])
    np.testing.assert_allclose(mirrored[:, ::-1] * [-1, 1], gradient_of(image), atol=1e-11)


@pytest.mark.parametrize("gradient_of", GRADIENTS)
def test_channels_are_independent_and_the_image_is_not_modified(gradient_of):
    image = random_image(9, 12, channels=3)
    before = image.copy()
    image.flags.writeable = False
    alone = [gradient_of(image[..., channel : channel + 1]) for channel in range(3)]
    np.testing.assert_allclose(gradient_of(image), np.concatenate(alone, axis=2), atol=1e-13)
    np.testing.assert_array_equal(image, before)


# Stencils.


@pytest.mark.parametrize("stencil", STENCILS.values(), ids=FILTERS)
def test_stencil_taps_make_a_first_derivative(stencil):
    assert len(stencil.derivative) % 2 == len(stencil.smoothing) % 2 == 1
    assert stencil.smoothing == stencil.smoothing[::-1]
    steps = np.arange(len(stencil.derivative)) - len(stencil.derivative) // 2
    taps = np.array(stencil.derivative)
    assert taps.sum() == pytest.approx(0, abs=1e-15)
    # sum_k d_k f(x + k) = m1 f' + m2 / 2 f'' + ... = m1 f'(x + m2 / (2 m1)) + ...: the offset.
    assert stencil.offset == pytest.approx((steps**2 @ taps) / (2 * steps @ taps), abs=1e-15)


# Farid and Simoncelli's taps as printed, to six digits: 0.109604, 0.276691; their smoothing sums to one.
FARID_RAMP = 2 * (0.276691 + 2 * 0.109604)
FARID_MAGNITUDE = 2 * (0.276691 + 0.109604)


def test_ramp_response_and_magnitude_agree_where_taps_lie_one_pixel_away():
    ramp_responses = {name: stencil.ramp_response for name, stencil in STENCILS.items()}
    magnitudes = {name: stencil.magnitude for name, stencil in STENCILS.items()}
    equal = {"central": 2, "prewitt": 6, "sobel": 8, "scharr": 32}
    assert ramp_responses == pytest.approx(equal | {"forward": 1, "farid": FARID_RAMP}, abs=2e-6)
    assert magnitudes == pytest.approx(equal | {"forward": 2, "farid": FARID_MAGNITUDE}, abs=2e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_magnitude_rule_is_the_ramp_rule_only_for_taps_one_pixel_away(name):
    ramp = np.broadcast_to(pixel_centres(8)[None, :, None], (6, 8, 1))
    slope = {"forward": 0.5, "farid": FARID_RAMP / FARID_MAGNITUDE}.get(name, 1.0)
    gradient = adjusted_gradient(ramp, name, adjust="magnitude")
    np.testing.assert_allclose(gradient[..., 0], slope, rtol=5e-6)


def test_magnitude_rule_equals_the_formula_of_the_paper():
    height, width, extent = 5, 7, (2.0, 0.5)
    image = random_image(height, width)
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    central = np.array([[0, 0, 0], [-1, 0, 1], [0, 0, 0]])
    for name, fx, total in (("sobel", sobel, 8), ("central", central, 2)):
        gradient = adjusted_gradient(image, name, adjust="magnitude", extent=extent)
        for i in range(1, height - 1):
            for j in range(1, width - 1):
                dx = dy = 0.0
                for p in range(3):
                    for q in range(3):
                        dx += fx[p, q] / total * width / extent[0] * image[i + p - 1, j + q - 1, 0]
                        dy += fx[q, p] / total * height / extent[1] * image[i + p - 1, j + q - 1, 0]
                assert gradient[i, j, 0] == pytest.approx((dx, dy), abs=1e-12)
        np.testing.assert_allclose(gradient, adjusted_gradient(image, name, extent=extent), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "vertical", "horizontal", "gain"),
    [
        # scikit-image divides the smoothing by its sum, and leaves the differences of two pixels undivided.
        ("sobel", filters.sobel_v, filters.sobel_h, 4),
        ("scharr", filters.scharr_v, filters.scharr_h, 16),
        ("prewitt", filters.prewitt_v, filters.prewitt_h, 3),
        ("farid", filters.farid_v, filters.farid_h, 1),
    ],
)
def test_raw_responses_match_scikit_image(name, vertical, horizontal, gain):
    image = random_image(20, 31)
    raw = adjusted_gradient(image, name, adjust=None, extent=(5.0, 3.0))[:, :, 0]
    for component, oracle in enumerate((vertical, horizontal)):
        expected = oracle(image[..., 0]) * gain
        np.testing.assert_allclose(raw[INNER][..., component], expected[INNER], atol=1e-12)


@pytest.mark.parametrize(("name", "operator"), [("sobel", cv2.Sobel), ("scharr", cv2.Scharr)])
def test_raw_responses_match_opencv(name, operator):
    image = random_image(20, 31, channels=3)
    raw = adjusted_gradient(image, name, adjust=None)
    for component, order in enumerate([(1, 0), (0, 1)]):
        expected = operator(image, cv2.CV_64F, *order)
        np.testing.assert_allclose(raw[INNER][..., component], expected[INNER], atol=1e-12)


def test_central_differences_match_numpy_borders_included():
    image = random_image(6, 9, channels=2)
    np.testing.assert_array_equal(adjusted_gradient(image), adjusted_gradient(image, "central"))  # the default
    dy, dx = np.gradient(image, 1 / 6, 1 / 9, axis=(0, 1))
    np.testing.assert_allclose(adjusted_gradient(image, "central"), np.stack([dx, dy], axis=-1), atol=1e-12)


def test_forward_differences_match_numpy_and_repeat_the_last():
    image = random_image(6, 9)
    gradient = adjusted_gradient(image, "forward")
    np.testing.assert_allclose(gradient[:, :-1, :, 0], 9 * np.diff(image, axis=1), atol=1e-12)
    np.testing.assert_allclose(gradient[:-1, :, :, 1], 6 * np.diff(image, axis=0), atol=1e-12)
    np.testing.assert_allclose(gradient[:, -1, :, 0], gradient[:, -2, :, 0], atol=1e-12)


def test_forward_differences_belong_half_a_pixel_off_along_each_axis():
    offset = STENCILS["forward"].offset

    def errors(count):
        x, y = np.meshgrid(pixel_centres(count), pixel_centres(count))
        gradient = adjusted_gradient((x**3 + x * y + y**3)[..., None], "forward")[:-1, :-1, 0]
        x, y = x[:-1, :-1], y[:-1, :-1]

        def error(shift):
            dx = 3 * (x + shift) ** 2 + y
            dy = x + 3 * (y + shift) ** 2
            return np.abs(gradient - np.stack([dx, dy], axis=-1)).max()

        return error(0.0), error(offset / count)

    (at_centre, shifted), (at_centre_finer, shifted_finer) = errors(16), errors(32)
    assert at_centre / at_centre_finer == pytest.approx(2, rel=0.1)  # first order
    assert shifted / shifted_finer == pytest.approx(4, rel=0.1)  # second order
    x, _ = np.meshgrid(pixel_centres(16), pixel_centres(16))
    quadratic = adjusted_gradient((x**2)[..., None], "forward")[:, :-1, 0, 0]
    np.testing.assert_allclose(quadratic, 2 * (x[:, :-1] + offset / 16), atol=1e-13)


@pytest.mark.parametrize(("name", "order"), [("forward", 1), ("central", 2), ("sobel", 2), ("scharr", 2)])
def test_order_of_accuracy_of_the_stencils(name, order):
    def error(count):
        x, y = np.meshgrid(pixel_centres(count), pixel_centres(count))
        gradient = adjusted_gradient(np.sin(3 * x + 2 * y)[..., None], name)[INNER][:, :, 0]
        expected = np.cos(3 * x + 2 * y)[INNER][..., None] * [3, 2]
        return np.abs(gradient - expected).max()

    assert np.log2(error(32) / error(64)) == pytest.approx(order, abs=0.15)


# Invalid arguments.


both = pytest.mark.parametrize("gradient_of", [adjusted_gradient, reference_gradient])


@both
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5)), r"got \(4, 5\); gray is image\[\.\.\., None\]"),
        (np.zeros((1, 4, 5, 3)), r"shape \(H, W, C\) .*got \(1, 4, 5, 3\)"),
        (np.zeros((0, 5, 3)), r"got \(0, 5, 3\)"),
        (np.zeros((4, 5, 0)), r"got \(4, 5, 0\)"),
        (np.zeros((4, 5, 3), np.uint8), r"float32.*uint8.*255"),
        (np.zeros((4, 5, 3), np.float16), r"float32.*got float16"),
        (np.zeros((4, 5, 3), np.complex64), r"float32.*got complex64"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_images_are_refused(gradient_of, image, message):
    with pytest.raises(EorenError, match=message):
        gradient_of(image)


@both
@pytest.mark.parametrize("extent", [(0.0, 1.0), (1.0, -2.0), (np.nan, 1.0), (1.0, np.inf)])
def test_wrong_extents_are_refused(gradient_of, extent):
    with pytest.raises(EorenError, match=r"extent must be .* positive, got \("):
        gradient_of(np.zeros((4, 5, 3)), extent=extent)


@pytest.mark.usefixtures("unchecked")
def test_unknown_filters_and_adjustments_are_refused():
    image = np.zeros((4, 5, 3))
    with pytest.raises(EorenError, match=r"forward, central, prewitt, sobel, scharr, farid, got 'roberts'"):
        adjusted_gradient(image, "roberts")
    with pytest.raises(EorenError, match=r"adjust must be one of ramp, magnitude, None, got 'sum'"):
        adjusted_gradient(image, adjust="sum")


def test_stencils_cannot_be_changed():
    with pytest.raises(TypeError):
        STENCILS["central"] = Stencil((0.0, -1.0, 1.0))
    with pytest.raises(AttributeError):
        STENCILS["central"].offset = 1.0


# Gradients inside a box.

BOXES = [(0, 0, 150, 130), (0, 0, 1, 1), (149, 129, 150, 130), (60, 50, 75, 51), (3, 100, 150, 130)]


@pytest.mark.parametrize("name", [SPLINE, *FILTERS])
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_gradients_in_a_box_are_those_of_the_whole_image(name, box):
    image = random_image(130, 150, 2)
    extent = (150.0, 130.0)
    if name == SPLINE:
        whole = reference_gradient(image, extent=extent)
    else:
        whole = adjusted_gradient(image, name, extent=extent)
    x0, y0, x1, y1 = box
    np.testing.assert_allclose(pixel_gradient(image, name, box=box), whole[y0:y1, x0:x1], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(pixel_gradient(image, name), whole)
