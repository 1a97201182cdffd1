"""The numbers of the README are those of the tables in benchmarks/results."""

import csv
import re
from pathlib import Path
from statistics import mean, median

import pytest
from benchmarks.rates.rows import read_rows
from benchmarks.rates.summary import differences, mean_points

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"


def table(name):
    lines = [line for line in (RESULTS / f"{name}.tsv").read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t"))


def only(name, **values):
    (row,) = (row for row in table(name) if all(row[key] == value for key, value in values.items()))
    return row


def enlargement():
    row = only("zoom-8", set="all", scale="2")
    ours, spline, cubic = (float(row[key]) for key in ("field", "quintic_spline_of_averages", "cubic_spline"))
    return [f"{ours:.2f} dB", f"{spline:.2f}", f"{cubic:.2f}", f"{ours - spline:+.1f} dB", f"{ours - cubic:+.2f} dB"]


def storage():
    rows = read_rows(RESULTS / "rates.jsonl")

    def saved(reference, digits):
        results = [differences(rows, "balanced", reference, measure) for measure in ("psnr", "gradient_psnr")]
        means = (mean(picture.percent for picture in result.values()) for result in results)
        return f"{' / '.join(f'{value:.{digits}f}' for value in means)} %"

    seconds = median(row["encode_seconds"] for row in rows.values() if row["codec"] == "balanced")
    return [saved("jpeg2000", 1), saved("avif6psnr", 0), f"{seconds:.1f} s"]


def networks():
    _, quality = mean_points(read_rows(RESULTS / "rates.jsonl"), "mosaic", "psnr")[-1]
    return [f"{quality:.2f} dB"]


def digits():
    ours = float(only("many-everything", digits="70000")["digits_per_second"])
    fastest = max(float(row["digits_per_second"]) for row in table("many-jax"))
    return [f"{ours:.0f}", f"{fastest:.0f}", f"{int(ours / fastest)}"]


def step():
    return [f"{float(only('engine', what='native gradient', width='48')['times_torch']):.1f}"]


@pytest.mark.parametrize(
    ("expected", "row"),
    [
        (storage, "JPEG 2000"),
        (enlargement, "29.31"),
        (networks, "GaussianImage"),
        (digits, "JAX"),
        (step, "PyTorch |"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_readme_quotes_its_tables(expected, row):
    (line,) = (line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|") and row in line)
    words = re.sub(r"[*`]", "", line)
    for quoted in expected():
        assert re.search(rf"(?<![\d.]){re.escape(quoted)}(?![\d])", words), f"{quoted} is not in: {line}"
