import hashlib
import json
from math import ceil, floor, isinf

import cv2
import numpy as np
import pytest
import torch
from tests.fields import same_networks

import eoren
from eoren.errors import EorenError
from eoren.field.serialization import dumps, load, save
from eoren.image.io import read_source_image
from eoren.training import fit as fitting
from eoren.training import loop as running
from eoren.training.result import LINE_LENGTH, Progress

SMALL = {"preset": "mosaic", "device": "cpu", "steps": 4, "width": 6, "depth": 2, "batch": 60, "seed": 3}

# Most fits here are as short as a test can be.
pytestmark = pytest.mark.filterwarnings("ignore::eoren.errors.ShortFitWarning")


def fit(image, **options):
    return eoren.fit(image, **{**SMALL, **options})


def in_time(image, seconds, **options):
    """A fit that ends by the clock alone."""
    by_steps = {name: value for name, value in SMALL.items() if name != "steps"}
    return eoren.fit(image, **{**by_steps, "seconds": seconds, **options})


def random_image(height=13, width=16, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)


# Frequencies that suit a smooth image.
LOW = {"omega_first": 6.0, "omega_hidden": 10.0}


def smooth(height=20, width=26):
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    channels = [0.3 + 0.2 * np.sin(4 * x + 2 * y), 0.6 + 0.3 * x * y, 0.5 + 0.4 * np.cos(3 * y - x)]
    return np.stack(channels, -1).astype(np.float32)


def small_chunks(monkeypatch):
    monkeypatch.setattr("eoren.backends.base._CHUNK_BYTES", {"cpu": 1})


def test_the_repr_is_short():
    text = repr(fit(random_image(), steps=40))
    assert text.startswith(
        "FitResult(field=Field(16x13, 3 channels, 1 network, 2 sine layers of 6), metrics=Metrics(psnr="
    )
    assert "steps=40" in text
    assert len(text) < 350


# The same again.


@pytest.mark.parametrize("options", [{}, {"tile": 7}, {"preset": "paper"}], ids=str)
def test_a_seed_decides_the_field(options):
    one = fit(random_image(), **options)
    assert same_networks(one, fit(random_image(), **options))
    assert not same_networks(one, fit(random_image(), **{**options, "seed": 4}))
    assert one.field.provenance.seed == one.seed == 3


def test_the_process_is_left_as_it_was():
    image = random_image()
    before = image.copy()
    image.flags.writeable = False
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    random = np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    result = fit(image, tile=7)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(np.random.get_state()[1], random)  # noqa: NPY002
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(image, before)
    assert not result.field.representation.requires_grad


# Ends.


def test_no_steps_give_an_untrained_field_of_the_right_mean():
    result = fit(random_image(), steps=0)
    assert (result.steps, result.ended) == (0, "budget")
    np.testing.assert_allclose(result.field.render().mean((0, 1)), random_image().mean((0, 1)), atol=1e-5)


def test_steps_are_counted():
    for steps in (1, 2, 5):
        result = fit(random_image(), steps=steps)
        assert (result.steps, result.field.provenance.steps, result.ended) == (steps, steps, "budget")
    assert result.settings.seconds is None


def test_seconds_end_the_fit_in_time():
    result = in_time(random_image(), 0.4)
    assert result.ended == "budget"
    assert 0.4 <= result.seconds < 60
    assert result.steps > 5
    assert result.settings.steps is None
    assert result.field.provenance.seconds == pytest.approx(result.seconds, abs=1e-3)


