import platform

import torch

import eoren
from eoren.experiments.machine import machine


def test_machine():
    hardware = machine()
    assert list(hardware) == ["eoren", "python", "pytorch", "system", "processor", "threads", "engine"]
    assert hardware["eoren"] == eoren.__version__
    assert hardware["python"] == platform.python_version()
    assert hardware["pytorch"] == torch.__version__
    assert hardware["threads"] == torch.get_num_threads()
    assert hardware["processor"]
    assert str(hardware["engine"]).split(",")[0] in ("native", "torch")


def test_engine_is_the_one_in_use(monkeypatch):
    monkeypatch.setenv("EOREN_ENGINE", "torch")
    assert machine()["engine"] == "torch"


def test_systems_without_a_list_of_processors(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("pathlib.Path.read_text", missing)
    assert machine()["processor"] == (platform.processor() or platform.machine())
