import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren.errors import EorenError
from eoren.training import loop as running
from eoren.training.fit import fit

pytestmark = pytest.mark.filterwarnings("ignore::eoren.errors.ShortFitWarning")

SMALL = {"preset": "mosaic", "device": "cpu", "steps": 6, "width": 6, "depth": 2, "batch": 35, "seed": 3}


def random_image(height=9, width=12, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 16 points: several to a step."""
    monkeypatch.setattr("eoren.backends.base._CHUNK_BYTES", {"cpu": 1})


class Stop:
    """A watch that wants to stop once ``steps`` are made and it was asked ``chunks`` times more."""

    def __init__(self, steps, chunks=0):
        self.steps, self.chunks, self.asked = steps, chunks, 0

    def __call__(self, progress):
        if progress.steps >= self.steps:
            self.asked += 1
        return self.asked > self.chunks


def numbers(result):
    field = result.field
    return [
        *field.representation.siren.tensors(),
        field.representation.tuning.alpha,
        field.representation.tuning.beta,
        torch.from_numpy(field.representation.tiling.nodes),
    ]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(numbers(one), numbers(other), strict=True))


# Interrupted and taken up again.

CASES = {
    "muon": {"optimizer": "muon", "depth": 3},
    "adam": {"optimizer": "adam", "learning_rate": 0.003},
    "gradient": {"objective": "gradient"},
    "gradient between pixels": {"objective": "gradient", "filter": "forward"},
    "pixel": {"objective": "pixel"},
    "sobolev, an axis in turn": {"objective": "sobolev", "alternate": True},
    "sobolev, both axes": {"objective": "sobolev", "alternate": False},
    "all pixels every step": {"batch": 10_000},
    "no layer for muon": {"depth": 1},
    "8 bits": {"bits": 8},
    "not standardized": {"standardize": False},
    "mosaic": {"tile": 7},
    "mosaic, gradient, adam": {"tile": 7, "objective": "gradient", "optimizer": "adam", "learning_rate": 0.01},
    "mosaic, an axis in turn": {"tile": 7, "objective": "sobolev", "alternate": True, "depth": 3},
    "paper": {"preset": "paper"},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_interrupted_and_taken_up_again_is_bit_identical(tmp_path, small_chunks, case):
    case = SMALL | case
    path = tmp_path / "a.checkpoint"
    whole = fit(random_image(), **case)
    for stop in (Stop(2, 2), Stop(5)):  # amid a step, and between two
        part = fit(random_image(), **case, watch=stop, checkpoint=path)
        assert (part.ended, part.steps) == ("interrupted", stop.steps)
        assert not same(part, whole)
    last = fit(random_image(), **case, checkpoint=path)
    assert (last.ended, last.steps) == ("budget", 6)
    assert same(last, whole)
    if "tile" in case:
        assert whole.field.representation.tiling.count > 1


def test_tiles_at_rest_come_back_as_they_were(tmp_path, small_chunks, monkeypatch):
    monkeypatch.setattr("eoren.training.tile_scheduler._WARM_UP", 2)
    image = random_image(24, 24)
    image[:, 8:] = 0.5
    case = {**SMALL, "tile": 6, "halo": 1.0, "steps": 14}
    path = tmp_path / "a.checkpoint"
    whole = fit(image, **case)
    for stop in (Stop(5, 2), Stop(6, 2), Stop(8)):  # tiles are selected in even steps
        fit(image, **case, watch=stop, checkpoint=path)
    assert same(fit(image, **case, checkpoint=path), whole)
    monkeypatch.setattr("eoren.training.tile_scheduler._WARM_UP", 1000)
    assert not same(fit(image, **case), whole)


def test_checkpoints_whose_names_are_not_utf8(tmp_path, small_chunks):
    path = tmp_path / "caf\udce9.resume"
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system cannot store the name")
    path.unlink()
    fit(random_image(), checkpoint=path, watch=Stop(3), **SMALL)
    assert same(fit(random_image(), checkpoint=path, **SMALL), fit(random_image(), **SMALL))


def test_a_finished_fit_is_left_as_it_is(tmp_path):
    path = tmp_path / "a.checkpoint"
    whole = fit(random_image(), **SMALL, checkpoint=path)
    again = fit(random_image(), **SMALL, checkpoint=path)
    assert (again.steps, again.ended) == (6, "budget")
    assert same(again, whole)


def test_a_stop_amid_a_step_leaves_it_unmade(small_chunks):
    one = fit(random_image(), **SMALL, watch=Stop(4))
    other = fit(random_image(), **SMALL, watch=Stop(4, 2))
    assert same(one, other)
    assert one.steps == other.steps == 4
    assert not same(one, fit(random_image(), **SMALL, watch=Stop(5)))


def test_a_resumed_run_stops_at_its_target_where_it_would_have(tmp_path):
    """The running estimate decides when the target is measured, so it has to come back with the state."""
    rows, columns = np.mgrid[:9, :12].astype(np.float32)
    waves = (0.5 + 0.4 * np.sin(columns / 2) * np.cos(rows / 3))[..., None]
    # Until the rate is low the fit is 1.5 dB ahead of its running estimate: a target that only the end would
    # reach says nothing.
    reachable = fit(waves, **SMALL | {"steps": 200}).metrics.psnr - 3
    case = {**SMALL, "steps": 200, "until_psnr": reachable}
    whole = fit(waves, **case)
    assert whole.ended == "target"
    assert 20 < whole.steps < 200
    # A hundred steps on, an estimate that was lost is as good as one that was kept; three steps on it is not.
    for stop in (17, whole.steps - 3):
        path = tmp_path / f"{stop}.checkpoint"
        assert fit(waves, **case, watch=Stop(stop), checkpoint=path).steps == stop
        resumed = fit(waves, **case, checkpoint=path)
        assert (resumed.ended, resumed.steps) == ("target", whole.steps)
        assert same(resumed, whole)


def test_bits_may_change_when_a_fit_is_taken_up_again(tmp_path):
    path = tmp_path / "a.checkpoint"
    fit(random_image(), **SMALL, watch=Stop(3), checkpoint=path)
    assert same(fit(random_image(), **SMALL, bits=8, checkpoint=path), fit(random_image(), **SMALL, bits=8))


def test_seconds_before_the_interruption_count(tmp_path):
    path = tmp_path / "a.checkpoint"
    first = fit(random_image(), **SMALL, watch=Stop(5), checkpoint=path)
    header, tensors = opened(path.read_bytes())
    standing = header["standing"]
    assert 0 < standing["seconds"] <= first.seconds
    path.write_bytes(closed(header | {"standing": standing | {"seconds": 1000.0}}, tensors))
    second = fit(random_image(), **SMALL, checkpoint=path)
    assert 1000 < second.seconds < 1100
    assert second.history[0].steps == 5
    assert second.history[0].seconds > 1000


def test_a_time_budget_that_is_used_up_is_not_exceeded(tmp_path):
    path = tmp_path / "a.checkpoint"
    case = {**SMALL, "steps": None, "seconds": 0.2}
    del case["steps"]
    first = fit(random_image(), **case, checkpoint=path)
    second = fit(random_image(), **case, checkpoint=path)
    assert second.steps == first.steps
    assert same(second, first)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch, small_chunks, error):
    path = tmp_path / "a.checkpoint"
    whole = fit(random_image(), **SMALL)
    monkeypatch.setattr(running, "CHECKPOINT_EVERY", 0.0)
    stop = Stop(5, 2)

    def watch(progress):
        if stop(progress):
            raise error

    with pytest.raises(error):
        fit(random_image(), **SMALL, watch=watch, checkpoint=path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.checkpoint"]
    header, _ = opened(path.read_bytes())
    assert header["steps"] == 5
    again = fit(random_image(), **SMALL, checkpoint=path)
    assert same(again, whole)
    assert again.history[0].steps == 5


def test_checkpoints_are_kept_from_time_to_time(tmp_path, monkeypatch):
    path = tmp_path / "a.checkpoint"
    seen = []

    def watch(progress):
        seen.append(opened(path.read_bytes())[0]["steps"] if path.exists() else None)

    fit(random_image(), **SMALL, watch=watch, checkpoint=path)
    assert set(seen) == {None}  # not twice a minute yet
    seen.clear()
    path.unlink()
    monkeypatch.setattr(running, "CHECKPOINT_EVERY", 0.0)
    fit(random_image(), **SMALL, watch=watch, checkpoint=path)
    assert [*dict.fromkeys(seen)] == [*range(7)]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "CHECKPOINT_EVERY", 0.0)
    fit(random_image(), **SMALL)
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(tmp_path):
    calls = []
    with pytest.raises(EorenError, match="no folder"):
        fit(
            random_image(),
            **SMALL,
            watch=lambda progress: bool(calls.append(progress)),
            checkpoint=tmp_path / "no" / "a",
        )
    assert calls == []


def test_checkpoints_under_the_former_name_of_a_preset_are_resumed(tmp_path):
    path = tmp_path / "a.resume"
    options = SMALL | {"preset": "mosaic"}
    whole = fit(random_image(), **options, checkpoint=path)
    header, tensors = opened(path.read_bytes())
    assert header["identity"]["preset"] == "mosaic"
    header["identity"]["preset"] = "balanced"
    path.write_bytes(closed(header, tensors))
    again = fit(random_image(), **options, checkpoint=path)
    same(again, whole)


def numbered(data, names):
    """A checkpoint with the names that its tensors had at first: numbers, for those of a trainer."""
    header, tensors = opened(data)
    numbers = {name: str(number) for number, name in enumerate(names)}
    assert numbers.keys() <= tensors.keys()
    return closed(header, {numbers.get(name, name): tensor for name, tensor in tensors.items()})


@pytest.mark.parametrize("case", ["muon", "adam", "mosaic"])
def test_checkpoints_with_numbers_for_names_are_resumed(tmp_path, monkeypatch, case):
    monkeypatch.setattr(running, "TILES_AT_ONCE", 1)
    path, names = tmp_path / "a.checkpoint", []
    case = SMALL | CASES[case] | {"bits": 32, "steps": 30}

    def watch(progress):
        names[:] = progress.loop._trainer.state_dict()
        return progress.done >= 0.7

    whole = fit(random_image(), **case)
    fit(random_image(), **case, checkpoint=path, watch=watch)
    old = numbered(path.read_bytes(), names)
    path.write_bytes(old)
    assert same(fit(random_image(), **case, checkpoint=path), whole)
    _, tensors = opened(path.read_bytes())
    assert tensors.keys() >= {"parameters.0", "errors", "scheduler.steps", "monitor.best"}
    assert ("finished.0" in tensors) == ("tile" in case)
    header, tensors = opened(old)
    one_less = {name: tensor for name, tensor in tensors.items() if name != str(len(names) - 1)}
    for wrong in (one_less, tensors | {"1": tensors["0"].clone()}, tensors | {"more": torch.ones(1)}):
        path.write_bytes(closed(header, wrong))
        with pytest.raises(EorenError, match="delete it to start anew"):
            fit(random_image(), **case, checkpoint=path)


# Checkpoints of other fits.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The bytes of a checkpoint, at its fit's end."""
    path = tmp_path_factory.mktemp("checkpoint") / "a.checkpoint"
    fit(random_image(), **SMALL, checkpoint=path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"steps": 12},
        {"width": 7},
        {"depth": 3},
        {"objective": "gradient"},
        {"gradient_weight": 0.25},
        {"optimizer": "adam"},
        {"learning_rate": 0.02},
        {"tile": 7},
        {"filter": "sobel"},
        {"standardize": False},
        {"until_psnr": 99.0},
    ],
    ids=str,
)
def test_a_checkpoint_of_other_options_names_them(tmp_path, finished, change):
    path = tmp_path / "a.checkpoint"
    path.write_bytes(finished)
    ((name, value),) = change.items()
    with pytest.raises(EorenError) as caught:
        fit(random_image(), **{**SMALL, **change}, checkpoint=path)
    message = str(caught.value)
    assert message.startswith(f"{path}: belongs to another fit: its {name} is ")
    assert f"here it is {value!r}; " in message
    assert "\n" not in message
    assert path.read_bytes() == finished


