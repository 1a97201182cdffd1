import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

import eoren as library
from eoren.cli import fitting
from eoren.field.serialization import load

FAST = ["--steps", 3, "--preset", "fast"]


@pytest.fixture
def scene(folder):
    noise = np.random.default_rng(3)
    Image.fromarray(noise.integers(60, 190, (18, 22, 3), np.uint8)).save(folder / "target.png")
    Image.fromarray(noise.integers(60, 190, (10, 12, 3), np.uint8)).save(folder / "source.png")
    mask = np.zeros((10, 12), np.uint8)
    mask[2:8, 3:9] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(np.pad(mask, ((4, 4), (5, 5)))).save(folder / "holes.png")
    return folder


def pixels(path):
    return np.asarray(Image.open(path))


def as_written(colors):
    return np.floor(colors * 255 + 0.5)


def test_images_have_the_exact_colours(eoren, scene):
    commands = {
        "mix": (["target.png", "source.png", "--weight", 0.3], library.mix("target.png", "source.png", weight=0.3)),
        "clone": (
            ["source.png", "target.png", "--mask", "mask.png", "--offset", "6,-3", "--mode", "mixed"],
            library.clone("source.png", "target.png", "mask.png", offset=(6, -3), mode="mixed"),
        ),
        "fill": (
            ["target.png", "--mask", "holes.png", "--method", "biharmonic"],
            library.fill("target.png", "holes.png", method="biharmonic"),
        ),
        "retouch": (["target.png", "--boost-detail", 1.5], library.boost_detail("target.png", 1.5)),
    }
    for name, (arguments, composition) in commands.items():
        status, out, _ = eoren(name, *arguments, "-o", f"{name}.png")
        assert (status, out.startswith(f"written  {name}.png (")) == (0, True)
        np.testing.assert_array_equal(pixels(f"{name}.png"), as_written(composition.colors))


def test_compact_fields_of_a_size_with_their_origin(eoren, scene):
    command = ("mix", "target.png", "target.png", "--weight", 0.25, "-o", "a.eoren", "--preset", "fast")
    assert eoren(*command, "--bytes", 900, "-q")[0] == 0
    assert load("a.eoren").representation.kind == "wavelet"
    assert (scene / "a.eoren").stat().st_size == pytest.approx(900, rel=0.05)
    rows = dict(line.split(maxsplit=1) for line in eoren("info", "a.eoren")[1].splitlines())
    assert rows["composition"] == "mix, sizes crop, weight 0.25"
    assert rows["fit"] == "preset fast"


def test_json_of_an_image(eoren, scene):
    status, out, _ = eoren("mix", "target.png", "target.png", "-o", "a.png", "--json")
    assert status == 0
    assert json.loads(out) == {"file": "a.png", "width": 22, "height": 18, "bytes": (scene / "a.png").stat().st_size}


def test_fields(eoren, scene):
    status, out, err = eoren(
        "clone", "source.png", "target.png", "--mask", "mask.png", "--offset", "4,5", "-o", "a.eoren", *FAST, "--json"
    )
    assert (status, err) == (0, "")
    values = json.loads(out)
    assert values["bytes"] == (scene / "a.eoren").stat().st_size
    field = load("a.eoren")
    assert field.size == (22, 18)
    assert field.provenance.composition["offset"] == [4, 5]
    # A field is an operand like an image.
    status, _, err = eoren("mix", "a.eoren", "source.png", "--fit", "resize", "-o", "b.png")
    assert status == 0
    assert err == "eoren: the images are 22x18 and 12x10; the mix is 22x18 (resize)\n"
    assert pixels("b.png").shape == (18, 22, 3)
    assert sorted(path.suffix for path in scene.iterdir()) == [".eoren", *[".png"] * 5]


def test_network_solver(eoren, scene):
    status, *_ = eoren(
        "mix", "target.png", "target.png", "-o", "a.eoren", "--solver", "network", "--steps", 2, "--quiet"
    )
    assert status == 0
    origin = load("a.eoren").provenance
    assert (origin.composition["solver"], origin.settings["objective"]) == ("network", "gradient")


def test_notice_of_pixels_outside_the_target(eoren, scene):
    arguments = ["clone", "source.png", "target.png", "--mask", "mask.png", "--offset", "-4,0", "-o", "a.png"]
    status, _, err = eoren(*arguments)
    assert (status, err) == (0, "eoren: 6 of the 36 pixels of the mask lie outside the target and are left out\n")
    assert eoren(*arguments, "--quiet", "--overwrite") == (0, "", "")


