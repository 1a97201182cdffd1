"""Executors. Ray runs in a process of its own, because a cluster leaves threads and warnings behind."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import eoren
from eoren.dataset.executors import _ray_environment, make_executor
from eoren.dataset.shards import ShardJob
from eoren.errors import EorenError

FIT = """
import sys, threading, time, numpy as np, eoren
images = np.random.default_rng(3).random((12, 12, 14, 1), np.float32)

def kill():
    import os, signal
    from pathlib import Path
    mine = set()
    while True:
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if status.read_bytes().startswith(b"ray::_run_alone") and below(int(status.parent.name)):
                    os.kill(int(status.parent.name), signal.SIGKILL)
                    print("killed", flush=True)
                    return
            except OSError:
                pass
        time.sleep(0.01)

def below(pid):
    import os
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    return False

if sys.argv[2] == "kill":
    threading.Thread(target=kill, daemon=True).start()
print(eoren.fit_many(images, store=sys.argv[1], steps=200, shard=4, executor=sys.argv[3], workers=2).pictures)
"""


def run(folder, kill, executor):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FIT, str(folder), kill, executor]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the worker in /proc")
def test_jobs_of_a_lost_worker_are_retried(tmp_path):
    pytest.importorskip("ray")
    done = run(tmp_path / "ray", "kill", "ray")
    words = done.stdout.split()  # Ray prints messages between these two
    assert (words[0], words[-1]) == ("killed", "12"), done.stderr
    assert run(tmp_path / "local", "-", "local").stdout.split() == ["12"]
    one, other = (eoren.Collection(tmp_path / name) for name in ("ray", "local"))
    assert (one.matrix() == other.matrix()).all()
    assert one.index["psnr"].to_pylist() == other.index["psnr"].to_pylist()


def test_missing_ray_raises_with_the_package_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EorenError, match=r"needs Ray; pip install 'eoren\[ray\]'"):
        make_executor("ray")


def test_missing_pyarrow_raises_with_the_package_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(EorenError, match=r"need pyarrow; pip install 'eoren\[collections\]'"):
        eoren.Collection(tmp_path)


def test_memory_of_threads_is_checked_before_they_start(monkeypatch, tmp_path):
    """A thread that dies at its start would be waited for without end."""
    monkeypatch.setattr("eoren.dataset.executors._THREAD_BYTES", 1 << 60)
    with pytest.raises(MemoryError):
        eoren.fit_many([np.zeros((8, 8), np.float32)], store=tmp_path / "store", steps=1)


def test_threads_of_others_keep_their_number_while_jobs_run(tmp_path):
    """Every thread that starts takes over the last setting of any thread."""
    seen, before = [], torch.get_num_threads()

    def watch(progress):
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()

    torch.set_num_threads(3)
    try:
        eoren.fit_many(np.zeros((6, 8, 8), np.float32), store=tmp_path, steps=3, shard=2, workers=2, watch=watch)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen
    assert {*seen} == {3}


def test_workers_share_the_threads(tmp_path, monkeypatch):
    seen, run, before = [], ShardJob.run, torch.get_num_threads()

    def record(self, plan, watch):
        seen.append(torch.get_num_threads())
        return run(self, plan, watch)

    monkeypatch.setattr(ShardJob, "run", record)
    torch.set_num_threads(4)
    try:
        eoren.fit_many(np.zeros((6, 8, 8), np.float32), store=tmp_path, steps=1, shard=2, workers=2)
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 2, 2]


def test_threads_that_do_not_start_are_missing_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("eoren.dataset.executors._START_SECONDS", 0.05)
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor._adjust_thread_count", lambda self: None)
    with pytest.raises(MemoryError, match="did not start"):
        eoren.fit_many([np.zeros((8, 8), np.float32)], store=tmp_path, steps=1)


def test_the_environment_is_as_before(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    before = dict(os.environ)
    with _ray_environment():
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1"
    assert dict(os.environ) == before
