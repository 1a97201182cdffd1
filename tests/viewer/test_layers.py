import numpy as np
import pytest

import eoren
from eoren.image.cell_averages import point_values
from eoren.viewer.catalog import LAYERS, FieldEntry, View
from eoren.viewer.iiif import Region
from eoren.viewer.layers import draw
from eoren.visualization.colormaps import direction_picture, error_map, error_picture
from eoren.visualization.derivatives import laplacian_picture, magnitude_picture


def bits(pixels):
    return np.floor(np.clip(pixels, 0, 1) * 255 + 0.5)


def view(exhibit, name, magnification=1):
    return View(exhibit, LAYERS[name], magnification)


def close(found, wanted):
    """Equal but for rounding: float32 is not the same in strips as as a whole."""
    assert found.dtype == np.uint8
    assert found.shape == wanted.shape
    assert np.abs(found.astype(float) - wanted).max() <= 1


def wanted(field, name, width, height, region):
    sides = (30.0, 20.0)
    if name == "color":
        return field.render(width, height, region=region)
    sampled = field.sample(
        width, height, "laplacian" if name == "laplacian" else "gradient", region=region, extent=sides
    )[0]
    if name == "laplacian":
        return laplacian_picture(sampled)
    return magnitude_picture(sampled) if name == "gradient" else direction_picture(sampled, 0.25)


@pytest.mark.parametrize("name", ["color", "gradient", "direction", "laplacian"])
@pytest.mark.parametrize(
    ("magnification", "region", "size"),
    [
        (1, Region(0, 0, 30, 20), (30, 20)),
        (1, Region(3, 2, 11, 7), (11, 7)),
        (1, Region(3, 2, 5, 4), (60, 31)),
        (64, Region(700, 300, 256, 256), (256, 256)),
        (64, Region(1919, 1279, 1, 1), (4, 4)),
    ],
)
def test_layers_of_the_field_are_its_own_at_every_zoom(exhibit, field, name, magnification, region, size):
    across, down = 30 * magnification, 20 * magnification
    box = (
        region.x / across,
        region.y / down,
        (region.x + region.width) / across,
        (region.y + region.height) / down,
    )
    close(draw(view(exhibit, name, magnification), region, *size), bits(wanted(field, name, *size, box)))


@pytest.mark.parametrize("name", ["color", "gradient", "laplacian"])
def test_reduced_layers_are_means(exhibit, field, name):
    fine = wanted(field, name, 30, 20, (0.0, 0.0, 1.0, 1.0)).clip(0, 1)
    means = fine.reshape(10, 2, 15, 2, -1).mean((1, 3))
    close(draw(view(exhibit, name), Region(0, 0, 30, 20), 15, 10), bits(means))


def test_the_direction_of_a_reduced_picture_is_that_of_the_mean_gradient(exhibit, field):
    fine = field.sample(30, 20, "gradient", extent=(30.0, 20.0))[0]
    means = direction_picture(fine.reshape(10, 2, 15, 2, 3, 2).mean((1, 3)), 0.25)
    close(draw(view(exhibit, "direction"), Region(0, 0, 30, 20), 15, 10), bits(means))


def test_a_drawing_can_be_ended_before_every_strip(exhibit, monkeypatch):
    monkeypatch.setattr("eoren.viewer.layers._POINTS_AT_ONCE", 90)

    class EndedError(Exception):
        pass

    for name in LAYERS:
        if name == "original":  # drawn at once
            continue
        calls = []

        def go_on(calls=calls):
            calls.append(1)
            if len(calls) == 3:
                raise EndedError

        with pytest.raises(EndedError):
            draw(view(exhibit, name), Region(0, 0, 30, 20), 30, 20, go_on=go_on)


