import json

import numpy as np
import pytest

import eoren
from eoren.dataset import progress
from eoren.dataset.progress import Notice, Notices, RunRecord, read_record
from eoren.dataset.store import Store

IMAGES = np.random.default_rng(0).random((9, 8, 8), np.float32)
RECORD = RunRecord(pictures=300, failed=2, earlier=100, total=1000, started=1000.0, updated=1050.0)


def row(number, **more):
    return {"number": number, "name": f"{number}.png", "status": "done", "error": None, "notes": None} | more


def test_notices_are_counted_whatever_their_order():
    rows = [row(k, notes="turned" if k % 3 else "first of 2 frames") for k in range(9)]
    rows += [row(k, status="failed", error=f"damaged {k}") for k in range(9, 20)]
    for order in (rows, rows[::-1]):
        notices = Notices()
        assert notices.add(order[:7]) + notices.add(order[7:]) == 11
        notes, errors = notices.summary()
        assert notes == (Notice("turned", "1.png", 6), Notice("first of 2 frames", "0.png", 3))
        assert errors == tuple((f"{k}.png", f"damaged {k}") for k in (9, 10, 11))


def test_memory_of_notices_is_bounded(monkeypatch):
    monkeypatch.setattr(progress, "_MOST_NOTES", 5)
    notices = Notices()
    notices.add(row(k, notes=f"note {k}", status="failed", error="x") for k in range(1000))
    assert len(notices.summary()[0]) == 5
    assert len(notices._errors) == 3


def test_rate_and_time_left_are_those_of_this_run():
    values = RECORD.summary(now=1060.0)
    assert (values["rate"], values["seconds_left"], values["seconds_ago"]) == (4.0, 175.0, 10.0)
    early = RunRecord(100, 0, 100, None, 5.0, 5.0).summary(now=5.0)
    assert (early["rate"], early["seconds_left"]) == (None, None)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A store whose run was stopped after four of nine images."""
    monkeypatch.setattr(progress, "_RECORD_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        eoren.fit_many(
            IMAGES, store=tmp_path / "store", steps=1, shard=2, workers=1, watch=lambda at: at.pictures >= 4
        )
    return tmp_path / "store"


def test_the_record_of_a_run_is_in_its_store_until_it_is_complete(stopped):
    record = read_record(Store(stopped))
    assert (record.pictures >= 4, record.total, record.failed, record.earlier) == (True, 9, 0, 0)
    assert record.updated >= record.started
    eoren.fit_many(IMAGES, store=stopped, steps=1, shard=2, workers=1)
    assert read_record(Store(stopped)) is None
    assert not (stopped / "progress.json").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", "3", "{}", "{", '{"pictures": -1}', json.dumps(dict(vars(RECORD), pictures="many")),
                json.dumps(dict(vars(RECORD), updated=float("inf"))), json.dumps(dict(vars(RECORD), more=1))]
)  # fmt: skip
def test_damaged_records_are_ignored(stopped, content):
    (stopped / "progress.json").write_text(content)
    assert read_record(Store(stopped)) is None


def test_info_shows_the_progress(stopped, capsys):
    from eoren.cli import main

    def info(*more):
        with pytest.raises(SystemExit) as ended:
            main(["info", str(stopped), *more])
        assert ended.value.code == 0
        return capsys.readouterr().out

    (stopped / "progress.json").write_text(json.dumps(vars(RECORD)))
    rows = dict(line.split("  ", 1) for line in info().splitlines())
    assert rows["run"].strip().startswith("300 of 1,000 images, 4 a second, 2 min 55 s left, ")
    assert json.loads(info("--json"))["run"]["seconds_left"] == 175
    (stopped / "progress.json").write_text(json.dumps(dict(vars(RECORD), pictures=0, earlier=0)))
    assert info().startswith("run  0 of 1,000 images, ")
    (stopped / "progress.json").unlink()
    assert "run" not in json.loads(info("--json")) or json.loads(info("--json"))["run"] is None