@pytest.mark.parametrize("seconds", [1e-3, 0.3, 0.45])
def test_time_ends_amid_a_step(monkeypatch, seconds):
    """By a clock that goes on a millisecond whenever it is looked at: after every chunk at least."""
    now, asked = [0.0], []

    def clock():
        now[0] += 1e-3
        return now[0]

    small_chunks(monkeypatch)
    monkeypatch.setattr(running, "monotonic", clock)
    monkeypatch.setattr(fitting, "monotonic", clock)
    result = in_time(random_image(20, 32), seconds, batch=10_000, watch=lambda progress: asked.append(progress.steps))
    assert result.ended == "budget"
    if seconds < 0.01:  # one step is made, however long it takes
        assert result.steps == 1
    else:
        assert result.steps > 1
        assert seconds <= result.seconds < seconds + 0.01
        # 40 chunks a step, and once more between steps; the last step was given up.
        assert asked.count(1) == 41
        assert 2 < asked.count(result.steps) < 40


def test_the_first_of_two_budgets_counts():
    assert fit(random_image(), steps=3, seconds=100.0).steps == 3
    result = fit(random_image(), steps=10**9, seconds=0.2)
    assert 0 < result.steps < 10**9
    assert result.seconds < 60


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "pixel", "bits": 8},
        {"objective": "gradient", "batch": 10_000},
        {"objective": "gradient", "filter": "forward"},
        {"tile": 10},
    ],
    ids=str,
)
def test_a_target_ends_the_fit(options):
    image = smooth()
    start = fit(image, **{**LOW, **options, "steps": 0}).metrics.psnr
    target = start + 3
    result = fit(image, **{"steps": 300, "width": 12, "until_psnr": target, **LOW, **options})
    assert result.ended == "target"
    assert 0 < result.steps < 300
    assert result.metrics.psnr >= target
    assert eoren.evaluate(result.field, image).psnr >= target


def test_a_target_out_of_reach_uses_the_budget():
    result = fit(random_image(), until_psnr=99.0, steps=6)
    assert (result.ended, result.steps) == ("budget", 6)


@pytest.mark.parametrize("chunks", [0, 2])
def test_the_watch_ends_the_fit(monkeypatch, chunks):
    small_chunks(monkeypatch)
    asked = []

    def watch(progress):
        asked.append(progress.steps)
        return asked.count(2) > chunks

    result = fit(random_image(), steps=9, watch=watch)
    assert (result.steps, result.ended) == (2, "interrupted")
    assert same_networks(result, fit(random_image(), steps=9, watch=lambda progress: progress.steps == 2))
    assert result.metrics.psnr > 0


def test_asking_once_is_enough(monkeypatch):
    """The watch says stop amid a step, and would not say so again."""
    small_chunks(monkeypatch)
    asked = []

    def watch(progress):
        asked.append(progress.steps)
        return asked.count(2) == 3 and progress.steps == 2

    result = fit(random_image(), steps=9, watch=watch)
    assert (result.steps, result.ended) == (2, "interrupted")


def test_the_watch_is_called_after_every_chunk(monkeypatch):
    small_chunks(monkeypatch)
    asked = []
    fit(random_image(), steps=3, batch=64, watch=lambda progress: asked.append(progress))
    steps = [progress.steps for progress in asked]
    assert [steps.count(k) for k in range(4)] == [5, 5, 5, 1]  # 4 chunks of 16, once more between steps
    seconds = [progress.seconds for progress in asked]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("options", [{"steps": 3}, {"preset": "fast"}], ids=["mosaic", "compact"])
def test_printed_progress_is_one_line_in_place(capsys, options, monkeypatch):
    monkeypatch.setattr("eoren.training.result._PRINT_EVERY", -1.0)
    asked = []
    small = {} if options.get("preset") == "fast" else SMALL
    image = random_image(24, 20)
    result = eoren.fit(image, **{**small, **options}, progress=True, watch=lambda progress: asked.append(progress))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.endswith("\n")
    first, *lines, last = out.rstrip("\n").split("\r")
    assert first == ""
    assert lines == [str(progress) for progress in asked]
    assert {len(line) for line in lines} == {LINE_LENGTH} == {len(last)}
    assert last.startswith(f"{result.steps} steps in ")
    assert f"PSNR {result.metrics.psnr:.1f} dB" in last
    quiet = eoren.fit(image, **{**small, **options})
    assert capsys.readouterr().out == ""
    assert dumps(quiet.field) == dumps(result.field)