@pytest.mark.parametrize("other", [random_image(seed=1), random_image().transpose(1, 0, 2), random_image()[..., :1]])
def test_a_checkpoint_of_another_image_says_so(tmp_path, finished, other):
    path = tmp_path / "a.checkpoint"
    path.write_bytes(finished)
    with pytest.raises(EorenError, match="belongs to another fit: its image is"):
        fit(other, **SMALL, checkpoint=path)


# Damage. Fits run in an interpreter of its own, as users run them, without the tests' checks of types.

READER = """
import json, os, sys, tempfile
import numpy as np
import torch
from eoren.errors import EorenError
from eoren.training.fit import fit

image = np.random.default_rng(0).random((9, 12, 3)).astype(np.float32)
small, files = json.load(sys.stdin)
path = os.path.join(tempfile.mkdtemp(), "a")

def outcome(data):
    with open(path, "wb") as file:
        file.write(data)
    try:
        result = fit(image, **small, checkpoint=path)
    except EorenError as error:
        return f"refused: {error}"
    except BaseException as error:
        return f"escaped: {error!r}"
    return f"fitted: {result.steps}"

print(json.dumps({name: outcome(bytes.fromhex(data)) for name, data in files.items()}))
"""


def outcomes(python, files):
    """Per checkpoint ``fitted: steps``, ``refused: message``, or what should not happen: ``escaped: ...``."""
    return python(READER, [SMALL, {name: data.hex() for name, data in files.items()}])


