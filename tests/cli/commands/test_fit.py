import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from eoren.cli import console, fitting
from eoren.errors import EorenError
from eoren.experiments.rivals import smallest_jpeg

SMALL = ["--preset", "mosaic", "--set", "width=8", "--set", "depth=2", "--set", "tile=none"]

# Most fits here are as short as a test can be.
pytestmark = pytest.mark.filterwarnings("ignore::eoren.errors.ShortFitWarning")


def same_tensors(one, other):
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def metadata(path):
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["eoren"])


@pytest.fixture
def no_work(monkeypatch):
    """Fail if an image is read or a network trained: errors of options must come earlier."""

    def work(*_, **__):
        raise AssertionError("this came too late")

    monkeypatch.setattr("eoren.image.io.read_source_image", work)
    monkeypatch.setattr("eoren.training.fit.fit", work)


@pytest.fixture
def at_step(monkeypatch):
    """Return a function that schedules an action for a step of the next fit in this process."""

    def arrange(steps, action):
        waiting = [action]
        describe = fitting.describe_progress

        def watch(progress):
            if progress.steps >= steps and waiting:
                waiting.pop()()
            return describe(progress)

        monkeypatch.setattr(fitting, "describe_progress", watch)

    return arrange


@pytest.fixture
def shown(monkeypatch):
    """Record the steps of fits in this process, to tell a resumed fit from a restarted one."""
    steps = []
    describe = fitting.describe_progress

    def watch(progress):
        steps.append(progress.steps)
        return describe(progress)

    monkeypatch.setattr(fitting, "describe_progress", watch)
    return steps


# Results.


def test_file_equals_the_fit_of_the_library(eoren, picture, folder):
    from eoren import fit, save

    status, _, err = eoren("fit", picture, "-o", "a.eoren", "--steps", 20, "--seed", 5, *SMALL)
    assert (status, err) == (0, "")
    save(fit(picture, preset="mosaic", steps=20, seed=5, width=8, depth=2, tile=None).field, "b.eoren")
    assert same_tensors("a.eoren", "b.eoren")
    assert sorted(path.name for path in folder.iterdir()) == ["a.eoren", "b.eoren", "tiny.png"]


def test_options_reach_the_fit(eoren, picture):
    options = [
        "--objective",
        "pixel",
        "--bits",
        8,
        "--seed",
        9,
        "--set",
        "optimizer=adam",
        "--set",
        "adam-learning-rate=1e-3",
    ]
    status, out, err = eoren("fit", picture, "-o", "a.eoren", "--steps", 2, "--json", *options, *SMALL)
    assert (status, err) == (0, "")
    values = json.loads(out)
    expected = {
        "objective": "pixel",
        "bits": 8,
        "optimizer": "adam",
        "adam_learning_rate": 0.001,
        "width": 8,
        "steps": 2,
    }
    assert expected.items() <= values["settings"].items()
    assert (values["file"], values["seed"], values["steps"], values["ended"]) == ("a.eoren", 9, 2, "budget")
    assert values["bytes"] == os.stat("a.eoren").st_size  # noqa: PTH116
    assert load_file("a.eoren")["weight.0"].dtype == np.int8
    assert metadata("a.eoren")["provenance"]["settings"] == values["settings"]


def test_preset_and_seconds(eoren, picture):
    _, out, _ = eoren("fit", picture, "--seconds", 0.2, "--json", *SMALL, "--preset", "paper")
    values = json.loads(out)
    assert (values["settings"]["preset"], values["settings"]["objective"]) == ("paper", "gradient")
    assert (values["settings"]["seconds"], values["settings"]["steps"]) == (0.2, None)
    assert values["file"] == "tiny.eoren"


def test_sample_is_saved_under_its_name(eoren, folder):
    status, *_ = eoren("fit", "sample:camera", "--steps", 0, "-q", *SMALL)
    assert status == 0
    assert [path.name for path in folder.iterdir()] == ["camera.eoren"]


def test_summary_goes_to_stdout(eoren, picture):
    _, out, err = eoren("fit", picture, "-o", "a.eoren", "--steps", 3, *SMALL)
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert [*rows] == ["file", "picture", "function", "psnr", "gradient_psnr", "ssim", "spent", "JPEG", "next"]
    assert rows["picture"] == "24 x 20, RGB"
    assert rows["next"] == "eoren view a.eoren"
    assert rows["file"].startswith("a.eoren (")
    assert len({line.index(value) for line, value in zip(out.splitlines(), rows.values(), strict=True)}) == 1
    assert err == ""