def test_progress_and_history_only_go_forward(monkeypatch):
    monkeypatch.setattr(running, "_HISTORY_EVERY", 0.0)
    result = fit(random_image(), steps=7)
    assert [progress.steps for progress in result.history] == [*range(8)]
    seconds = [progress.seconds for progress in result.history]
    assert seconds == sorted(seconds)
    assert seconds[-1] <= result.seconds
    np.testing.assert_allclose([progress.done for progress in result.history], np.arange(8) / 7)
    assert result.history[0].psnr is result.history[0].gradient_psnr is None
    assert all(np.isfinite([p.psnr, p.gradient_psnr]).all() for p in result.history[1:])


@pytest.mark.parametrize(
    ("options", "color", "gradient"),
    [
        ({"objective": "pixel"}, True, False),
        ({"objective": "gradient"}, True, True),
        ({"objective": "sobolev"}, True, True),
        ({"objective": "gradient", "filter": "forward"}, False, True),
    ],
    ids=str,
)
def test_running_estimates_are_there_where_they_can_be(monkeypatch, options, color, gradient):
    monkeypatch.setattr(running, "_HISTORY_EVERY", 0.0)
    last = fit(random_image(), **options).history[-1]
    assert (last.psnr is not None, last.gradient_psnr is not None) == (color, gradient)


def test_running_estimates_come_near_the_measurement(monkeypatch):
    monkeypatch.setattr(running, "_HISTORY_EVERY", 0.0)
    # Small rates, all pixels: what steps saw is what there is in the end.
    options = {"objective": "sobolev", "alternate": False, "standardize": False}
    result = fit(smooth(), steps=80, batch=10_000, learning_rate=1e-5, adam_learning_rate=1e-5, **options)
    last = result.history[-1]
    assert last.gradient_psnr == pytest.approx(
        -10 * np.log10(gradient_error(result.field, smooth(), tuned=False)), abs=0.3
    )


def gradient_error(field, image, *, tuned):
    height, width, _ = image.shape
    gradient = field.render(show="gradient") / [width, height]
    if not tuned:
        gradient = gradient / field.representation.tuning.alpha.numpy()[0, 0, :, None]
    reference = eoren.reference_gradient(image.astype(np.float64), extent=(float(width), float(height)))
    return np.mean((gradient - reference) ** 2)


def test_seconds_left():
    assert Progress().seconds_left is None
    assert Progress(steps=5, seconds=3.0, done=0.25).seconds_left == pytest.approx(9.0)
    assert Progress(steps=5, seconds=3.0, done=1.0).seconds_left == 0


# What is reported is what the file holds.


@pytest.mark.parametrize("options", [{}, {"tile": 7}, {"objective": "gradient"}], ids=str)
@pytest.mark.parametrize("bits", [32, 16, 8])
def test_metrics_are_those_of_the_reloaded_file(tmp_path, bits, options):
    image = random_image()
    result = fit(image, bits=bits, **options)
    save(result.field, tmp_path / "a.eoren")
    found = load(tmp_path / "a.eoren")
    measured = eoren.evaluate(found, image)
    assert measured == result.metrics
    assert result.bytes == (tmp_path / "a.eoren").stat().st_size
    assert result.bits_per_pixel == 8 * result.bytes / (13 * 16)
    assert found.provenance == result.field.provenance
    assert found.provenance.metrics == {
        name: value
        for name, value in measured.as_dict().items()
        if name in ("psnr", "psnr_8bit", "gradient_psnr", "ssim")
    }
    points = np.random.default_rng(0).random((30, 2))
    np.testing.assert_array_equal(found.color(points), result.field.color(points))
    assert found.representation.bits == bits