def test_interrupted_and_resumed(eoren, scene, monkeypatch):
    describe = fitting.describe_progress
    waiting = [True]

    def interrupt(progress):
        if progress.steps >= 5 and waiting:
            waiting.clear()
            os.kill(os.getpid(), signal.SIGINT)
        return describe(progress)

    monkeypatch.setattr(fitting, "describe_progress", interrupt)
    arguments = ["fill", "target.png", "--mask", "holes.png", "--steps", 12, "--quiet"]
    status, _, err = eoren(*arguments, "-o", "a.eoren")
    assert status == 130
    assert "continue with --resume" in err
    assert (scene / "a.eoren.resume").exists()
    assert "an interrupted fit; give --resume" in eoren(*arguments, "-o", "a.eoren")[2]
    assert eoren(*arguments, "-o", "a.eoren", "--resume") == (0, "", "")
    assert eoren(*arguments, "-o", "b.eoren")[0] == 0
    assert not (scene / "a.eoren.resume").exists()
    np.testing.assert_array_equal(load("a.eoren").render(), load("b.eoren").render())


CLONE = ["clone", "source.png", "target.png", "--mask"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [*CLONE, "holes.png", "-o", "a.png"],
            "the mask must have the size of the source, 12x10, got 22x18; resize it",
        ),
        ([*CLONE, "black.png", "-o", "a.png"], "the mask is empty"),
        ([*CLONE, "mask.png", "-o", "a.png", "--offset", "40,0"], "offset 40,0 puts the mask of 12x10 outside"),
        (
            [*CLONE, "mask.png", "-o", "a.png", "--offset", "1.5,0"],
            "--offset must have the form X,Y in whole pixels, got '1.5,0'",
        ),
        (
            [*CLONE, "mask.png", "-o", "a.png", "--offset", "1"],
            "--offset must have the form X,Y in whole pixels, got '1'",
        ),
        ([*CLONE, "mask.png", "-o", "a.png", "--mode", "paste"], "'--mode'"),
        (
            [*CLONE, "mask.png", "-o", "a.png", "--keep-color", "-1"],
            "keep_color must be a finite number, 0 or above, got -1",
        ),
        ([*CLONE, "missing.png", "-o", "a.png"], "missing.png: cannot be read"),
        ([*CLONE, "mask.png", "-o", "target.png", "--overwrite"], "target.png: is the input"),
        ([*CLONE, "mask.png", "-o", "mask.png", "--overwrite"], "mask.png: is the input"),
        ([*CLONE, "mask.png", "-o", "old.png"], "old.png: exists; give --overwrite"),
        ([*CLONE, "mask.png", "-o", "a.foo"], "a.foo: cannot write the format '.foo'"),
        (
            [*CLONE, "mask.png", "-o", "a.png", "--seconds", "3"],
            "a.png: an image is not fitted; to fit, write an .eoren file",
        ),
        *(
            (
                [*CLONE, "mask.png", "-o", "a.png", *option],
                "a.png: an image is not fitted; to fit, write an .eoren file",
            )
            for option in (["--preset", "best"], ["--seed", "5"])
        ),
        ([*CLONE, "mask.png", "-o", "a.png", "--solver", "network"], "a.png: --solver network makes a function"),
        ([*CLONE, "mask.png", "-o", "a.eoren", "--steps", "-1"], "steps must be zero or a positive number, got -1"),
        ([*CLONE, "mask.png", "-o", "a.eoren", "--preset", "foo"], "'foo' is not one of"),
        ([*CLONE, "mask.png", "-o", "a.eoren", "--resume"], "a.eoren.resume: does not exist"),
        (
            [*CLONE, "mask.png", "-o", "a.eoren", "--seed", "-1"],
            "--seed must be an integer from 0 to 4294967295, got -1",
        ),
        (
            [*CLONE, "mask.png", "-o", "a.png", "--device", "tpu"],
            "device must be one of auto, cpu, cuda, mps, got 'tpu'",
        ),
        (
            ["mix", "source.png", "target.png", "-o", "a.png", "--weight", "2"],
            "between 0 and 1, got 2",
        ),
        (
            ["mix", "source.png", "target.png", "-o", "a.png", "--weight", "nan"],
            "between 0 and 1, got nan",
        ),
        (["mix", "source.png", "target.png", "-o", "a.png", "--fit", "squeeze"], "'--fit'"),
        (["fill", "target.png", "--mask", "white.png", "-o", "a.png"], "the mask covers every pixel"),
        (
            ["fill", "target.png", "--mask", "mask.png", "-o", "a.png"],
            "the mask must have the size of the image, 22x18, got 12x10",
        ),
        (
            [
                "fill",
                "target.png",
                "--mask",
                "holes.png",
                "-o",
                "a.eoren",
                "--method",
                "biharmonic",
                "--solver",
                "network",
            ],
            "--method biharmonic follows no gradient field",
        ),
        (["retouch", "target.png", "-o", "a.png"], "retouch does one thing at a time"),
        (["retouch", "target.png", "-o", "a.png", "--flatten-light", "--denoise-edges"], "one thing at a time"),
        (["retouch", "target.png", "-o", "a.png", "--boost-detail", "0"], "must be a finite number above 0, got 0"),
    ],
)
def test_refused(refused, scene, arguments, message):
    Image.fromarray(np.zeros((10, 12), np.uint8)).save("black.png")
    Image.fromarray(np.full((18, 22), 255, np.uint8)).save("white.png")
    (scene / "old.png").write_text("precious")
    assert message in refused(*arguments)
