import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from eoren.backends import native_library as native


@pytest.mark.parametrize("option", ["--backend", "--engine"])
def test_info_of_the_backend(eoren, monkeypatch, option):
    """--engine is the old name of --backend; its JSON object has the old keys as well."""
    for name in ("EOREN_BACKEND", "EOREN_ENGINE"):
        monkeypatch.delenv(name, raising=False)
    notice = "" if option == "--backend" else "eoren: --engine is deprecated; use --backend\n"
    built = native.library() is not None
    status, out, err = eoren("info", option, "--json")
    assert (status, err) == (0, notice)
    values = json.loads(out)
    assert [*values] == ["backend", "target", "threads", "reason", *(["engine", "why"] if notice else [])]
    assert values["backend"] == ("native" if built else "torch")
    assert values["target"] == (native.target() if built else None)
    assert values["threads"] == torch.get_num_threads()
    if notice:
        assert (values["engine"], values["why"]) == (values["backend"], values["reason"])
    status, out, err = eoren("info", option)
    assert (status, err) == (0, notice)
    assert values["reason"] in out


def test_info_of_a_forced_backend(eoren, monkeypatch):
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    status, out, _ = eoren("info", "--backend")
    assert status == 0
    assert out.split()[:2] == ["backend", "torch"]
    assert "EOREN_BACKEND=torch" in out
    monkeypatch.setenv("EOREN_BACKEND", "abacus")
    status, out, err = eoren("info", "--backend")
    assert (status, out) == (2, "")
    assert err == "eoren: EOREN_BACKEND must be one of native, torch, got 'abacus'; set one, or unset it\n"


def test_info_needs_one_subject(refused, field_file):
    for arguments in ((), (field_file, "--backend")):
        assert refused("info", *arguments) == "info needs either a FILE or --backend; give one of them"


def test_info(eoren, field_file, picture):
    metrics = json.loads(eoren("evaluate", field_file, picture, "--json")[1])
    status, out, err = eoren("info", field_file, "--json")
    assert (status, err) == (0, "")
    values = json.loads(out)
    expected = {"width": 24, "height": 20, "channels": 3, "bits": 16, "seed": 3, "steps": 150, "depth": 2}
    assert expected.items() <= values.items()
    assert values["source_sha256"] == hashlib.sha256(picture.read_bytes()).hexdigest()
    assert {name: values[name] for name in ("parameters", "bytes", "bits_per_pixel")} == {
        name: metrics[name] for name in ("parameters", "bytes", "bits_per_pixel")
    }
    assert values["metrics"] == pytest.approx(
        {name: metrics[name] for name in ("psnr", "psnr_8bit", "gradient_psnr", "ssim")}
    )
    status, out, err = eoren("info", field_file)
    assert (status, err) == (0, "")
    for part in ("24 x 20, RGB", "seed 3", values["source_sha256"], f"{metrics['psnr']:.2f} dB"):
        assert part in out


def test_invalid_field_files(refused, field_file, picture, folder):
    (folder / "empty.eoren").touch()
    (folder / "noise.eoren").write_bytes(np.random.default_rng(0).bytes(5000))
    save_file({"a": np.zeros(3)}, "foreign.eoren")
    for name in ("missing.eoren", "empty.eoren", "noise.eoren", "foreign.eoren", "tiny.png"):
        for command in (["info"], ["info", "--json"], ["evaluate", picture]):
            assert refused(command[0], name, *command[1:]).startswith(f"{name}: ")


@pytest.mark.parametrize("part", range(20))
def test_damaged_fields(eoren, field_file, part):
    """A truncated or corrupted file is read correctly or refused in one line."""
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
    assert "new.eoren: .eoren format version must be 1 to 3 for eoren" in refused("info", "new.eoren")