def test_the_size_of_a_jpeg_of_the_same_quality(eoren, picture, tiny, monkeypatch):
    _, out, _ = eoren("fit", picture, "-o", "a.eoren", "--preset", "fast", "--until-psnr", 35)
    quality = json.loads(eoren("info", "a.eoren", "--json")[1])["metrics"]["psnr_8bit"]
    size = smallest_jpeg(np.float32(tiny / 255.0), quality)
    assert f"JPEG           {console.byte_size(size)} for the same PSNR\n" in out
    monkeypatch.setattr(fitting, "_MOST_PIXELS_AS_JPEG", 24 * 20 - 1)
    assert "JPEG" not in eoren("fit", picture, "-o", "b.eoren", "--preset", "fast")[1]


def test_quiet(eoren, picture):
    assert eoren("fit", picture, "-q", "--steps", 3, "--until-psnr", 90, *SMALL) == (0, "", "")


def test_until_psnr(eoren, picture):
    _, out, err = eoren("fit", picture, "--steps", 500, "--until-psnr", 12, "--json", *SMALL)
    values = json.loads(out)
    assert values["ended"] == "target"
    assert values["psnr"] >= 12
    assert values["steps"] < 500
    assert err == ""
    _, _, err = eoren("fit", picture, "--overwrite", "--steps", 2, "--until-psnr", 90, *SMALL)
    assert re.fullmatch(r"eoren: the fit ended at [\d.]+ dB, below --until-psnr 90; .*\n", err)


def test_notice_of_conversions(eoren, tiny):
    Image.fromarray(tiny).convert("CMYK").save("a.jpg")
    assert eoren("fit", "a.jpg", "--steps", 0, *SMALL)[2] == "eoren: a.jpg: CMYK converted to RGB\n"


def test_progress_lines_without_a_terminal(eoren, picture, monkeypatch):
    monkeypatch.setattr(sys.modules["eoren.cli.console"], "LINE_EVERY", 0.0)
    _, _, err = eoren("fit", picture, "--steps", 40, *SMALL)
    lines = err.splitlines()
    assert len(lines) >= 40
    pattern = r"eoren: step \d+, PSNR (-|-?[\d.]+ dB), gradient (-|-?[\d.]+ dB), (-|\d+:\d\d) left"
    assert all(re.fullmatch(pattern, line) for line in lines)


# Compact fields, the default.


def test_a_compact_file_equals_the_fit_of_the_library(eoren, picture):
    from eoren import fit, save

    status, out, err = eoren("fit", picture, "-o", "a.eoren", "--steps", 2, "--seed", 5, "--bytes", 900, "--json")
    assert (status, err) == (0, "")
    save(fit(picture, steps=2, seed=5, bytes=900).field, "b.eoren")
    assert same_tensors("a.eoren", "b.eoren")
    values = json.loads(out)
    assert values["settings"].items() >= {"preset": "balanced", "steps": 2, "bytes": 900}.items()
    assert values["bytes"] == Path("a.eoren").stat().st_size == pytest.approx(900, rel=0.05)  # a tiny image


def test_a_long_fit_says_what_it_will_take(eoren, picture, monkeypatch):
    monkeypatch.setattr("eoren.training.plan._LEAST_SECONDS", 0.1)
    monkeypatch.setattr("eoren.training.plan._FEWEST_STEPS", 0)
    command = ("fit", picture, "-o", "a.eoren", "--preset", "mosaic", "--seconds", 0.2)
    assert eoren(*command)[2] == "eoren: 0.00048 MP: about 1 s, about 4.7 kB\n"
    assert eoren(*command, "--overwrite", "--quiet")[2] == ""


