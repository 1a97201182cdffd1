"""Standard input and output, pipes and terminals, with real processes and shells."""

import io
import json
import os
import pty
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import eoren as library
from eoren.cli import console, main
from eoren.errors import EorenError

EOREN = [sys.executable, "-m", "eoren"]
FIT = ["--preset", "fast", "--quiet"]


def run(*arguments, **options):
    """Run a command of its own process; return (exit status, stdout, stderr), as bytes."""
    command = [*EOREN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120, **options)
    return done.returncode, done.stdout, done.stderr


def shell(line, **variables):
    """Run a line of a shell, in which $EOREN is the command."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    variables = {"EOREN": " ".join(EOREN), **variables}
    done = subprocess.run(
        [bash, "-o", "pipefail", "-c", line],
        env=os.environ | variables,
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


class Standard:
    """A standard stream of this process: text around binary data in memory."""

    def __init__(self, content=b"", is_terminal=False):
        self.buffer, self.isatty = io.BytesIO(content), lambda: is_terminal
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.fixture
def call(monkeypatch):
    """Call the command line in this process with given bytes on stdin; return (status, stdout, stderr)."""
    monkeypatch.setattr(console, "LINE_EVERY", float("inf"))

    def call(*arguments, stdin=b"", terminal=""):
        given, out, err = Standard(stdin, terminal == "stdin"), Standard(b"", terminal == "stdout"), io.StringIO()
        with monkeypatch.context() as patched:
            for name, stream in (("stdin", given), ("stdout", out), ("stderr", err)):
                patched.setattr(sys, name, stream)
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        assert out.text == "" or not out.buffer.getvalue()  # text and binary data are not mixed
        return ended.value.code, out.buffer.getvalue() or out.text, err.getvalue()

    return call


def test_fields_and_images_pass_through_pipes(call, picture, folder):
    status, field, err = call("fit", "-", "-o", "-", *FIT, stdin=picture.read_bytes())
    assert (status, err) == (0, "")
    assert call("fit", picture, "-o", "a.eoren", *FIT) == (0, "", "")
    assert field == (folder / "a.eoren").read_bytes()
    status, png, err = call("render", "-", "-o", "-", stdin=field)
    assert (status, err) == (0, "")
    with Image.open(io.BytesIO(png)) as image:
        np.testing.assert_array_equal(np.asarray(image), library.load(field).render_image())
    status, npy, err = call("gradient", "-", "-o", "-", "--to", "npy", stdin=png)
    assert (status, err) == (0, "")
    np.testing.assert_array_equal(np.load(io.BytesIO(npy)), library.adjusted_gradient(library.read_image(png)))
    from_stdin, from_file = (
        json.loads(call("evaluate", first, second, "--json", stdin=stdin)[1])
        for first, second, stdin in (("-", picture, field), ("a.eoren", picture, b""))
    )
    assert from_stdin == from_file
    assert json.loads(call("evaluate", "a.eoren", "-", "--json", stdin=picture.read_bytes())[1]) == from_file
    assert json.loads(call("info", "-", "--json", stdin=field)[1])["bytes"] == len(field)
    assert not [*folder.glob("-*")]


@pytest.mark.parametrize(("options", "kind"), [([], "PNG"), (["--to", "tif"], "TIFF"), (["--to", "jpg"], "JPEG")])
def test_the_format_of_standard_output(call, field_file, options, kind):
    status, content, err = call("render", field_file, "-o", "-", *options, "--size", "9x7")
    assert (status, err) == (0, "")
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size) == (kind, (9, 7))


def test_a_format_replaces_the_suffix(call, field_file, folder):
    assert call("render", field_file, "-o", "a.dat", "--to", "png", "-q") == (0, "", "")
    with Image.open(folder / "a.dat") as image:
        assert image.format == "PNG"


def test_results_go_to_stderr_where_stdout_has_data(call, picture):
    status, field, err = call("fit", picture, "-o", "-", "--preset", "fast", "--json")
    assert status == 0
    values = json.loads(err.splitlines()[-1])
    assert (values["file"], values["bytes"]) == ("-", len(field))
    status, field, err = call("fit", picture, "-o", "-", "--preset", "fast")
    assert (status, library.load(field).size) == (0, (24, 20))
    assert "gradient_psnr" in err
    assert "next" not in err  # there is no file to view
    status, _, err = call("gradient", picture, "-o", "-", "--json")
    assert (status, json.loads(err)) == (0, {"file": "-", "width": 24, "height": 20})


@pytest.mark.parametrize(
    ("arguments", "terminal", "message"),
    [
        (["fit", "-", "-o", "a.eoren"], "stdin", "standard input is a terminal; redirect a file to it"),
        (["render", "-", "-o", "a.png"], "stdin", "standard input is a terminal; redirect a file to it"),
        (["fit", "tiny.png", "-o", "-"], "stdout", "-: is a terminal, which shows no binary data; redirect it, or"),
        (["render", "tiny.eoren", "-o", "-"], "stdout", "-: is a terminal, which shows no binary data; redirect it"),
        (["gradient", "tiny.png", "-o", "-"], "stdout", "-: is a terminal, which shows no binary data; redirect it"),
        (["evaluate", "-", "-"], "", "standard input can be FILE or IMAGE, got both; give a path for one of them"),
        (["fit", "-"], "", "--output must be given for an image from standard input, got none; give a file, or -"),
        (["fit", "tiny.png", "-o", "-", "--resume"], "", "-: --resume needs a checkpoint beside the output; give"),
        (["render", "-", "-o", "a.png"], "", "standard input: not an .eoren file; such files are written by"),
        (["evaluate", "tiny.eoren", "-"], "", "standard input: no image in a known format; use an intact PNG"),
        (["export", "tiny.eoren", "-o", "-", "--to", "onnx"], "", "this command does not write to the standard out"),
        (["mix", "tiny.png", "tiny.png", "-o", "-"], "", "this command does not write to the standard output; give"),
        (["render", "tiny.eoren", "-o", "-", "--to", "jpg", "--bit-depth", "16"], "", ".jpg holds 8 bits, not 16"),
    ],
)
def test_one_line_of_refusal(call, picture, field_file, folder, arguments, terminal, message):
    before = sorted(folder.iterdir())
    status, out, err = call(*arguments, terminal=terminal, stdin=b"hello")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(folder.iterdir()) == before


def test_closed_standard_streams(field_file):
    status, out, err = shell("$EOREN render $FIELD -o - >&-", FIELD=str(field_file))
    assert (status, out, err) == (2, b"", b"eoren: standard output is closed; redirect it to a file\n")
    status, out, err = shell("$EOREN render - -o a.png <&-")
    assert (status, out, err) == (2, b"", b"eoren: standard input is closed; redirect a file to it\n")


def test_a_closed_stderr_leaves_stdout_to_data(picture):
    """Progress, notices and results are left out, and no file takes the place of stderr."""
    command = "$EOREN fit $IMAGE -o - --preset fast --until-psnr 99"
    files = {"IMAGE": str(picture)}
    status, expected, err = shell(command, **files)
    assert (status, err != b"") == (0, True)
    assert shell(f"{command} 2>&-", **files) == (0, expected, b"")
    assert shell(f"{command} --json 2>&-", **files) == (0, expected, b"")
    assert shell("$EOREN render missing.eoren -o a.png 2>&-") == (2, b"", b"")


def test_pipes_of_a_shell(field_file, picture, folder):
    """Process substitution and named pipes, which can be read and written once, and paths of the standard output."""
    expected = library.load(field_file).render_image()

    def pixels(content):
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image)

    files = {"FIELD": str(field_file), "IMAGE": str(picture)}
    commands = {
        "$EOREN render <(cat $FIELD) -o >(cat > a.png); wait $!; sleep 0.1; cat a.png",
        "mkfifo b.png; cat $FIELD | $EOREN render - -o b.png & cat b.png",
        "$EOREN render $FIELD -o /dev/stdout > c.png; cat c.png",
        "echo -n > d.png; $EOREN render $FIELD -o /dev/fd/1 >> d.png; cat d.png",
    }
    for command in commands:
        status, out, err = shell(command, **files)
        assert (status, err) == (0, b""), command
        np.testing.assert_array_equal(pixels(out), expected, err_msg=command)
    status, out, err = shell("$EOREN evaluate <(cat $FIELD) <(cat $IMAGE) --json", **files)
    assert (status, err) == (0, b"")
    assert json.loads(out)["bytes"] == field_file.stat().st_size
    assert run("render", field_file, "-o", os.devnull)[0] == 0
    assert {path.name for path in folder.iterdir()} == {"tiny.png", "tiny.eoren", *(f"{c}.png" for c in "abcd")}


def test_terminals_get_no_binary_data(field_file):
    master, terminal = pty.openpty()
    try:
        for output in ("-", "/dev/stdout", os.ttyname(terminal)):
            done = subprocess.run(
                [*EOREN, "render", field_file, "-o", output], stdout=terminal, stderr=subprocess.PIPE, check=False
            )
            assert done.returncode == 2
            assert done.stderr.decode().startswith(f"eoren: {output}: is a terminal, which shows no binary data")
    finally:
        os.close(master)
        os.close(terminal)


LARGE = ["render", "tiny.eoren", "-o", "-", "--to", "npy", "--scale", "40"]  # more than a pipe holds


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["info", "tiny.eoren"],
        ["evaluate", "tiny.eoren", "tiny.png", "--json"],
        ["fit", "tiny.png", "-o", "-", "--preset", "fast", "--quiet"],
        LARGE,
    ],
    ids=" ".join,
)
def test_a_reader_that_stopped_before(field_file, picture, arguments):
    receiver, sender = os.pipe()
    os.close(receiver)
    done = subprocess.run([*EOREN, *arguments], stdout=sender, stderr=subprocess.PIPE, check=False)
    os.close(sender)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_reader_that_stops_in_between(field_file):
    status, out, err = shell(f"$EOREN {' '.join(LARGE)} | head -c 6")
    assert (status, out, err) == (141, b"\x93NUMPY", b"")


def test_messages_whose_reader_stopped(field_file):
    status, _, err = shell("$EOREN render missing.eoren -o a.png 2>&1 | sleep 0")
    assert (status, err) == (2, b"")


def test_errors_of_the_input_are_one_line(refused):
    assert refused("render", "missing.eoren", "-o", "a.png").startswith("missing.eoren: cannot be read (No such file")
    with pytest.raises(EorenError, match=r"bytes: not an \.eoren file"):
        library.load(b"hello")
