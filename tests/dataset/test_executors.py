"""Executors. Ray runs in a process of its own, because a cluster leaves threads and warnings behind."""

import os
import subprocess
import sys
import threading
import tracemalloc
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import eoren
from eoren.dataset.executors import RayExecutor, _ray_environment, make_executor
from eoren.dataset.groups import ShardResult
from eoren.dataset.shards import ShardJob, failure
from eoren.dataset.store import Store
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
                if status.read_bytes().startswith(b"ray::shard") and below(int(status.parent.name)):
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


class WorkerLostError(Exception):
    pass


class Reference:
    def __init__(self, job):
        self.job = job


class Task:
    def __init__(self, devices):
        self._devices = devices

    def remote(self, job, plan):
        self._devices.append(plan.device)
        return Reference(job)


class FakeRay:
    """A cluster whose number of cores changes, of which every task ends at the next look."""

    exceptions = SimpleNamespace(RayTaskError=TimeoutError, RayError=WorkerLostError)
    util = SimpleNamespace(
        scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
    )
    losses, gpus = 0, 0

    def __init__(self, cores):
        self._cores, self.names, self.most = [*cores], deque(maxlen=20), deque(maxlen=20)
        self.devices = deque(maxlen=20)

    def init(self, **_):
        pass

    shutdown = init

    def cluster_resources(self):
        cores = self._cores.pop(0) if len(self._cores) > 1 else self._cores[0]
        return {"CPU": float(cores), "GPU": float(self.gpus)} if cores else {}

    def remote(self, **options):
        assert options == {"num_cpus": 1, "num_gpus": int(self.gpus > 0), "max_retries": 0}
        return lambda function: self

    def options(self, name, **_):
        self.names.append(name)
        return Task(self.devices)

    def wait(self, running, timeout):
        self.most.append(len(running))
        return running[:1], running[1:]

    def get(self, reference):
        job = reference.job
        if self.losses:
            self.losses -= 1
            raise WorkerLostError("the worker died")
        rows = [job.row(position) | failure("not fitted") for position in range(len(job.names))]
        return "node", ShardResult(job.shard, [], rows)


@pytest.fixture
def fake_ray(monkeypatch):
    def install(*cores, workers=None):
        ray = FakeRay(cores)
        executor = object.__new__(RayExecutor)
        executor._ray, executor._address, executor._workers = ray, None, workers
        monkeypatch.setattr("eoren.dataset.fit_many.make_executor", lambda *_, **__: executor)
        return ray

    return install


def test_nodes_that_join_get_work_and_those_that_leave_none(fake_ray, tmp_path):
    ray = fake_ray(1, 1, 4, 4, 4, 0, 0)
    eoren.fit_many(np.zeros((30, 8, 8), np.float32), store=tmp_path, shard=2)
    assert [*ray.most][:8] == [2, 2, 5, 5, 5, 4, 3, 2]
    assert [*ray.names] == [f"shard {number}, 2 images" for number in range(15)]


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (3, 3), (4, 5), (9, 5)])
def test_workers_limit_the_tasks_of_a_cluster(fake_ray, tmp_path, workers, most):
    """A task that waits, the fifth, must not find a free core."""
    ray = fake_ray(4, workers=workers)
    eoren.fit_many(np.zeros((30, 8, 8), np.float32), store=tmp_path, shard=2)
    assert max(ray.most) == most


@pytest.mark.parametrize(("device", "gpus", "used"), [("auto", 0, "cpu"), ("cpu", 0, "cpu"), ("cuda", 1, "cuda")])
def test_workers_of_a_cluster_use_a_gpu_only_if_it_is_requested(fake_ray, tmp_path, monkeypatch, device, gpus, used):
    ray = fake_ray(4)
    ray.gpus = gpus
    monkeypatch.setattr("eoren.dataset.planning.choose_device", lambda name: None)
    eoren.fit_many(np.zeros((4, 8, 8), np.float32), store=tmp_path, shard=2, device=device)
    assert [*ray.devices] == [used] * 2


def test_jobs_of_lost_workers_are_fitted_again_three_times_at_most(fake_ray, tmp_path):
    ray = fake_ray(1)
    ray.losses = 3
    assert eoren.fit_many(np.zeros((2, 8, 8), np.float32), store=tmp_path / "a", shard=2).pictures == 2
    assert [*ray.names] == ["shard 0, 2 images"] * 4
    ray.losses = 4
    with pytest.raises(EorenError, match=r"shard 0, 2 images: a worker was lost 4 times \(the worker died\)"):
        eoren.fit_many(np.zeros((2, 8, 8), np.float32), store=tmp_path / "b", shard=2)


def test_memory_does_not_grow_with_the_number_of_images(fake_ray, tmp_path, monkeypatch):
    """Names of images pass by: neither names, jobs nor rows are kept."""
    monkeypatch.setattr(Store, "write", lambda self, result: None)
    fake_ray(4)

    def peak(count):
        images = ((f"folder/{number:09}.png", b"of an image", None) for number in range(count))
        tracemalloc.start()
        try:
            assert eoren.fit_many(images, store=tmp_path / str(count), shard=30).failed == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(300)
    assert peak(3_000) < 1.5 * peak(600)