@pytest.mark.parametrize(
    "option", [["--bits-per-pixel", 15], ["--bytes", 900], ["--set", "lagrangian=1e-4"]], ids=str
)
def test_compact_summary(eoren, picture, option):
    status, out, err = eoren("fit", picture, "-o", "a.eoren", "--preset", "fast", *option)
    assert (status, err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert [*rows] == ["file", "picture", "function", "psnr", "gradient_psnr", "ssim", "spent", "JPEG", "next"]
    assert rows["function"] == "wavelet latents of 2 levels, linear colours"


def test_compact_until_psnr(eoren, picture):
    _, out, err = eoren("fit", picture, "--preset", "fast", "--until-psnr", 40, "--json")
    values = json.loads(out)
    assert (values["ended"], err) == ("target", "")
    assert values["psnr"] == pytest.approx(40, abs=0.05)


@pytest.mark.filterwarnings("always::eoren.errors.DeprecatedSettingWarning")
def test_settings_of_mosaics_select_the_mosaic_with_a_notice(eoren, picture):
    status, out, err = eoren("fit", picture, "-o", "a.eoren", "--steps", 1, "--bits", 8, "--set", "width=8")
    assert status == 0
    assert err == "eoren: width, bits: only mosaics have such settings, so the preset is mosaic; give preset mosaic\n"
    assert "8 bits each" in out
    assert metadata("a.eoren")["provenance"]["settings"]["preset"] == "mosaic"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bytes", "100"], "a file of 100 bytes is too small for this image; its description and parameters take "),
        (["--until-psnr", "400"], "until_psnr must be a PSNR that this image can reach, got 400; give less"),
    ],
)
def test_sizes_that_cannot_be_met(refused, picture, options, message):
    assert refused("fit", picture, "-o", "x.eoren", "--preset", "fast", *options).startswith(message)


# Errors.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "abc"], "'--steps'"),
        (["--steps", "1.5"], "'--steps'"),
        (["--steps", "-1"], "steps must be zero or a positive number, got -1"),
        (["--seconds", "nan"], "seconds must be a positive number, got nan"),
        (["--seconds", "inf"], "seconds must be a positive number, got inf"),
        (["--seconds", "0"], "seconds must be a positive number, got 0"),
        (["--seconds", "-1"], "seconds must be a positive number, got -1"),
        (["--until-psnr", "nan"], "until_psnr must be a positive number, got nan"),
        (
            ["--seed", "-1"],
            "--seed must be an integer from 0 to 4294967295, got -1",
        ),
        (["--seed", "4294967296"], "--seed must be an integer from 0 to 4294967295, got 4294967296"),
        (["--bits", "7"], "bits must be one of 32, 16, 8, got 7"),
        (
            ["--objective", "foo"],
            "'foo' is not one of",
        ),
        (["--preset", "foo"], "'foo' is not one of"),
        (["--device", "tpu"], "device must be one of auto, cpu, cuda, mps, got 'tpu'"),
        (["--set", "foo=1"], "setting must be one of bits_per_pixel, "),
        (["--preset", "mosaic", "--set", "foo=1"], "setting must be one of objective, "),
        (["--bytes", "0"], "bytes must be a positive number, got 0"),
        (["--bits-per-pixel", "nan"], "bits_per_pixel must be a positive number, got nan"),
        (["--bytes", "9", "--bits-per-pixel", "1"], "bits_per_pixel and bytes both set the size; give one of them"),
        (["--bytes", "9", "--until-psnr", "40"], "bytes and until_psnr both set the size; give one of them"),
        (["--bytes", "9", "--preset", "mosaic"], "bytes: only the compact presets fast, balanced, best have such"),
        (["--bytes", "9", "--parameters", "7"], "bytes: only the compact presets fast, balanced, best have such"),
        (["--preset", "paper", "--set", "lagrangian=1"], "lagrangian: only the compact presets"),
        (["--set", "siren-width=7"], "siren_width must be a multiple of 16 up to 256, or 0, got 7"),
        (["--set", "bytes=9"], "use --bytes 9"),
        (["--set", "width=0"], "width must be a positive number, got 0"),
        (["--set", "width=-8"], "width must be a positive number, got -8"),
        (["--set", "width=abc"], "width must be of type int, got 'abc'"),
        (["--set", "width=1.5"], "width must be of type int, got 1.5"),
        (["--set", "width=true"], "width must be of type int, got True"),
        (["--set", "width=none"], "width must be of type int, got None"),
        (["--set", "width=" + "(" * 300], "width must be of type int, got"),
        (["--set", "learning-rate=nan"], "learning_rate must be a positive number, got nan"),
        (["--set", "gradient_weight=nan"], "gradient_weight must be zero or a positive number, got nan"),
        (["--set", "standardize=maybe"], "standardize must be of type bool, got 'maybe'"),
        (["--set", "width"], "--set must have the form NAME=VALUE, got 'width'"),
        (["--set", "width="], "--set must have the form NAME=VALUE, got 'width='"),
        (["--set", "=1"], "--set must have the form NAME=VALUE, got '=1'"),
        (["--set", "steps=5"], "--set cannot change steps, got 'steps=5'; use --steps 5"),
        (["--set", "until-psnr=5"], "use --until-psnr 5"),
        (["--set", "preset=paper"], "use --preset paper"),
        (["--set", "seed=1"], "use --seed 1"),
        (["--nope"], "No such option: --nope; see eoren fit --help"),
        (["extra"], "extra"),
        (["--resume"], "x.eoren.resume: does not exist, so there is nothing to resume"),
    ],
)
@pytest.mark.usefixtures("no_work")
def test_wrong_options(refused, picture, options, message):
    assert message in refused("fit", picture, "-o", "x.eoren", *options)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("missing/x.eoren", "missing/x.eoren: there is no folder"),
        ("tiny.png/x.eoren", "tiny.png/x.eoren: there is no folder"),
        ("folder.eoren", "folder.eoren: is a folder"),
        (".", "--output must end in .eoren, got ."),
        ("", "--output must end in .eoren, got ."),
        ("x.png", "--output must end in .eoren, got x.png"),
        ("x" * 300 + ".eoren", "File name too long"),
        ("x" * 245 + ".eoren", "File name too long"),  # the name of the checkpoint is longer
        ("old.eoren", "old.eoren: exists; give --overwrite to replace it, or another --output"),
    ],
)
@pytest.mark.usefixtures("no_work")
def test_wrong_outputs(refused, picture, folder, output, message):
    (folder / "folder.eoren").mkdir()
    (folder / "old.eoren").write_text("precious")
    assert message in refused("fit", picture, "-o", output)


