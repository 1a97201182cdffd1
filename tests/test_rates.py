"""Measuring codecs, the file of rows, and the summary."""

from io import BytesIO
from math import log2

import benchmarks.rates.__main__ as rates
import numpy as np
import pytest
from benchmarks.rates.fields import Fit
from benchmarks.rates.figure import draw
from benchmarks.rates.rivals import RIVALS
from benchmarks.rates.rows import Key, append_line, bd_rate_against, read_lines, read_rows
from benchmarks.rates.summary import mean_curve, summary
from PIL import Image

import eoren
from eoren.experiments.rivals import Measurement, Rival


@pytest.fixture
def picture(tmp_path):
    y, x = np.mgrid[:32, :48]
    waves = [128 + 90 * np.sin(x / (3 + c) + y / 5) for c in range(3)]
    path = tmp_path / "kodim01.png"
    Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_are_measured_from_their_files(picture, name):
    rival = RIVALS[name]
    if rival.missing():
        pytest.skip(rival.missing())
    measured = rival.measure(picture, rival.settings[-3])
    with Image.open(picture) as source:
        encoded = rival.rival.encode(np.asarray(source), rival.settings[-3])
        values = np.asarray(source) / 255
    decoded = np.asarray(Image.open(BytesIO(encoded)).convert("RGB")) / 255
    assert measured.bytes == len(encoded)
    assert measured.bits_per_pixel == pytest.approx(len(encoded) * 8 / (32 * 48))
    assert measured.psnr == pytest.approx(-10 * np.log10(np.mean((decoded - values) ** 2)))
    # The derivative is linear: that of the error is the error of the derivative.
    slopes = eoren.reference_gradient(decoded - values) / (48, 32)
    assert measured.gradient_psnr == pytest.approx(-10 * np.log10(np.mean(slopes**2)))


def test_missing_rivals_give_a_reason(monkeypatch):
    monkeypatch.setattr("PIL.features.get_supported", list)
    assert RIVALS["avif6"].missing() == "Pillow is built without AVIF"
    assert Rival("", "X", (), plugin="no_such_plugin").missing() == "the module no_such_plugin is not installed"


def test_fields_are_measured_from_their_files(picture):
    fit = Fit("small", "small", "bits", (8, 16), {"steps": 3})
    small, large = (fit.measure(picture, bits) for bits in fit.settings)
    assert 0 < small.bytes < large.bytes
    assert large.bits_per_pixel == large.bytes * 8 / (32 * 48)
    image = eoren.read_image(picture)
    metrics = eoren.evaluate(eoren.fit(image, preset="small", steps=3, bits=16).field, image)
    assert large.gradient_psnr == pytest.approx(metrics.gradient_psnr, abs=0.1)
    assert large.psnr == pytest.approx(metrics.psnr_8bit, abs=0.1)


class CountingCodec:
    title, settings = "Counting", (1.0, 2.0)

    def __init__(self, reason=None):
        self.calls, self.reason = 0, reason

    def missing(self):
        return self.reason

    def measure(self, path, setting):
        self.calls += 1
        return Measurement(100, setting, 30.0 + setting, 28.0 + setting, 0.5, 0.25)


def test_a_run_measures_what_is_missing(picture, tmp_path, monkeypatch, capsys):
    codec, file = CountingCodec(), tmp_path / "rows.jsonl"
    monkeypatch.setattr(rates, "CODECS", {"counting": codec, "gone": CountingCodec("not built")})
    rows = rates.measure(file, ["counting", "gone"], [picture])
    assert codec.calls == 2
    assert "gone skipped: not built" in capsys.readouterr().err
    conditions = read_lines(file)[0]
    assert conditions["seed"] == 0
    assert any("commit" in line for line in conditions["conditions"])
    assert rates.measure(file, ["counting"], [picture]) == rows == read_rows(file)
    assert codec.calls == 2

    file.write_bytes(file.read_bytes()[:-20])  # interrupted while the last row was written
    assert rates.measure(file, ["counting"], [picture]) == rows == read_rows(file)
    assert codec.calls == 3


def write_rows(path, codecs):
    """Write rows of codecs whose quality rises by 6 dB per doubling of the rate, for two pictures."""
    for codec, factor in codecs.items():
        for picture, offset in (("kodim01", 30), ("kodim02", 34)):
            for setting in (0.5, 1, 2, 4, 8):
                quality = offset + 6 * log2(setting)
                measured = Measurement(1000, float(factor * setting), quality, quality - 2, 0.5, 0.25)
                append_line(path, {**Key(codec, picture, setting)._asdict(), **measured.as_dict()})


def test_points_are_compared_with_a_file(tmp_path):
    file = tmp_path / "rows.jsonl"
    write_rows(file, {"jpeg2000": 1.0, "webp": 1.5})
    points = [(0.9 * rate, 34 + 6 * log2(rate)) for rate in (0.5, 1, 3, 8)]
    assert bd_rate_against(points, file, "kodim02").percent == pytest.approx(-10)
    assert bd_rate_against(points, file, "kodim02", reference="webp").percent == pytest.approx(-40)
    gradients = [(rate, quality - 2) for rate, quality in points]
    assert bd_rate_against(gradients, file, "kodim02", measure="gradient_psnr").percent == pytest.approx(-10)


def test_summary_and_figure(tmp_path):
    file = tmp_path / "rows.jsonl"
    write_rows(file, {"jpeg2000": 1.0, "webp": 1.5})
    append_line(file, {**Key("fast", "kodim01", 16)._asdict(), **Measurement(9, 3.0, 36.0, 34.0, 1.0, 1.0).as_dict()})
    rows = read_rows(file)
    assert mean_curve(rows, "jpeg2000", "psnr", [1, 2, 8]) == pytest.approx([32, 38, 50])
    assert mean_curve(rows, "webp", "gradient_psnr", [1.5, 3]) == pytest.approx([30, 36])
    assert np.isnan(mean_curve(rows, "jpeg2000", "psnr", [9])).all()
    text = summary(rows, rates.title, "jpeg2000")
    assert "| WebP, method 6 | +50.0 % | 100 % | +50.0 % | 100 % | 0.500 | 0.250 |" in text
    assert "| kodim01 | +50.0 / +50.0 | +50.0 / +50.0 |" in text
    draw(rows, rates.title, file)
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl", ".svg", ".png"}
