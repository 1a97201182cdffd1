import io
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

import eoren
from eoren.cancellation import Cancelled, CancelToken
from eoren.image.cell_averages import point_values
from eoren.viewer.catalog import LAYERS, FieldCatalog, FieldEntry, View
from eoren.viewer.iiif import Region, parse
from eoren.viewer.layers import color_key, draw, render
from eoren.viewer.workbench.editing import Edit, edit
from eoren.visualization.colormaps import direction_image, error_image, error_map
from eoren.visualization.derivatives import laplacian_image, magnitude_image


def bits(pixels):
    return np.floor(np.clip(pixels, 0, 1) * 255 + 0.5)


def view(entry, name, magnification=1):
    return View(entry, LAYERS[name], magnification)


def assert_close(drawn, expected):
    """Check equality up to rounding: strips and the whole differ slightly in float32."""
    assert drawn.dtype == np.uint8
    assert drawn.shape == expected.shape
    assert np.abs(drawn.astype(float) - expected).max() <= 1


def expected(field, name, width, height, region):
    sides = (30.0, 20.0)
    if name == "color":
        return field.sample(width, height, "color", region=region)[0]
    sampled = field.sample(
        width, height, "laplacian" if name == "laplacian" else "gradient", region=region, extent=sides
    )[0]
    if name == "laplacian":
        return laplacian_image(sampled)
    return magnitude_image(sampled) if name == "gradient" else direction_image(sampled, 0.25)


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
def test_layers_show_the_field_at_every_zoom(entry, field, name, magnification, region, size):
    across, down = 30 * magnification, 20 * magnification
    box = (
        region.x / across,
        region.y / down,
        (region.x + region.width) / across,
        (region.y + region.height) / down,
    )
    assert_close(draw(view(entry, name, magnification), region, *size), bits(expected(field, name, *size, box)))


@pytest.mark.parametrize("name", ["color", "gradient", "laplacian"])
def test_reduced_layers_are_means(entry, field, name):
    fine = expected(field, name, 30, 20, (0.0, 0.0, 1.0, 1.0)).clip(0, 1)
    means = fine.reshape(10, 2, 15, 2, -1).mean((1, 3))
    assert_close(draw(view(entry, name), Region(0, 0, 30, 20), 15, 10), bits(means))


def test_the_direction_of_a_reduced_layer_is_that_of_the_mean_gradient(entry, field):
    fine = field.sample(30, 20, "gradient", extent=(30.0, 20.0))[0]
    means = direction_image(fine.reshape(10, 2, 15, 2, 3, 2).mean((1, 3)), 0.25)
    assert_close(draw(view(entry, "direction"), Region(0, 0, 30, 20), 15, 10), bits(means))


def test_drawing_can_be_cancelled_before_every_strip(entry, monkeypatch):
    monkeypatch.setattr("eoren.viewer.layers._POINTS_AT_ONCE", 90)

    class Token(CancelToken):
        """A token that is cancelled at its third check."""

        checks = 0

        def is_cancelled(self):
            self.checks += 1
            return self.checks == 3

    for name in LAYERS:
        if name == "original":  # drawn at once
            continue
        with pytest.raises(Cancelled):
            draw(view(entry, name), Region(0, 0, 30, 20), 30, 20, token=Token())


def test_pixels_that_cover_many_are_means_of_a_few_points(entry, field):
    coarse = draw(view(entry, "color"), Region(0, 0, 30, 20), 3, 2)
    fine = field.sample(9, 6, "color")[0].clip(0, 1).reshape(2, 3, 3, 3, 3).mean((1, 3))
    assert_close(coarse, bits(fine))
    coarse = draw(view(entry, "gradient"), Region(0, 0, 30, 20), 3, 2)
    fine = expected(field, "gradient", 6, 4, (0.0, 0.0, 1.0, 1.0)).clip(0, 1).reshape(2, 2, 3, 2, -1).mean((1, 3))
    assert_close(coarse, bits(fine))