def test_invalid_images(refused, picture, folder):
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes(picture.read_bytes()[:300])
    (folder / "text.png").write_text("hello")
    for name in ("empty.png", "cut.png", "text.png", "missing.png"):
        assert refused("fit", name, "-o", "x.eoren").startswith(f"{name}: ")
    assert refused("fit", "sample:mona-lisa").startswith("sample:mona-lisa: no such sample")
    assert refused("fit", "", "-o", "x.eoren")
    assert refused("fit", folder, "-o", "x.eoren").startswith(f"{folder}: is a folder")


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard"])
@pytest.mark.usefixtures("no_work")
def test_input_is_never_replaced(refused, picture, folder, link):
    target = folder / "a.eoren"
    if link == "itself":
        picture.rename(target)
        picture = target
    elif link == "symbolic":
        target.symlink_to(picture)
    else:
        target.hardlink_to(picture)
    assert refused("fit", picture, "-o", target, "--overwrite") == f"{target}: is the input; choose another --output"


@pytest.mark.usefixtures("no_work")
def test_input_is_not_used_as_a_checkpoint(refused, picture, folder):
    picture.rename(folder / "a.eoren.resume")
    assert "is the input" in refused("fit", "a.eoren.resume", "-o", "a.eoren", "--overwrite")


def test_overwrite_replaces_the_file_at_the_end_only(eoren, picture, folder, at_step):
    old = folder / "a.eoren"
    old.write_text("precious")
    seen = []
    at_step(5, lambda: seen.append(old.read_text()))
    assert eoren("fit", picture, "-o", old, "--overwrite", "--steps", 6, *SMALL)[0] == 0
    assert seen == ["precious"]
    assert metadata(old)["provenance"]["steps"] == 6


def test_too_many_parameters(refused, picture, monkeypatch):
    wide = ("fit", picture, "-o", "a.eoren", "--preset", "mosaic", "--set", f"width={10**12}")
    assert "more than 4,294,967,296 numbers" in refused(*wide)
    monkeypatch.setattr("eoren.training.settings._MAX_NUMBERS", 2**100)  # below the limit, and still too much
    assert "not enough memory" in refused(*wide)


# Interruptions.