def opened(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["eoren-checkpoint"]), load_tensors(data)


def closed(header, tensors):
    return save_tensors(tensors, {"eoren-checkpoint": header if isinstance(header, str) else json.dumps(header)})


def broken(data):
    """Ways to break a checkpoint, by name."""
    header, tensors = opened(data)

    def without(name):
        return {key: value for key, value in header.items() if key != name}

    def with_first(change):
        return closed(header, tensors | {"parameters.0": change(tensors["parameters.0"].clone())})

    return {
        "empty": b"",
        "text": b"no checkpoint\n" * 40,
        "pickle": pickle.dumps([1, 2, 3] * 50),
        "other safetensors": save_tensors({"0": torch.ones(3)}),
        "a list": closed("[]", tensors),
        "no JSON": closed("{", tensors),
        "deep JSON": closed("[" * 100_000, tensors),
        **{f"steps {power}": closed(header | {"steps": 10**power}, tensors) for power in (1, 20, 400)},
        **{f"no {name}": closed(without(name), tensors) for name in ("identity", "steps", "standing")},
        "identity is a list": closed(header | {"identity": [1]}, tensors),
        "identity is nothing": closed(header | {"identity": None}, tensors),
        **{f"steps {value!r}": closed(header | {"steps": value}, tensors) for value in (None, "x", -5, 1e400)},
        **{
            f"seconds {value!r}": closed(header | {"standing": {"seconds": value}}, tensors)
            for value in (None, "x", float("nan"))
        },
        "no seconds": closed(header | {"standing": {}}, tensors),
        "no first tensor": closed(header, {name: t for name, t in tensors.items() if name != "parameters.0"}),
        "narrower tensor": with_first(lambda t: t[:, :, :4].contiguous()),
        "tensor that would broadcast": with_first(lambda t: t[:, :, :1].contiguous()),
        "a number for a tensor": with_first(lambda t: t[0, 0, 0].clone()),
        "whole numbers": with_first(lambda t: t.long()),
        "nan": with_first(lambda t: t.fill_(float("nan"))),
        "infinity": with_first(lambda t: t.fill_(float("inf"))),
    }


