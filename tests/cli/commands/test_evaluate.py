import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

NAMES = ["psnr", "psnr_8bit", "gradient_psnr", "ssim", "parameters", "bytes", "bits_per_pixel"]


@pytest.fixture
def metrics(eoren, field_file, picture):
    status, out, err = eoren("evaluate", field_file, picture, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    return json.loads(out)


def test_names_of_the_metrics(metrics):
    assert [*metrics] == NAMES


def test_colour_metrics_are_those_of_scikit_image(eoren, metrics, field_file, tiny):
    eoren("render", field_file, "-o", "rendered.npy")
    eoren("render", field_file, "-o", "rendered.png")
    rendered, image = np.load("rendered.npy").clip(0, 1).astype(np.float64), tiny / 255.0
    with Image.open("rendered.png") as shown:
        in_8_bits = np.asarray(shown)
    assert metrics["psnr"] == pytest.approx(peak_signal_noise_ratio(image, rendered, data_range=1), abs=1e-3)
    assert metrics["psnr_8bit"] == pytest.approx(peak_signal_noise_ratio(tiny, in_8_bits), abs=1e-3)
    options = {"channel_axis": -1, "gaussian_weights": True, "data_range": 1.0}
    assert metrics["ssim"] == pytest.approx(structural_similarity(image, rendered, **options), abs=1e-4)


def test_gradient_psnr_is_that_of_the_files(eoren, metrics, field_file, picture):
    eoren("render", field_file, "--show", "gradient", "-o", "rendered.npy")
    eoren("gradient", picture, "--filter", "spline", "-o", "true.npy")
    error = (np.load("rendered.npy").astype(np.float64) - np.load("true.npy")) / [24, 20]
    assert metrics["gradient_psnr"] == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=1e-3)


def test_sizes_are_those_of_the_file(metrics, field_file):
    assert metrics["parameters"] == sum(
        tensor.size
        for name, tensor in load_file(field_file).items()
        if name.startswith(("weight", "bias", "alpha", "beta"))
    )
    assert metrics["bytes"] == field_file.stat().st_size
    assert metrics["bits_per_pixel"] == pytest.approx(8 * field_file.stat().st_size / (24 * 20))


def test_table(eoren, metrics, field_file, picture):
    status, out, err = eoren("evaluate", field_file, picture)
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (status, err, [*rows]) == (0, "", NAMES)
    assert rows["psnr"] == f"{metrics['psnr']:.2f} dB"
    assert float(rows["ssim"]) == pytest.approx(metrics["ssim"], abs=1e-4)
    assert int(rows["bytes"].replace(",", "")) == metrics["bytes"]


def test_fit_and_evaluate_report_the_same_metrics(eoren, picture):
    options = ["--preset", "mosaic", "--steps", 5, "--set", "width=8", "--set", "depth=2", "--bits", 8, "--json"]
    fitted = json.loads(eoren("fit", picture, "-o", "a.eoren", *options)[1])
    evaluated = json.loads(eoren("evaluate", "a.eoren", picture, "--json")[1])
    assert {name: fitted[name] for name in NAMES} == pytest.approx(evaluated, rel=1e-6)


def test_exact_field(eoren):
    np.save("flat.npy", np.full((16, 16), 0.5))
    eoren("fit", "flat.npy", "-q")
    _, out, _ = eoren("evaluate", "flat.eoren", "flat.npy", "--json")
    assert "NaN" not in out
    assert "Infinity" not in out
    assert json.loads(out)["psnr"] is None or json.loads(out)["psnr"] > 100
    assert eoren("evaluate", "flat.eoren", "flat.npy")[0] == 0


def test_images_of_another_size(refused, field_file, tiny, folder, picture):
    Image.fromarray(tiny[:, :-1]).save("narrow.png")
    Image.fromarray(tiny[..., 0]).save("gray.png")
    Image.fromarray(tiny.transpose(1, 0, 2)).save("turned.png")
    (folder / "cut.png").write_bytes(picture.read_bytes()[:300])
    for name, size in (("narrow", "23x20 with 3 channels;"), ("gray", "24x20 with 1"), ("turned", "20x24 with 3")):
        message = f"{name}.png: the image must be 24x20 with 3 channels like the field, got {size}"
        assert refused("evaluate", field_file, f"{name}.png").startswith(message)
    assert refused("evaluate", field_file, "cut.png").startswith("cut.png: ")
    assert refused("evaluate", field_file, "missing.png").startswith("missing.png: ")
