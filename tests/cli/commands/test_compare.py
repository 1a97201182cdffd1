import json
import signal

import pytest

import eoren.experiments.comparison as experiment

SHORT = ["--epochs", 2, "--seconds", 0.01, "--size", 12]


def test_report_and_numbers(eoren, picture, folder):
    status, out, err = eoren("compare", picture, "-o", "report.html", "-o", "numbers.json", *SHORT)
    assert (status, err) == (0, "")
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["picture"]["name"] == "tiny.png"
    assert (numbers["picture"]["fitted_width"], numbers["picture"]["fitted_height"]) == (12, 10)
    assert (numbers["epochs"], numbers["seconds"], numbers["seed"], numbers["scale"]) == (2, 0.01, 0, "small")
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    assert "report.html" in rows["written"]
    assert "numbers.json" in rows["written"]
    assert [*rows][1:9] == [
        f"{method}, {budget}"
        for budget in ("2 epochs", "0.01 s")
        for method in ("SIREN + pixels", "SIREN + gradients", "EoREN (paper)", "this library, mosaic")
    ]
    assert [name.rpartition(",")[0] for name in [*rows][9:]] == ["this library, compact field", "JPEG 2000", "AVIF"]
    assert f"psnr {numbers['rates']['equal_bytes'][1]['psnr']:.2f} dB" in [*rows.values()][10]
    assert f"psnr {numbers['equal_epochs'][3]['psnr']:.2f} dB" in rows["this library, mosaic, 2 epochs"]


def test_numbers_alone_to_stdout(eoren, picture, folder):
    status, out, err = eoren("compare", picture, "--json", "--seed", 5, *SHORT)
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert json.loads(out)["seed"] == 5
    assert [path.name for path in folder.iterdir()] == ["tiny.png"]


def test_quiet(eoren, picture, folder):
    assert eoren("compare", picture, "-o", "r.html", "-q", *SHORT) == (0, "", "")
    assert (folder / "r.html").exists()


def test_overwrite(eoren, picture, folder):
    (folder / "r.html").write_text("old")
    assert eoren("compare", picture, "-o", "r.html", "-q", "--overwrite", *SHORT)[0] == 0
    assert "ways to fit" in (folder / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is nothing to write; give --output report.html, --output numbers.json or --json"),
        (["-o", "r.pdf"], "--output must end in .html or .json, got r.pdf"),
        (["-o", "missing/r.html"], "missing/r.html: there is no folder"),
        (["-o", "folder.html"], "folder.html: is a folder"),
        (["-o", "old.html"], "old.html: exists; give --overwrite"),
        (["-o", "r.html", "-o", "missing/n.json"], "missing/n.json: there is no folder"),
        (["-o", "r.html", "-o", "folder.html"], "folder.html: is a folder"),
        (["-o", "r.html", "-o", "link.json", "--overwrite"], "link.json: is the input"),
        (["-o", "r.html", "--epochs", "0"], "--epochs must be above zero and finite, got 0"),
        (["-o", "r.html", "--seconds", "nan"], "--seconds must be above zero and finite, got nan"),
        (["-o", "r.html", "--size", "-3"], "--size must be above zero and finite, got -3"),
        (["-o", "r.html", "--seed", "-1"], "--seed must be an integer from 0 to 4294967295, got -1"),
        (["--json", "numbers.json"], "unexpected extra argument"),
        (["-o", "r.html", "--scale", "huge"], "'--scale'"),
    ],
)
def test_wrong_options(refused, picture, folder, monkeypatch, options, message):
    def work(*_, **__):
        raise AssertionError("this came too late")

    monkeypatch.setattr("eoren.image.io.read_source_image", work)
    (folder / "old.html").write_text("precious")
    (folder / "folder.html").mkdir()
    (folder / "link.json").symlink_to(picture)
    assert message in refused("compare", picture, *options)


def test_invalid_images(refused, folder):
    (folder / "empty.png").touch()
    for name in ("empty.png", "missing.png"):
        assert refused("compare", name, "-o", "r.html").startswith(f"{name}: ")


@pytest.fixture
def _interruptible():
    """Restore the default handler of Ctrl-C, which shells disable in background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("when", ["equal epochs", "equal time", "equal bytes", "report"])
def test_interrupted(eoren, picture, folder, monkeypatch, when):
    """Ctrl-C at any time prints one line and keeps existing files."""
    (folder / "r.html").write_text("old")
    run = experiment.compare

    def interrupted(*arguments, watch, **options):
        def press(what, share):
            if what == when:
                signal.raise_signal(signal.SIGINT)
            watch(what, share)

        return run(*arguments, watch=press, **options)

    monkeypatch.setattr(experiment, "compare", interrupted)
    if when == "report":
        monkeypatch.setattr("eoren.experiments.report.report", lambda _: signal.raise_signal(signal.SIGINT))
    status, out, err = eoren("compare", picture, "-o", "r.html", "-o", "n.json", "--overwrite", *SHORT)
    assert (status, out, err) == (130, "", "eoren: interrupted; nothing is written\n")
    assert (folder / "r.html").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["r.html", "tiny.png"]
