import numpy as np
import pytest

from eoren.errors import EorenError
from eoren.viewer.catalog import LAYERS, MAX_MAGNIFICATION, FieldCatalog, FieldEntry, free_name


def test_probe_evaluates_field_and_image(entry, field, image):
    x, y = 12.3 / 30, 7.9 / 20
    values = entry.probe(x, y)
    xy = np.array([x, y])
    assert values["pixel"] == [12, 7]
    np.testing.assert_allclose(values["color"], field.color(xy), atol=1e-5)
    np.testing.assert_allclose(values["gradient"], field.gradient(xy) / [30, 20], atol=1e-4)
    np.testing.assert_allclose(values["image"], image[7, 12])
    expected = entry.spline(np.array([7.4]), np.array([11.8]))[0, 0]
    np.testing.assert_allclose(values["spline"], expected, atol=1e-6)
    # The Laplacian per pixel squared, by differences of the gradient.
    h = 1e-3
    ends = [field.gradient(np.array(p)) for p in ([x + h, y], [x - h, y], [x, y + h], [x, y - h])]
    by_x, by_y = (ends[0] - ends[1])[:, 0] / (2 * h), (ends[2] - ends[3])[:, 1] / (2 * h)
    np.testing.assert_allclose(values["laplacian"], by_x / 30**2 + by_y / 20**2, atol=2e-3)


@pytest.mark.parametrize("corner", [(0.0, 0.0), (1.0, 1.0)])
def test_probe_at_the_corners(entry, corner):
    assert entry.probe(*corner)["pixel"] == ([0, 0] if corner == (0.0, 0.0) else [29, 19])


def test_without_an_image_no_layer_compares(field):
    entry = FieldEntry("a", "a", field, "")
    assert [layer.name for layer in entry.layers] == ["color", "gradient", "direction", "laplacian"]
    assert "image" not in entry.probe(0.5, 0.5)
    with pytest.raises(EorenError, match="--compare"):
        _ = entry.image_8bit


@pytest.mark.parametrize("size", [(20, 30, 3), (30, 20, 1), (31, 20, 3)])
def test_an_image_of_another_size_or_channels_is_refused(field, size, make_image):
    with pytest.raises(EorenError, match=f"must be 30x20 with 3 .*got {size[0]}x{size[1]} with {size[2]} channels"):
        FieldEntry("a", "a", field, "", make_image(*size))


def test_identifiers_of_views_round_trip(catalog, entry):
    for layer in LAYERS.values():
        for times in (1, 3, MAX_MAGNIFICATION):
            name = f"small~{layer.name}~{times}x"
            view = catalog.view(name)
            assert (view.entry, view.layer, view.magnification) == (entry, layer, times)
            assert view.size == (30 * times, 20 * times)
            assert catalog.view(view.identifier) == view
    assert catalog.view("small").layer.name == "color"


@pytest.mark.parametrize(
    "identifier",
    [
        *("", "other", "small~", "small~none", "small~color~", "small~color~0x", "small~color~65x", "small~color~x"),
        *("small~color~2x~1", "small~color~2", "small~color~-1x", "a-b~original", "../small", "~color"),
    ],
)
def test_unknown_identifiers(catalog, identifier):
    assert catalog.view(identifier) is None


def test_names_are_unused_and_valid_in_addresses():
    assert free_name("my photo (1)", ()) == "my-photo-1"
    assert free_name("~~..", ()) == "field"
    assert free_name("ёлка", ()) == "ёлка"
    assert free_name("a", {"a", "a-2"}) == "a-3"


def test_entries_of_the_same_title_get_different_names(field):
    catalog = FieldCatalog()
    added = [catalog.add("x", field, digest="") for _ in range(3)]
    assert [entry.name for entry in catalog.entries()] == ["x", "x-2", "x-3"]
    catalog.remove(added[1])
    assert catalog.find("x-2") is None
    assert catalog.entries() == [added[0], added[2]]


def test_titles_are_valid_json(field):
    entry = FieldCatalog().add("caf\udce9", field, digest="")
    assert (entry.name, entry.title) == ("caf", r"caf\udce9")