def test_the_height_of_strips_makes_no_difference(entry, monkeypatch):
    region = Region(2, 3, 20, 15)
    for name in LAYERS:
        for size in ((41, 33), (7, 6)):
            whole = draw(view(entry, name), region, *size)
            with monkeypatch.context() as patch:
                patch.setattr("eoren.viewer.layers._POINTS_AT_ONCE", 50)
                assert_close(draw(view(entry, name), region, *size), whole.astype(float))


def test_the_original_layer_shows_the_pixels(entry, image):
    assert_close(draw(view(entry, "original"), Region(0, 0, 30, 20), 30, 20), bits(image))
    drawn = draw(view(entry, "original", 64), Region(64 * 5, 64 * 7, 128, 64), 128, 64)
    assert_close(drawn, bits(image[7:8, 5:7].repeat(64, 0).repeat(64, 1)))
    means = bits(image.reshape(10, 2, 15, 2, 3).mean((1, 3)))
    assert_close(draw(view(entry, "original"), Region(0, 0, 30, 20), 15, 10), means)


def test_the_spline_at_a_zoom(entry):
    drawn = draw(view(entry, "spline", 64), Region(320, 640, 64, 64), 8, 8)
    places = (np.arange(8) + 0.5) / 8 - 0.5
    assert_close(drawn, bits(entry.spline(10 + places, 5 + places)))


def errors(field, image):
    return bits(error_image(error_map(field.render(), image), 0.05))


