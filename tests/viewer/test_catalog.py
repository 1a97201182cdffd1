import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from eoren.errors import EorenError
from eoren.viewer.catalog import LAYERS, MAGNIFICATION, FieldCatalog, FieldEntry, free_name


@pytest.mark.parametrize("size", [(30, 20), (7, 5), (3, 2), (1, 9), (2, 1), (1, 1)])
def test_the_spline_is_scipys(size, drawn):
    width, height = size
    image = drawn(width, height, 2)

    class Small:
        pass

    small = Small()
    small.size, small.channels = size, 2
    exhibit = object.__new__(FieldEntry)
    exhibit.__dict__.update(name="a", title="a", field=small, digest="", picture=image)
    random = np.random.default_rng(0)
    y, x = (np.sort(random.uniform(-0.5, side - 0.5, 9)) for side in (height, width))
    y[0], x[-1] = -0.5, width - 0.5
    at = np.meshgrid(y, x, indexing="ij")
    wanted = [map_coordinates(image[..., c], at, np.float64, 3, mode="mirror") for c in range(2)]
    np.testing.assert_allclose(exhibit.spline(y, x), np.stack(wanted, -1), atol=2e-6)


def test_the_spline_passes_through_the_pixels(exhibit, picture):
    np.testing.assert_allclose(exhibit.spline(np.arange(20.0), np.arange(30.0)), picture, atol=1e-5)


def test_what_a_point_says(exhibit, field, picture):
    x, y = 12.3 / 30, 7.9 / 20
    said = exhibit.at(x, y)
    xy = np.array([x, y])
    assert said["pixel"] == [12, 7]
    np.testing.assert_allclose(said["color"], field.color(xy), atol=1e-5)
    np.testing.assert_allclose(said["gradient"], field.gradient(xy) / [30, 20], atol=1e-4)
    np.testing.assert_allclose(said["picture"], picture[7, 12])
    wanted = exhibit.spline(np.array([7.4]), np.array([11.8]))[0, 0]
    np.testing.assert_allclose(said["spline"], wanted, atol=1e-6)
    # The Laplacian per pixel squared, by differences of the gradient.
    h = 1e-3
    ends = [field.gradient(np.array(p)) for p in ([x + h, y], [x - h, y], [x, y + h], [x, y - h])]
    by_x, by_y = (ends[0] - ends[1])[:, 0] / (2 * h), (ends[2] - ends[3])[:, 1] / (2 * h)
    np.testing.assert_allclose(said["laplacian"], by_x / 30**2 + by_y / 20**2, atol=2e-3)


@pytest.mark.parametrize("corner", [(0.0, 0.0), (1.0, 1.0)])
def test_corners_have_a_pixel(exhibit, corner):
    assert exhibit.at(*corner)["pixel"] == ([0, 0] if corner == (0.0, 0.0) else [29, 19])


def test_without_a_picture_nothing_is_compared(field):
    alone = FieldEntry("a", "a", field, "")
    assert [layer.name for layer in alone.layers] == ["color", "gradient", "direction", "laplacian"]
    assert "picture" not in alone.at(0.5, 0.5)
    with pytest.raises(EorenError, match="--compare"):
        _ = alone.samples


@pytest.mark.parametrize("size", [(20, 30, 3), (30, 20, 1), (31, 20, 3)])
def test_another_pictures_size_or_channels(field, size, drawn):
    with pytest.raises(EorenError, match=f"{size[0]}x{size[1]} with {size[2]} channels.*30x20 with 3"):
        FieldEntry("a", "a", field, "", drawn(*size))


def test_identifiers_lead_to_views_and_back(gallery, exhibit):
    for layer in LAYERS.values():
        for times in (1, 3, MAGNIFICATION):
            name = f"small~{layer.name}~{times}x"
            view = gallery.view(name)
            assert (view.exhibit, view.layer, view.magnification) == (exhibit, layer, times)
            assert (view.width, view.height) == (30 * times, 20 * times)
            again = gallery.view(view.identifier)
            assert again == view
    assert gallery.view("small").layer.name == "color"


@pytest.mark.parametrize(
    "identifier",
    [
        *("", "other", "small~", "small~none", "small~color~", "small~color~0x", "small~color~65x", "small~color~x"),
        *("small~color~2x~1", "small~color~2", "small~color~-1x", "a-b~original", "../small", "~color"),
    ],
)
def test_identifiers_of_nothing(gallery, identifier):
    assert gallery.view(identifier) is None


def test_names_are_free_and_fit_into_addresses():
    assert free_name("my photo (1)", ()) == "my-photo-1"
    assert free_name("~~..", ()) == "field"
    assert free_name("ёлка", ()) == "ёлка"
    assert free_name("a", {"a", "a-2"}) == "a-3"


def test_a_gallery_keeps_all_of_one_title(field):
    gallery = FieldCatalog()
    shown = [gallery.show("x", lambda name: FieldEntry(name, "x", field, "")) for _ in range(3)]
    assert [each.name for each in gallery.exhibits()] == ["x", "x-2", "x-3"]
    gallery.remove(shown[1])
    assert gallery.find("x-2") is None
    assert gallery.exhibits() == [shown[0], shown[2]]
