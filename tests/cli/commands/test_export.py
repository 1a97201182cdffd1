import json
import re

import onnx
import pytest

KINDS = ["onnx", "glsl", "html"]


@pytest.mark.parametrize("to", KINDS)
def test_formats(eoren, field_file, folder, to):
    status, out, err = eoren("export", field_file, "--to", to, "-o", f"a.{to}")
    assert (status, err) == (0, "")
    names = [f"a.{to}", "a.glsl.bin"] if to == "glsl" else [f"a.{to}"]
    assert re.findall(r"^(\S+) +[\d.]+ k?B$", out, re.MULTILINE) == names
    assert {path.name for path in folder.iterdir()} == {"tiny.eoren", *names}
    text = (folder / f"a.{to}").read_bytes()
    if to == "onnx":
        onnx.load_from_string(text)
    else:
        assert text.startswith({"glsl": b"#version 300 es\n", "html": b"<!DOCTYPE html>"}[to])
    if to == "html":
        assert b"<title>tiny</title>" in text


@pytest.mark.parametrize("to", KINDS)
def test_the_suffix_selects_the_format(eoren, field_file, folder, to):
    arguments = ("export", field_file, "-q", "-o")
    assert eoren(*arguments, f"suffix.{to.upper()}") == (0, "", "")
    assert eoren(*arguments, "option", "--to", to) == (0, "", "")
    assert (folder / f"suffix.{to.upper()}").read_bytes() == (folder / "option").read_bytes()


def test_json(eoren, field_file, folder):
    status, out, err = eoren("export", field_file, "--to", "glsl", "-o", "a.glsl", "--json")
    assert (status, err) == (0, "")
    files = [{"file": name, "bytes": (folder / name).stat().st_size} for name in ("a.glsl", "a.glsl.bin")]
    assert json.loads(out) == {"files": files}


@pytest.mark.parametrize("to", KINDS)
def test_quiet(eoren, field_file, to):
    assert eoren("export", field_file, "--to", to, "-o", "a", "--quiet") == (0, "", "")


@pytest.mark.parametrize("to", KINDS)
def test_existing_output_is_kept(eoren, refused, field_file, folder, to):
    (folder / "a").write_text("mine")
    assert refused("export", field_file, "--to", to, "-o", "a").startswith("a: exists; give --overwrite")
    assert "is the input" in refused("export", field_file, "--to", to, "-o", field_file, "--overwrite")
    assert eoren("export", field_file, "--to", to, "-o", "a", "--overwrite", "-q")[0] == 0
    assert (folder / "a").read_bytes() != b"mine"


def test_existing_data_file_is_kept(refused, field_file, folder):
    (folder / "a.bin").write_text("mine")
    assert refused("export", field_file, "--to", "glsl", "-o", "a").startswith("a.bin: exists")


def test_wrong_arguments(refused, field_file, picture, folder):
    assert (
        refused("export", field_file, "-o", "a") == f"{field_file}: --to must be one of onnx, glsl, html, got nothing"
    )
    assert "--to must be one of onnx, glsl, html, got images" in refused(
        "export", field_file, "--to", "images", "-o", "a"
    )
    assert "--to must be one of images, fields, got onnx" in refused("export", folder, "--to", "onnx", "-o", "a")
    assert "'pdf'" in refused("export", field_file, "--to", "pdf", "-o", "a")
    assert "not an .eoren file" in refused("export", picture, "--to", "html", "-o", "a")
    assert "there is no folder" in refused("export", field_file, "--to", "html", "-o", "missing/a.html")
