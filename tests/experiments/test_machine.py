import platform

import torch

import eoren
from eoren.experiments.machine import machine


def test_machine():
    found = machine()
    assert found["eoren"] == eoren.__version__
    assert found["python"] == platform.python_version()
    assert found["pytorch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["processor"]
    assert str(found["engine"]).split(",")[0] in ("native", "torch")


def test_engine_is_the_one_in_use(monkeypatch):
    monkeypatch.setenv("EOREN_ENGINE", "torch")
    assert machine()["engine"] == "torch"


def test_systems_without_a_list_of_processors(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("pathlib.Path.read_text", missing)
    assert machine()["processor"] == (platform.processor() or platform.machine())