def damaged_at_random(data, count=120):
    generator = np.random.default_rng(0)
    (length,) = struct.unpack("<Q", data[:8])
    for case in range(count):
        damaged = np.frombuffer(data, np.uint8).copy()
        places = generator.integers(0, len(data) if case % 3 == 0 else 8 + length, generator.integers(1, 4))
        damaged[places] ^= generator.integers(1, 256 if case % 2 else 16, len(places), dtype=np.uint8)
        yield damaged.tobytes()


@pytest.fixture(scope="module")
def read(python, finished):
    """What becomes of checkpoints, by ways to damage them."""
    cuts = {*range(0, len(finished), len(finished) // 40), *range(10), len(finished) - 1}
    files = {
        "intact": {"": finished},
        "broken": broken(finished),
        "cut": {str(cut): finished[:cut] for cut in sorted(cuts)},
        "random": {str(case): data for case, data in enumerate(damaged_at_random(finished))},
    }
    found = outcomes(python, {f"{way}: {name}": data for way, cases in files.items() for name, data in cases.items()})
    assert not any("\n" in outcome for outcome in found.values())
    return {way: [f"{name}: {found[f'{way}: {name}']}" for name in cases] for way, cases in files.items()}


def test_the_reader_of_these_tests_reads(read):
    assert read["intact"] == [": fitted: 6"]


def test_broken_checkpoints_are_refused(read):
    assert [case for case in read["broken"] if ": refused: " not in case] == []


def test_truncated_checkpoints_are_refused(read):
    assert [case for case in read["cut"] if ": refused: " not in case] == []
    assert all("delete it to start anew" in case for case in read["cut"])


def test_random_damage_is_refused_or_harmless(read):
    assert [case for case in read["random"] if ": escaped: " in case] == []
    assert sum(": refused: " in case for case in read["random"]) > 50


def test_a_kill_amid_a_checkpoint_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "a.checkpoint"
    whole = fit(random_image(), **SMALL)
    fit(random_image(), **SMALL, watch=Stop(3), checkpoint=path)
    before = path.read_bytes()
    write_bytes = Path.write_bytes

    def killed(self, data):
        write_bytes(self, data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(random_image(), **SMALL, watch=Stop(5), checkpoint=path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.checkpoint"]
    assert same(fit(random_image(), **SMALL, checkpoint=path), whole)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(EorenError):
        fit(random_image(), **SMALL, checkpoint=tmp_path)