def test_means_of_a_few_points_where_a_pixel_covers_many(exhibit, field):
    coarse = draw(view(exhibit, "color"), Region(0, 0, 30, 20), 3, 2)
    fine = field.render(9, 6).clip(0, 1).reshape(2, 3, 3, 3, 3).mean((1, 3))
    close(coarse, bits(fine))
    coarse = draw(view(exhibit, "gradient"), Region(0, 0, 30, 20), 3, 2)
    fine = wanted(field, "gradient", 6, 4, (0.0, 0.0, 1.0, 1.0)).clip(0, 1).reshape(2, 2, 3, 2, -1).mean((1, 3))
    close(coarse, bits(fine))


def test_strips_make_no_difference(exhibit, monkeypatch):
    region = Region(2, 3, 20, 15)
    for name in LAYERS:
        for size in ((41, 33), (7, 6)):
            whole = draw(view(exhibit, name), region, *size)
            with monkeypatch.context() as patch:
                patch.setattr("eoren.viewer.layers._POINTS_AT_ONCE", 50)
                close(draw(view(exhibit, name), region, *size), whole.astype(float))


def test_the_picture_is_its_pixels(exhibit, picture):
    close(draw(view(exhibit, "original"), Region(0, 0, 30, 20), 30, 20), bits(picture))
    found = draw(view(exhibit, "original", 64), Region(64 * 5, 64 * 7, 128, 64), 128, 64)
    close(found, bits(picture[7:8, 5:7].repeat(64, 0).repeat(64, 1)))
    means = bits(picture.reshape(10, 2, 15, 2, 3).mean((1, 3)))
    close(draw(view(exhibit, "original"), Region(0, 0, 30, 20), 15, 10), means)


def test_the_spline_at_a_zoom(exhibit):
    found = draw(view(exhibit, "spline", 64), Region(320, 640, 64, 64), 8, 8)
    places = (np.arange(8) + 0.5) / 8 - 0.5
    close(found, bits(exhibit.spline(10 + places, 5 + places)))


def errors(field, picture):
    return bits(error_picture(error_map(field.render(), picture), 0.05))


def test_the_difference_is_that_of_the_pixels(exhibit, field, picture):
    whole = errors(field, picture)
    close(draw(view(exhibit, "difference"), Region(0, 0, 30, 20), 30, 20), whole)
    # One colour a pixel, wherever a tile begins.
    found = draw(view(exhibit, "difference", 64), Region(1000, 500, 256, 256), 256, 256)
    rows, columns = ((start + np.arange(256)) // 64 for start in (500, 1000))
    close(found, whole[rows][:, columns])
    close(draw(view(exhibit, "difference"), Region(29, 19, 1, 1), 3, 3), whole[19:, 29:].repeat(3, 0).repeat(3, 1))


def test_the_difference_of_a_large_picture_comes_from_every_so_many_th_pixel(exhibit, field, picture):
    # 10 pixels a side each, three of them are asked: every third.
    found = draw(view(exhibit, "difference"), Region(0, 0, 30, 20), 3, 2)
    some = errors(field, picture)[::3, ::3]
    assert found.shape == (2, 3, 3)
    assert abs(found.astype(float).mean() - some.mean()) < 8


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels(channels, drawn):
    image = drawn(12, 9, channels)
    field = eoren.fit(image, steps=20, width=8, depth=2, seed=0).field
    exhibit = FieldEntry("a", "a", field, "", image)
    colours = 1 if channels < 3 else 3
    expected = {"gradient": 1, "direction": 3, "difference": 3, "laplacian": colours}
    for name in LAYERS:
        found = draw(view(exhibit, name), Region(1, 1, 9, 8), 20, 10)
        assert found.shape == (10, 20, expected.get(name, channels))


def test_a_field_of_averages_is_compared_with_what_it_is_to_say(drawn):
    image = drawn(24, 16, 3)
    field = eoren.fit(image, steps=20, width=16, depth=2, pixel_model="cell_average", seed=0).field
    found = draw(view(FieldEntry("a", "a", field, "", image), "difference"), Region(0, 0, 24, 16), 24, 16)
    close(found, errors(field, point_values(image)))