def test_fewer_bits_cost_little_after_tuning():
    results = {bits: fit(smooth(), steps=100, width=24, bits=bits, **LOW) for bits in (32, 16, 8)}
    assert results[16].metrics.psnr == pytest.approx(results[32].metrics.psnr, abs=0.5)
    assert results[8].metrics.psnr == pytest.approx(results[32].metrics.psnr, abs=2)
    assert results[8].bytes < results[16].bytes < results[32].bytes


def test_provenance_tells_everything(tmp_path):
    result = fit(random_image(), steps=2, seed=9, gradient_weight=0.25)
    provenance = result.field.provenance
    assert provenance.settings == result.settings.as_dict()
    assert provenance.settings["gradient_weight"] == 0.25
    assert (provenance.seed, provenance.steps) == (9, 2)
    assert provenance.seconds is None  # steps were to end it
    assert provenance.version == result.version == eoren.__version__
    json.dumps(provenance.settings, allow_nan=False)
    again = eoren.fit(random_image(), **(provenance.settings | {"seed": provenance.seed, "device": "cpu"}))
    assert same_networks(result, again)


# Images of every kind.


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_numbers_are_shares_of_the_largest(dtype):
    stored = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (9, 12, 3), dtype=dtype)
    assert same_networks(fit(stored), fit((stored / np.iinfo(dtype).max).astype(np.float32)))


def test_gray_arrays_need_no_channel_axis():
    image = random_image(channels=1)
    result = fit(image[..., 0])
    assert same_networks(result, fit(image))
    assert (result.field.channels, result.field.size) == (1, (16, 13))
    assert same_networks(result, fit(image[..., 0].astype(np.float64).tolist()))


def test_files_images_and_arrays_give_the_same_field(tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), stored[..., ::-1])
    expected = fit(stored)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for source in (path, str(path), read_source_image(path)):
        result = fit(source)
        assert same_networks(result, expected)
        assert result.field.provenance.source_sha256 == digest
    assert len(expected.field.provenance.source_sha256) == 64


def test_arrays_are_distinguished():
    image = random_image()

    def digest(array):
        return fit(array, steps=0).field.provenance.source_sha256

    assert digest(image) == digest(image.astype(np.float64)) == digest(np.asfortranarray(image))
    assert digest(image) != digest(image.transpose(1, 0, 2).copy())
    assert digest(np.zeros((4, 6, 1))) != digest(np.zeros((6, 4, 1)))


@pytest.mark.parametrize("options", [{}, {"objective": "gradient"}, {"tile": 6, "bits": 8}], ids=str)
@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 17, 1), (17, 1, 3), (2, 2, 2), (9, 14, 2), (9, 14, 4), (30, 3, 1)], ids=str
)
def test_every_shape_can_be_fitted(shape, options):
    image = random_image(*shape)
    result = fit(image, **options)
    assert result.field.render().shape == shape
    assert np.isfinite(result.metrics.psnr) or isinf(result.metrics.psnr)
    assert result.metrics.psnr > 3
    # Tuning takes care of the mean where one network sees every pixel once.
    if result.field.representation.tiling.count == 1:
        np.testing.assert_allclose(result.field.render().mean((0, 1)), image.mean((0, 1)), atol=1e-4)


@pytest.mark.parametrize("objective", ["gradient", "pixel", "sobolev"])
@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_a_constant_image_is_found_exactly(objective, value):
    result = fit(np.full((12, 15, 3), value, np.float32), objective=objective, bits=8)
    assert result.metrics.psnr > 120
    assert result.metrics.gradient_psnr > 250
    np.testing.assert_allclose(result.field.color(np.array([[0.2, 0.9]])), value, atol=1e-6)
    assert not result.field.gradient(np.array([[0.2, 0.9]])).any()
    assert dumps(result.field)


def test_a_constant_channel_beside_others():
    image = smooth()
    image[..., 1] = 0.5
    result = fit(image, steps=50)
    np.testing.assert_allclose(result.field.render()[..., 1], 0.5, atol=1e-6)
    assert np.ptp(result.field.render()[..., 0]) > 0.1


