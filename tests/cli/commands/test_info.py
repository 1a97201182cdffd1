import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from eoren.backends import native

NAMES = ["psnr", "psnr_8bit", "gradient_psnr", "ssim", "parameters", "bytes", "bits_per_pixel"]


@pytest.fixture
def metrics(eoren, field_file, picture):
    status, out, err = eoren("evaluate", field_file, picture, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    return json.loads(out)


def test_names_of_the_metrics(metrics):
    assert [*metrics] == NAMES


def test_colour_metrics_are_those_of_scikit_image(eoren, metrics, field_file, tiny):
    eoren("render", field_file, "-o", "said.npy")
    eoren("render", field_file, "-o", "said.png")
    said, image = np.load("said.npy").clip(0, 1).astype(np.float64), tiny / 255.0
    with Image.open("said.png") as shown:
        in_8_bits = np.asarray(shown)
    assert metrics["psnr"] == pytest.approx(peak_signal_noise_ratio(image, said, data_range=1), abs=1e-3)
    assert metrics["psnr_8bit"] == pytest.approx(peak_signal_noise_ratio(tiny, in_8_bits), abs=1e-3)
    options = {"channel_axis": -1, "gaussian_weights": True, "data_range": 1.0}
    assert metrics["ssim"] == pytest.approx(structural_similarity(image, said, **options), abs=1e-4)


def test_gradient_psnr_is_that_of_the_files(eoren, metrics, field_file, picture):
    eoren("render", field_file, "--show", "gradient", "-o", "said.npy")
    eoren("gradient", picture, "--filter", "spline", "-o", "true.npy")
    error = (np.load("said.npy").astype(np.float64) - np.load("true.npy")) / [24, 20]
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


def test_what_fit_says_is_what_evaluate_finds(eoren, picture):
    options = ["--steps", 5, "--set", "width=8", "--set", "depth=2", "--bits", 8, "--json"]
    fitted = json.loads(eoren("fit", picture, "-o", "a.eoren", *options)[1])
    evaluated = json.loads(eoren("evaluate", "a.eoren", picture, "--json")[1])
    assert {name: fitted[name] for name in NAMES} == pytest.approx(evaluated, rel=1e-6)


def test_exact_field(eoren):
    np.save("flat.npy", np.full((16, 16), 0.5))
    eoren("fit", "flat.npy", "--steps", 0, "-q", "--set", "width=8", "--set", "depth=2")
    _, out, _ = eoren("evaluate", "flat.eoren", "flat.npy", "--json")
    assert "NaN" not in out
    assert "Infinity" not in out
    assert json.loads(out)["psnr"] is None or json.loads(out)["psnr"] > 100
    assert eoren("evaluate", "flat.eoren", "flat.npy")[0] == 0


def test_info_of_the_engine(eoren, monkeypatch):
    monkeypatch.delenv("EOREN_ENGINE", raising=False)
    built = native.library() is not None
    status, out, err = eoren("info", "--engine", "--json")
    assert (status, err) == (0, "")
    said = json.loads(out)
    assert said["engine"] == ("native" if built else "torch")
    assert said["target"] == (native.target() if built else None)
    assert said["threads"] == torch.get_num_threads()
    status, out, _ = eoren("info", "--engine")
    assert status == 0
    assert said["why"] in out
    monkeypatch.setenv("EOREN_ENGINE", "torch")
    status, out, _ = eoren("info", "--engine")
    assert out.split()[:2] == ["engine", "torch"]
    assert "EOREN_ENGINE is torch" in out
    monkeypatch.setenv("EOREN_ENGINE", "abacus")
    status, out, err = eoren("info", "--engine")
    assert (status, out) == (2, "")
    assert err == "eoren: EOREN_ENGINE is 'abacus'; set it to one of native, torch, or not at all\n"


def test_info_of_nothing_or_too_much(eoren, field_file):
    for arguments in ((), (field_file, "--engine")):
        status, out, err = eoren("info", *arguments)
        assert (status, out) == (2, "")
        assert err == "eoren: info wants a FILE, or --engine; give one of them\n"


def test_info(eoren, metrics, field_file, picture):
    status, out, err = eoren("info", field_file, "--json")
    assert (status, err) == (0, "")
    said = json.loads(out)
    expected = {"width": 24, "height": 20, "channels": 3, "bits": 16, "seed": 3, "steps": 150, "depth": 2}
    assert expected.items() <= said.items()
    assert said["source_sha256"] == hashlib.sha256(picture.read_bytes()).hexdigest()
    assert {name: said[name] for name in NAMES[4:]} == {name: metrics[name] for name in NAMES[4:]}
    assert said["metrics"] == pytest.approx({name: metrics[name] for name in NAMES[:4]})
    status, out, err = eoren("info", field_file)
    assert (status, err) == (0, "")
    for part in ("24 x 20, RGB", "seed 3", said["source_sha256"], f"{metrics['psnr']:.2f} dB"):
        assert part in out


def test_other_pictures(refused, field_file, tiny, folder, picture):
    Image.fromarray(tiny[:, :-1]).save("narrow.png")
    Image.fromarray(tiny[..., 0]).save("gray.png")
    Image.fromarray(tiny.transpose(1, 0, 2)).save("turned.png")
    (folder / "cut.png").write_bytes(picture.read_bytes()[:300])
    assert refused("evaluate", field_file, "narrow.png").startswith("narrow.png: the image is 23x20 with 3 channels")
    assert refused("evaluate", field_file, "gray.png").startswith("gray.png: the image is 24x20 with 1")
    assert refused("evaluate", field_file, "turned.png").startswith("turned.png: the image is 20x24")
    assert refused("evaluate", field_file, "cut.png").startswith("cut.png: ")
    assert refused("evaluate", field_file, "missing.png").startswith("missing.png: ")


def test_files_that_are_no_field(refused, field_file, picture, folder):
    (folder / "empty.eoren").touch()
    (folder / "noise.eoren").write_bytes(np.random.default_rng(0).bytes(5000))
    save_file({"a": np.zeros(3)}, "foreign.eoren")
    for name in ("missing.eoren", "empty.eoren", "noise.eoren", "foreign.eoren", "tiny.png"):
        for command in (["info"], ["info", "--json"], ["evaluate", picture]):
            assert refused(command[0], name, *command[1:]).startswith(f"{name}: ")


@pytest.mark.parametrize("part", range(20))
def test_damaged_fields(eoren, field_file, part):
    """Cut off or with wrong bytes: read all the same, or refused in one line."""
    generator = np.random.default_rng(part)
    content = np.frombuffer(field_file.read_bytes(), np.uint8)
    for _ in range(5):
        damaged = content.copy()
        damaged[generator.integers(0, len(content), 3)] ^= generator.integers(1, 256, 3, dtype=np.uint8)
        for name, kept in (("cut.eoren", content[: generator.integers(len(content))]), ("wrong.eoren", damaged)):
            field_file.with_name(name).write_bytes(kept.tobytes())
            status, out, err = eoren("info", name)
            assert status in (0, 2)
            if status == 2 or name == "cut.eoren":
                assert (status, out, err.count("\n")) == (2, "", 1)
                assert err.startswith(f"eoren: {name}: ")


def test_newer_format(refused, field_file):
    with safe_open(field_file, framework="np") as file:
        header = json.loads(file.metadata()["eoren"]) | {"format_version": 99}
    save_file(load_file(field_file), "new.eoren", {"eoren": json.dumps(header)})
    assert "new.eoren: .eoren format version 99 is not one that eoren" in refused("info", "new.eoren")
