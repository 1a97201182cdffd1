"""A guest in its user's process: the state of PyTorch, NumPy, Python and the system neither matters nor changes."""

import ast
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eoren
from eoren.backends.dispatch import backend_info

STEPS = {"default": {"steps": 1}, "mosaic": {"preset": "mosaic", "steps": 2, "width": 16, "depth": 2, "tile": 8}}
STEPS["single"] = {"preset": "single", "steps": 2, "width": 16, "depth": 2}


@pytest.fixture(scope="module")
def image():
    """16 x 12, RGB: waves and noise."""
    y, x = np.mgrid[:12, :16]
    waves = 0.5 + 0.3 * np.sin(x[..., None] / [3, 4, 5] + y[..., None] / [6, 3, 4])
    return np.float32(np.clip(waves + np.random.default_rng(0).normal(0, 0.05, waves.shape), 0, 1))


def test_new_tensors_have_a_dtype():
    """The default dtype belongs to all threads of a process, so the code must not depend on it."""
    names = {
        *["empty", "eye", "full", "linspace", "normal", "ones", "rand", "randn", "scalar_tensor", "tensor", "zeros"]
    }
    missing = [
        f"{path}:{node.lineno}"
        for path in sorted((Path(eoren.__file__).parent).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).removeprefix("torch.") in names
        and ast.unparse(node.func).startswith("torch.")
        and "dtype" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not missing, "give dtype= in " + ", ".join(missing)


# States that a user's program may have.


@contextlib.contextmanager
def switched(switch, value, before):
    """Call a function with a value, and with the value before at the end."""
    switch(value)
    try:
        yield
    finally:
        switch(before)


@contextlib.contextmanager
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@contextlib.contextmanager
def own_signal_handlers():
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


STATES = {
    "nothing": contextlib.nullcontext,
    "default dtype float64": lambda: switched(torch.set_default_dtype, torch.float64, torch.float32),
    "default dtype bfloat16": lambda: switched(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "default device": lambda: switched(torch.set_default_device, "meta", None),
    "device of a block": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "deterministic algorithms": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "one thread": lambda: switched(torch.set_num_threads, 1, torch.get_num_threads()),
    "three threads": lambda: switched(torch.set_num_threads, 3, torch.get_num_threads()),
    "warnings are errors": warnings_are_errors,
    "floating-point errors raise": lambda: np.errstate(all="raise"),
    "signal handlers": own_signal_handlers,
}


def observe():
    """Return all state of the process that belongs to its user."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "inference mode": torch.is_inference_mode_enabled(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "threads of a new thread": in_thread(torch.get_num_threads),
        "random numbers of torch": torch.get_rng_state().numpy().tobytes(),
        "random numbers of NumPy": str(np.random.get_state()),  # noqa: NPY002
        "random numbers of Python": random.getstate(),
        "warnings": [*warnings.filters],
        "shown by": warnings.showwarning,
        "floating-point errors": np.geterr(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "stderr": (os.fstat(2).st_dev, os.fstat(2).st_ino),
        "streams": (sys.stdout, sys.stderr),
        "image size": Image.MAX_IMAGE_PIXELS,
        "folder": Path.cwd(),
        "environment": dict(os.environ),
    }


def in_thread(function):
    """Call a function in a new thread, and return its result or raise its exception."""
    results, errors = [], []

    def call():
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def numbers(field):
    """Return everything that a field can be asked for, as float arrays: by arrays, tensors, and differentiated."""
    points = np.random.default_rng(1).random((50, 2))
    outputs = [field.color(points), field.gradient(points), field.laplacian(points), field.render(20, 17)]
    outputs += [field.render(show="gradient"), field.color(torch.from_numpy(points)), field.to("cpu").color(points)]
    with torch.inference_mode(False), torch.enable_grad():
        xy = torch.from_numpy(points).requires_grad_()
        color, slope = field.color_and_gradient(xy)
        with torch.autocast("cpu", enabled=False):  # PyTorch's own rule for backward passes
            outputs += [color, slope, *torch.autograd.grad(color.square().sum(), xy)]
    return outputs


def fit_preset(name, image, folder):
    result = eoren.fit(image, seed=1, **STEPS[name])
    path = folder / f"{name}-{os.getpid()}-{threading.get_ident()}.eoren"
    result.field.save(path)
    loaded = eoren.load(path)
    return [np.frombuffer(path.read_bytes(), np.uint8), *numbers(loaded), *result.metrics.as_dict().values()]


def clone(image, folder):
    mask = np.zeros((12, 16), bool)
    mask[3:9, 4:12] = True
    composition = eoren.clone(image[::-1].copy(), image, mask, keep_color=0.1)
    fitted = composition.fit(preset="mosaic", steps=2, width=16, depth=2)
    return [composition.colors, *numbers(fitted.field)]


def fit_many(image, folder):
    store = folder / f"store-{threading.get_ident()}"
    eoren.fit_many([(image, "a"), (image[:8, :8], "b"), (image[4:, 8:], "a")], store=store, steps=2, same_start=True)
    collection = eoren.Collection(store)
    weights, label = eoren.Collection(store).dataset()[0]
    (store / "index").rename(store / f"index-{random.SystemRandom().random()}")
    return [*numbers(collection[0]), *(collection.weights(number) for number in range(3)), weights, label]


def gradients(image, folder):
    return [eoren.adjusted_gradient(image), eoren.reference_gradient(image)]


OPERATIONS = {
    **{name: lambda image, folder, name=name: fit_preset(name, image, folder) for name in STEPS},
    "clone": clone,
    "fit_many": fit_many,
    "gradients": gradients,
}


def as_array(output):
    return output.detach().numpy() if isinstance(output, torch.Tensor) else np.asarray(output)


@pytest.fixture(scope="module")
def expected():
    """The results in the state in which a process starts, by backend and operation."""
    return {}


@pytest.mark.usefixtures("unchecked")  # beartype draws from Python's random numbers
@pytest.mark.filterwarnings("ignore:PyTorch does the work")
@pytest.mark.parametrize(
    ("backend", "where"), [("native", "this thread"), ("native", "another thread"), ("torch", "another thread")]
)
@pytest.mark.parametrize("state", STATES)
def test_nothing_matters_and_nothing_changes(image, expected, backend, state, where, tmp_path, monkeypatch):
    if backend == "native" and backend_info().backend != "native":
        pytest.skip("the native backend is not built")
    monkeypatch.setenv("EOREN_BACKEND", backend)
    if backend not in expected:
        plain = tmp_path / "plain"
        plain.mkdir()
        expected[backend] = {
            name: [as_array(output) for output in compute(image, plain)] for name, compute in OPERATIONS.items()
        }

    def work():
        results = {}
        with STATES[state]():
            for name, compute in OPERATIONS.items():
                before = observe()
                outputs = compute(image, tmp_path)
                after = observe()
                changed = {key: (value, after[key]) for key, value in before.items() if value != after[key]}
                results[name] = outputs, changed
        return results

    results = in_thread(work) if where == "another thread" else work()
    for name, (outputs, changed) in results.items():
        assert changed == {}, name
        for number, (output, right) in enumerate(zip(outputs, expected[backend][name], strict=True)):
            output, message = as_array(output), f"{name}, output {number}"
            if "threads" in state:  # sums of PyTorch are divided otherwise
                np.testing.assert_allclose(output, right, rtol=1e-4, atol=1e-5, strict=True, err_msg=message)
            else:
                np.testing.assert_array_equal(output, right, strict=True, err_msg=message)


FORKED = """
import faulthandler, multiprocessing, sys, numpy as np, torch, eoren
torch.set_num_threads(2)
image = np.random.default_rng(0).random((24, 32, 3), np.float32)
points = np.random.default_rng(0).random((5000, 2))

def work(pipe=None):
    faulthandler.dump_traceback_later(60, exit=True)
    (torch.ones(600, 600) @ torch.ones(600, 600)).exp() if pipe is None else None  # all threads of the parent
    results = []
    for options in ({"preset": "fast"}, {"preset": "mosaic", "steps": 2, "width": 16, "depth": 2, "tile": 12}):
        field = eoren.fit(image, seed=1, **options).field
        results += [field.render(256, 192), field.gradient(points)]
    faulthandler.cancel_dump_traceback_later()
    return pipe.send((results, torch.get_num_threads())) if pipe else results

before = work()
context = multiprocessing.get_context("fork")
ours, theirs = context.Pipe(duplex=False)
child = context.Process(target=work, args=(theirs,))
child.start()
theirs.close()
after, threads = ours.recv()
assert threads == 2
print(max(float(abs(a - b).max()) for a, b in zip(before, after)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_computes():
    """Threads of OpenMP do not survive a fork; waiting for them has no end."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-4