# How right fields are.


def test_gradients_alone_bring_gradients_and_by_tuning_colours():
    image = smooth()
    result = fit(image, objective="gradient", steps=300, width=20, batch=10_000, **LOW)
    assert result.metrics.gradient_psnr > 60
    assert result.metrics.psnr > 55
    np.testing.assert_allclose(result.field.render().mean((0, 1)), image.mean((0, 1)), atol=1e-5)


def test_objectives_do_what_they_are_named_for():
    image = smooth()
    image += 0.05 * random_image(20, 26)
    found = {
        objective: fit(image, objective=objective, steps=150, width=32, batch=10_000, omega_first=30.0).metrics
        for objective in ("gradient", "pixel", "sobolev")
    }
    assert found["pixel"].psnr > found["gradient"].psnr
    assert found["gradient"].gradient_psnr > found["pixel"].gradient_psnr
    assert found["sobolev"].gradient_psnr > found["pixel"].gradient_psnr
    assert found["sobolev"].psnr > found["gradient"].psnr


def network_says(field, tile, pixels, middle, half):
    """One network without its tuning, in float64, at pixels ``(column, row)``, as docs/file-format.md has it."""
    z = (torch.tensor(pixels).double() + 0.5 - torch.tensor(middle)) / half
    siren = field.representation.siren
    for layer, omega in enumerate(siren.omegas):
        z = torch.sin(omega * (z @ siren.weights[layer][tile].double() + siren.biases[layer][tile].double()))
    return (z @ siren.weights[-1][tile].double() + siren.biases[-1][tile].double()).numpy()


def leaf_boxes(tiling):
    nodes = iter(tiling.nodes.tolist())

    def walk(box):
        axis, place = next(nodes)
        if axis == -1:
            return [box]
        lower, upper = list(box), list(box)
        lower[2 + axis] = upper[axis] = place
        return walk(lower) + walk(upper)

    return walk([0, 0, tiling.width, tiling.height])


@pytest.mark.parametrize("tile", [None, 8], ids=["single", "mosaic"])
@pytest.mark.parametrize("bits", [32, 16, 8])
def test_tuning_is_the_least_squares_solution_of_the_rounded_network(bits, tile):
    image = smooth(19, 30) + np.float32(0.1) * random_image(19, 30)
    image /= image.max()
    field = fit(image, bits=bits, objective="gradient", steps=20, **({} if tile is None else {"tile": tile})).field
    halo, boxes = field.representation.tiling.halo, leaf_boxes(field.representation.tiling)
    assert (len(boxes) > 3) == (tile is not None)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        left, right = max(0, ceil(x0 - halo - 0.5)), min(30, floor(x1 + halo - 0.5) + 1)
        top, bottom = max(0, ceil(y0 - halo - 0.5)), min(19, floor(y1 + halo - 0.5) + 1)
        pixels = [(j, i) for i in range(top, bottom) for j in range(left, right)]
        half = max(right - left, bottom - top) / 2
        says = network_says(field, index, pixels, [(left + right) / 2, (top + bottom) / 2], half)
        for channel in range(3):
            design = np.stack([says[:, channel], np.ones(len(pixels))], -1)
            target = [image[i, j, channel] for j, i in pixels]
            (alpha, beta), *_ = np.linalg.lstsq(design, np.float64(target), rcond=None)
            found = (
                field.representation.tuning.alpha[index, 0, channel].item(),
                field.representation.tuning.beta[index, 0, channel].item(),
            )
            assert found == pytest.approx((alpha, beta), rel=1e-4, abs=1e-4), (index, channel)