@pytest.mark.filterwarnings("always::eoren.errors.DeprecatedSettingWarning")
def test_former_names_of_settings_are_reported_once(eoren, picture):
    small = ["--preset", "mosaic", "--set", "width=16", "--set", "depth=2", "--set", "tile=none", "--steps", 3]
    status, _, err = eoren("fit", picture, "-o", "a.eoren", *small, "--set", "rate=0.004", "--set", "pixels=areas")
    renamed = "rate is now learning_rate, pixels=areas is now pixel_model=cell_average"
    assert (status, err) == (0, f"eoren: settings were renamed: {renamed}\n")
    stored = metadata("a.eoren")["provenance"]["settings"]
    assert (stored["learning_rate"], stored["pixel_model"], stored["steps"]) == (0.004, "cell_average", 3)
    assert (
        eoren(
            "fit",
            picture,
            "-o",
            "b.eoren",
            *small,
            "--set",
            "learning-rate=0.004",
            "--set",
            "pixel-model=cell_average",
        )[2]
        == ""
    )
    assert same_tensors("a.eoren", "b.eoren")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resumed_fit_is_bit_identical(eoren, picture, folder, at_step, shown, number):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    command = ["fit", picture, "--steps", 60, "--set", "batch=100", *SMALL]
    eoren(*command, "-o", "whole.eoren")
    at_step(17, lambda: signal.raise_signal(number))
    status, out, err = eoren(*command, "-o", "a.eoren", "--json")
    assert status == 130
    assert err == "eoren: interrupted at step 17; a.eoren holds the result so far, continue with --resume\n"
    assert (json.loads(out)["ended"], json.loads(out)["steps"]) == ("interrupted", 17)
    assert metadata("a.eoren")["provenance"]["steps"] == 17
    assert (folder / "a.eoren.resume").exists()
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    shown.clear()
    status, out, err = eoren(*command, "-o", "a.eoren", "--resume", "--json")
    assert min(shown) == 17
    assert (status, err, json.loads(out)["steps"]) == (0, "", 60)
    assert same_tensors("a.eoren", "whole.eoren")
    assert not (folder / "a.eoren.resume").exists()


def test_second_ctrl_c_ends_at_once(eoren, picture, folder, at_step):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_step(5, twice)
    assert eoren("fit", picture, "--steps", 60, *SMALL) == (130, "", "")
    assert [path.name for path in folder.iterdir()] == ["tiny.png"]


@pytest.fixture
def interrupted(eoren, picture, at_step):
    """An interrupted fit of 60 steps: its command."""
    command = ["fit", picture, "-o", "a.eoren", "--steps", 60, *SMALL]
    at_step(10, lambda: signal.raise_signal(signal.SIGINT))
    assert eoren(*command)[0] == 130
    return command


def test_an_interrupted_fit_is_not_lost(eoren, refused, interrupted, folder, shown):
    # The message suggests --resume before --overwrite, although the output exists too.
    assert "a.eoren.resume: an interrupted fit; give --resume to continue" in refused(*interrupted)
    (folder / "bad.png").write_text("no picture")
    refused("fit", "bad.png", "-o", "a.eoren", "--overwrite")
    refused(*interrupted, "--overwrite", "--device", "tpu")
    refused(*interrupted, "--overwrite", "--set", "foo=1")
    assert eoren(*interrupted, "--resume")[0] == 0
    assert min(shown) == 10


def test_overwrite_discards_the_checkpoint(eoren, interrupted, folder):
    status, out, _ = eoren(*interrupted, "--overwrite", "--json")
    assert (status, json.loads(out)["steps"]) == (0, 60)
    eoren(*interrupted, "-o", "b.eoren")
    assert same_tensors("a.eoren", "b.eoren")
    assert not (folder / "a.eoren.resume").exists()


def test_resume_of_another_fit(refused, interrupted, tiny):
    assert "its seed is 0, here it is 1" in refused(*interrupted, "--resume", "--seed", 1)
    assert "its steps is 60, here it is 70" in refused(*interrupted, "--resume", "--steps", 70)
    Image.fromarray(255 - tiny).save("tiny.png")
    assert "a.eoren.resume: belongs to another fit: its image is" in refused(*interrupted, "--resume")