def test_the_difference_layer_shows_the_errors_at_the_pixels(entry, field, image):
    whole = errors(field, image)
    assert_close(draw(view(entry, "difference"), Region(0, 0, 30, 20), 30, 20), whole)
    # One colour per pixel, wherever the region begins.
    drawn = draw(view(entry, "difference", 64), Region(1000, 500, 256, 256), 256, 256)
    rows, columns = ((start + np.arange(256)) // 64 for start in (500, 1000))
    assert_close(drawn, whole[rows][:, columns])
    assert_close(
        draw(view(entry, "difference"), Region(29, 19, 1, 1), 3, 3), whole[19:, 29:].repeat(3, 0).repeat(3, 1)
    )


def test_the_difference_layer_of_a_large_image_uses_every_nth_pixel(entry, field, image):
    # Each drawn pixel covers 10 x 10 pixels, of which every third is evaluated.
    drawn = draw(view(entry, "difference"), Region(0, 0, 30, 20), 3, 2)
    sampled = errors(field, image)[::3, ::3]
    assert drawn.shape == (2, 3, 3)
    assert abs(drawn.astype(float).mean() - sampled.mean()) < 8


def test_keys_give_the_colours_of_their_layers(entry, monkeypatch):
    """The ends of a ramp are drawn where the quantity has the numbers of the key."""
    keys = {name: color_key(layer) for name, layer in LAYERS.items()}
    assert {name for name, key in keys.items() if key} == {"gradient", "laplacian", "difference", "direction"}
    for name, kind in (("gradient", "gradient"), ("laplacian", "laplacian")):
        high = float(keys[name]["high"])
        values = np.full((2, 2, 3, 2), high / np.sqrt(2)) if name == "gradient" else np.full((2, 2, 3), high)
        monkeypatch.setattr(type(entry.field), "sample", lambda *_, values=values, **__: (values,))
        assert {*draw(view(entry, kind), Region(0, 0, 2, 2), 2, 2).ravel()} == {255}
        assert keys[name]["colors"][-1] == "rgb(255 255 255)"
    assert keys["laplacian"]["low"] == "−0.5"
    full = error_image(np.array([[0.0, float(keys["difference"]["high"])]]), float(keys["difference"]["high"]))
    ends = [keys["difference"]["colors"][k] for k in (0, -1)]
    assert ends == ["rgb({:.0f} {:.0f} {:.0f})".format(*color) for color in 255 * full[0]]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_colors_are_served_with_their_profile(entry, field, image, suffix):
    profile = imagecodecs.cms_profile("adobergb")
    provenance = replace(field.provenance, profile=profile)
    entry = FieldEntry("a", "a", replace(field, provenance=provenance), "", image)
    for name in LAYERS:
        request = parse("full", "max", "0", f"default.{suffix}", width=30, height=20)
        with Image.open(io.BytesIO(render(view(entry, name), request, CancelToken()))) as served:
            expected = profile if name in ("color", "original", "spline") else None
            assert served.info.get("icc_profile") == expected, name


def test_gray_is_served_with_its_profile_or_in_srgb(make_image):
    """WebP has no gray; Pillow converts the PNG to what it has."""
    image, profile = make_image(12, 9, 1), imagecodecs.cms_profile("gray", gamma=2.6)
    field = eoren.fit(image, preset="fast", steps=0).field
    field = replace(field, provenance=replace(field.provenance, profile=profile))
    served = {}
    for suffix in ("png", "webp"):
        request = parse("full", "max", "0", f"default.{suffix}", width=12, height=9)
        shown = view(FieldEntry("a", "a", field, "", image), "original")
        with Image.open(io.BytesIO(render(shown, request, CancelToken()))) as served[suffix]:
            served[suffix].load()
    assert (served["png"].info["icc_profile"], served["webp"].info.get("icc_profile")) == (profile, None)
    known, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    expected = np.asarray(ImageCms.profileToProfile(served["png"], known, srgb, outputMode="RGB")).astype(float)
    errors = [abs(np.asarray(image.convert("RGB")) - expected).mean() for image in served.values()]
    assert errors[1] < min(3, errors[0] / 2)


def test_an_edit_is_served_in_its_own_profile(make_image):
    """Colours that are cloned into gray are RGB, which a profile of gray does not describe."""
    catalog, profile = FieldCatalog(), imagecodecs.cms_profile("gray", gamma=2.6)
    field = eoren.fit(make_image(12, 9, 1), preset="fast", steps=0).field
    gray = catalog.add("gray", replace(field, provenance=replace(field.provenance, profile=profile)), digest="a")
    image = make_image(12, 9, 3)
    catalog.add("colours", eoren.fit(image, preset="fast", steps=0).field, digest="b")
    mask = io.BytesIO()
    Image.new("L", (12, 9), 255).save(mask, "PNG")
    for change, expected in ((Edit("clone", source="colours"), None), (Edit("flatten-light"), profile)):
        edited = gray.layer(edit(catalog, gray, change, mask.getvalue())["layer"])
        request = parse("full", "max", "0", "default.png", width=12, height=9)
        with Image.open(io.BytesIO(render(View(gray, edited), request, CancelToken()))) as served:
            assert (served.mode, served.info.get("icc_profile")) == ("L" if expected else "RGB", expected)


@pytest.mark.parametrize("name", ["color", "original", "spline"])
def test_reduced_colors_are_weighted_by_alpha(name):
    """Black of transparent pixels is not seen."""
    image = np.zeros((33, 33, 4), np.float32)
    image[:, 16:] = [1, 0, 0, 1]
    field = eoren.fit(image, preset="fast").field
    drawn = draw(view(FieldEntry("a", "a", field, "", image), name), Region(0, 0, 33, 33), 11, 11)
    seen = drawn[drawn[..., 3] > 16].astype(int)
    assert len(seen) >= 55
    np.testing.assert_allclose(seen[:, :3], np.broadcast_to([255, 0, 0], (len(seen), 3)), atol=16)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels(channels, make_image):
    image = make_image(12, 9, channels)
    field = eoren.fit(image, preset="mosaic", steps=20, width=8, depth=2, seed=0).field
    entry = FieldEntry("a", "a", field, "", image)
    colours = 1 if channels < 3 else 3
    expected = {"gradient": 1, "direction": 3, "difference": 3, "laplacian": colours}
    for name in LAYERS:
        drawn = draw(view(entry, name), Region(1, 1, 9, 8), 20, 10)
        assert drawn.shape == (10, 20, expected.get(name, channels))


def test_fields_of_cell_averages_are_compared_with_point_values(make_image):
    image = make_image(24, 16, 3)
    field = eoren.fit(image, preset="mosaic", steps=20, width=16, depth=2, pixel_model="cell_average", seed=0).field
    drawn = draw(view(FieldEntry("a", "a", field, "", image), "difference"), Region(0, 0, 24, 16), 24, 16)
    assert_close(drawn, errors(field, point_values(image)))