def test_the_papers_preset_keeps_its_protocol(monkeypatch):
    made = []

    class Spy(running.Trainer):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append((self, self.tuning, [t.clone() for t in self.siren.tensors()]))

    monkeypatch.setattr(running, "Trainer", Spy)
    result = eoren.fit(random_image(), preset="paper", steps=3, seed=1, device="cpu")
    ((trainer, tuning, before),) = made
    settings = result.settings
    assert (settings.objective, settings.filter, settings.optimizer) == ("gradient", "central", "adam")
    assert [t.shape[2] for t in result.field.representation.siren.weights] == [256] * 5 + [3]
    assert result.field.representation.siren.omegas == (30.0,) * 5
    assert result.field.representation.tiling.count == 1
    # The network is trained on colours in [-0.5, 0.5]; the exact tuning comes at the end.
    assert trainer.tuning is tuning
    assert bool((tuning.alpha == 1).all())
    assert bool((tuning.beta == 0.5).all())
    # Adam's first steps move every number by about its rate, 1e-4, and the rate stays.
    moved = (result.field.representation.siren.weights[1] - before[1]).abs()
    assert 1e-4 < moved.median() < 3.5e-4


# Mistakes of the caller. In an interpreter of its own, without the tests' checks of types.

CALLS = {
    "image=np.zeros((4, 4, 5))": "must have shape",
    "image=np.full((4, 4), 7.0)": "divide by",
    "image='/nowhere.png'": "cannot be read",
    "image=None": "",
    "preset='nonsense'": "preset must be one of fast, ",
    "nonsense=1": "setting must be one of ",
    "objective='colour'": "objective must be one of gradient, pixel, sobolev, got 'colour'",
    "steps=-1": "steps must be zero or a positive number, got -1",
    "steps=1.5": "steps must be of type int, got 1.5",
    "steps=True": "steps must be of type int, got True",
    "width=0": "width must be a positive number, got 0",
    "seconds=0": "seconds must be a positive number, got 0",
    "seconds=float('nan')": "seconds must be a positive number, got nan",
    "until_psnr='high'": "until_psnr must be of type float, got 'high'",
    "device='abacus'": "device must be one of ",
    "bits=7": "bits must be one of 32, 16, 8, got 7",
    "seed='x'": "seed",
    "seed=1.5": "seed",
    "seed=2**80": "seed",
    "seed=None": "seed",
}
WELCOME = [
    "learning_rate=1",
    "checkpoint=folder + '/a'",
    "watch=lambda progress: None",
    "watch=lambda progress: np.bool_(True)",
]
# Either will do.
UNUSUAL = [
    "seed=np.int64(1)",
    "steps=np.int64(1)",
    "learning_rate=np.float32(0.1)",
    "seed=2**63",
    "seed=True",
    "bits=True",
]
READER = """
import json, sys, tempfile
import numpy as np
from eoren import EorenError, fit
folder = tempfile.mkdtemp()
small = {"preset": "mosaic", "steps": 1, "width": 4, "depth": 2, "device": "cpu", "image": np.full((5, 5), 0.25)}

def outcome(call):
    try:
        fit(**eval(f"{{**small, **dict({call})}}"))
    except EorenError as error:
        return f"refused: {error}"
    except BaseException as error:
        return f"escaped: {error!r}"
    return "fitted"

print(json.dumps({call: outcome(call) for call in json.load(sys.stdin)}))
"""


@pytest.fixture(scope="module")
def called(python):
    return python(READER, [*CALLS, *WELCOME, *UNUSUAL])


@pytest.mark.parametrize("call", CALLS)
def test_mistakes_are_refused_in_one_line(called, call):
    assert called[call].startswith("refused: ")
    assert CALLS[call] in called[call]
    assert "\n" not in called[call]


@pytest.mark.parametrize("call", WELCOME)
def test_valid_calls_are_fitted(called, call):
    assert called[call] == "fitted"


@pytest.mark.parametrize("call", UNUSUAL)
def test_unusual_calls_are_fitted_or_refused(called, call):
    assert called[call].startswith(("fitted", "refused: "))


def test_mistakes_are_eoren_errors():
    with pytest.raises(EorenError, match=r"preset must be one of .*, got 'nonsense'$"):
        fit(random_image(), preset="nonsense")
