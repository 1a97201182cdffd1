"""Programs that run others: xargs, GNU parallel, make; and jq, which reads JSON."""

import json

import pytest
from PIL import Image

import eoren


@pytest.fixture
def fields(picture, tmp_path):
    names = [f"field {k}.eoren" for k in range(2)]
    for name in names:
        (tmp_path / name).write_bytes(picture[1].read_bytes())
    return names


def sizes(paths):
    for path in paths:
        with Image.open(path) as image:
            yield image.size


def test_xargs(program, eoren_command, fields, tmp_path):
    words = ["xargs", "-0", "-P2", "-I{}", eoren_command, "render", "{}", "-o", "{}.png", "--scale", "2"]
    program(*words, cwd=tmp_path, stdin="\0".join(fields).encode())
    assert [*sizes(tmp_path / f"{name}.png" for name in fields)] == [(48, 40)] * 2


def test_parallel(program, eoren_command, fields, tmp_path):
    words = ["parallel", "-j2", "-k", f"{eoren_command} render {{}} -o {{.}}.png --json"]
    lines = program(*words, cwd=tmp_path, stdin="\n".join(fields).encode()).splitlines()
    names = [name.replace(".eoren", ".png") for name in fields]
    assert [json.loads(line)["file"] for line in lines] == names
    assert [*sizes(tmp_path / name for name in names)] == [(24, 20)] * 2


def test_make(program, eoren_command, tmp_path, picture):
    rule = f"%.png: %.eoren\n\t{eoren_command} render $< -o $@ --scale 2\n"
    (tmp_path / "Makefile").write_text(rule)
    (tmp_path / "large.eoren").write_bytes(picture[1].read_bytes())
    program("make", "large.png", cwd=tmp_path)
    assert [*sizes([tmp_path / "large.png"])] == [(48, 40)]
    assert b"up to date" in program("make", "large.png", cwd=tmp_path)


def test_make_finds_no_file_after_an_error(program, eoren_command, tmp_path):
    (tmp_path / "Makefile").write_text(f"a.png:\n\t-{eoren_command} render missing.eoren -o $@\n")
    assert b"render missing.eoren" in program("make", "a.png", cwd=tmp_path)  # the hyphen lets make go on
    assert not (tmp_path / "a.png").exists()


def test_jq(program, eoren_command, picture):
    values = program(eoren_command, "evaluate", picture[1], picture[0], "--json")
    psnr = eoren.evaluate(eoren.load(picture[1]), eoren.read_image(picture[0])).psnr
    assert float(program("jq", ".psnr", stdin=values)) == pytest.approx(psnr)