def test_resume_from_a_damaged_checkpoint(refused, interrupted, folder):
    checkpoint = folder / "a.eoren.resume"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert refused(*interrupted, "--resume").startswith("a.eoren.resume: not a checkpoint of eoren, or damaged")


def test_work_survives_a_full_disk(eoren, picture, folder, monkeypatch):
    def full(field, path):
        raise EorenError(f"{path}: cannot be written (No space left on device); free space")

    command = ["fit", picture, "-o", "a.eoren", "--steps", 20, *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr("eoren.field.serialization.save", full)
        assert eoren(*command)[::2] == (
            2,
            "eoren: a.eoren: cannot be written (No space left on device); free space\n",
        )
    assert not (folder / "a.eoren").exists()
    assert eoren(*command, "--resume")[0] == 0
    eoren(*command, "-o", "b.eoren")
    assert same_tensors("a.eoren", "b.eoren")


# The same in a separate process, with real signals, exit statuses and a terminal.

CHILD = """
import sys, time
import eoren.training.loop
from eoren.cli import main
from eoren.cli import console, fitting
describe = fitting.describe_progress
def slowly(progress):
    time.sleep(0.02)
    return describe(progress)
fitting.describe_progress, console.LINE_EVERY, eoren.training.loop.CHECKPOINT_EVERY = slowly, 0.0, 0.2
main(sys.argv[1:])
"""


def until(condition, child):
    """Wait until a condition holds while the child runs."""
    end = time.monotonic() + 60
    while not condition():
        assert child.poll() is None, "ended early"
        assert time.monotonic() < end, "took too long"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals(eoren, picture, folder, shown, number):
    command = ["fit", picture, "--steps", "300", *SMALL]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *command, "-o", "a.eoren"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    checkpoint = folder / "a.eoren.resume"
    until(checkpoint.exists, child)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert child.returncode == -signal.SIGKILL
        assert not (folder / "a.eoren").exists()
    else:
        assert child.returncode == 130
        assert b"Traceback" not in err
        assert re.fullmatch(rb"eoren: interrupted at step \d+; a.eoren holds .*", err.splitlines()[-1])
        assert 0 < metadata("a.eoren")["provenance"]["steps"] < 300
    if number != signal.SIGTERM:  # saves time: SIGTERM and SIGINT share their handler
        assert eoren(*command, "-o", "a.eoren", "--resume", "-q")[0] == 0
        assert min(shown) > 0
        eoren(*command, "-o", "whole.eoren", "-q")
        assert same_tensors("a.eoren", "whole.eoren")
        assert not checkpoint.exists()


def test_bar_on_a_terminal(picture):
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, "fit", picture, "-o", "a.eoren", "--steps", "60", *SMALL],
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    shown = b""
    try:
        while block := os.read(master, 1 << 16):
            shown += block
    except OSError:  # the terminal is closed
        pass
    os.close(master)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert out.startswith(b"file ")
    assert shown.endswith(b"\x1b[2K")  # the bar is gone
    assert b"\x1b[?25h" in shown  # and the cursor back
    lines = [re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line) for line in re.split("[\r\n]", shown.decode())]
    bars = [line for line in lines if "PSNR" in line]
    assert len(bars) > 2
    assert {len(line) for line in bars} == {78}  # two columns are left for ^C
    assert "measuring" in bars[-1]


# Real images.

REAL = ["16-bit-grey-alpha.png", "chi.gif", "hopper_orientation_6.jpg", "pil_sample_cmyk.jpg", "16bit.cropped.tif"]
BROKEN = ["65536-uint32-limit.png", "broken.png", "broken_data_stream.png", "decompression_bomb.gif"]
BROKEN += ["truncated_image.png", "zero_width.gif"]


@pytest.mark.parametrize("name", REAL)
def test_real_images(eoren, data, name):
    status, *_ = eoren("fit", data / "formats" / name, "-o", "a.eoren", "--steps", 1, "--json", *SMALL)
    assert status == 0
    assert eoren("evaluate", "a.eoren", data / "formats" / name, "--json")[0] == 0


@pytest.mark.parametrize("name", BROKEN)
def test_real_broken_images(refused, data, name):
    path = data / "formats" / name
    assert refused("fit", path, "-o", "a.eoren").startswith(f"{path}: ")
