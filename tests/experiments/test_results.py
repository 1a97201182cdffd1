import csv

import numpy as np
import pytest

from eoren.errors import EorenError
from eoren.experiments.results import Table, counted, interval, paired, per_image

KEY = ("image", "seed")


def rows():
    return [{"image": name, "seed": seed, "psnr": 30.0 + seed} for name in ("0801", "a,b") for seed in (0, 1)]


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "t.csv"
    Table(path, key=KEY, protocol="p").add(rows())
    table = Table(path, key=KEY, protocol="p")
    assert [{name: row[name] for name in ("image", "seed", "psnr")} for row in table.rows] == rows()
    assert table.find(image="0801", seed=1)[0]["psnr"] == 31.0
    assert table.find(image="bird") == []
    with path.open() as file:
        assert next(csv.reader(file))[:3] == ["image", "seed", "psnr"]


def test_a_key_measured_again_replaces_its_row(tmp_path):
    table = Table(tmp_path / "t.csv", key=KEY, protocol="p")
    table.add(rows())
    table.add([{"image": "0801", "seed": 1, "psnr": 40.5}])
    again = Table(tmp_path / "t.csv", key=KEY, protocol="p")
    assert len(again.rows) == 4
    assert again.find(image="0801", seed=1)[0]["psnr"] == 40.5


def test_a_table_of_another_protocol_or_version_is_refused_and_kept(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    Table(path, key=KEY, protocol="p").add(rows())
    before = path.read_bytes()
    with pytest.raises(EorenError, match="protocol must be 'q', got 'p'"):
        Table(path, key=KEY, protocol="q")
    monkeypatch.setattr("eoren.experiments.results.__version__", "9.9")
    with pytest.raises(EorenError, match="version must be"):
        Table(path, key=KEY, protocol="p")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"\xff\xfe", b'image,seed\n"x', b"image,seed,protocol,version\n1\n"]
)
def test_invalid_tables(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(EorenError, match=r"t.csv: "):
        Table(path, key=KEY, protocol="p")


def test_interval_agrees_with_the_bootstrap():
    values = np.random.default_rng(0).normal(1, 2, 200)
    mean = interval(values.tolist())
    means = np.random.default_rng(1).choice(values, (9999, len(values))).mean(1)
    assert (mean.low, mean.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.05)
    assert mean.estimate == pytest.approx(values.mean())
    assert interval([3.0]).high == float("inf")
    assert str(interval([1.0, 2.0, 3.0])) == "+2.00 [-0.48, +4.48]"


def test_pairs_are_images_not_seeds():
    first = [{"image": name, "psnr": value} for name, value in (("a", 1.0), ("a", 3.0), ("b", 5.0), ("c", 0.0))]
    second = [{"image": name, "psnr": value} for name, value in (("b", 4.0), ("a", 0.0))]
    assert per_image(first, "psnr") == {"a": 2.0, "b": 5.0, "c": 0.0}
    gain = paired(first, second, "psnr")
    assert (gain.estimate, gain.size) == (1.5, 2)


def test_counts_have_the_noun_in_the_right_number():
    assert (counted(1, "seed"), counted(3, "seed")) == ("1 seed", "3 seeds")
