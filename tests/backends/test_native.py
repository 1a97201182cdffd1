"""The native library and its bindings. For training see test_base.py, for fields test_field.py."""

import ctypes
import os
import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.backends.targets import needs_library, targets

from eoren.backends import native_coder
from eoren.backends import native_library as native
from eoren.backends.dispatch import choose_backend
from eoren.backends.native import NativeBackend
from eoren.errors import EorenError
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

SOURCE = Path(__file__).parents[2] / "src" / "native"

every_target = pytest.mark.parametrize("name", targets())


@needs_library
def test_the_best_target_is_taken_and_only_known_ones_can_be(target):
    usual = os.environ.get("EOREN_TARGET") or targets()[0]
    assert native.target() == usual
    assert not target("abacus")
    assert not target("")
    assert native.target() == usual
    for name in targets():
        assert target(name)
        assert native.target() == name


# Sine and cosine.


def sine_and_cosine(x):
    sine, cosine = torch.empty_like(x), torch.empty_like(x)
    native.library().eoren_sincos(x.data_ptr(), len(x), sine.data_ptr(), cosine.data_ptr())
    return sine, cosine


def sine_alone(x):
    """The sine as the kernels compute it where no derivative is needed."""
    sine = torch.empty_like(x)
    native.library().eoren_sincos(x.data_ptr(), len(x), sine.data_ptr(), None)
    return sine


def both(x):
    """Sine, cosine and the sine alone, each beside the same in float64."""
    given = torch.from_numpy(x)
    found = (*sine_and_cosine(given), sine_alone(given))
    x = x.astype(np.float64)
    waves = (np.sin, np.cos, np.sin)
    return [(each.numpy().astype(np.float64), wave(x)) for each, wave in zip(found, waves, strict=True)]


def neighbours(x, steps):
    """Numbers and those beside them."""
    found = [x]
    for end in (-np.inf, np.inf):
        beside = x
        for _ in range(steps):
            beside = np.nextafter(beside, np.float32(end))
            found.append(beside)
    return np.concatenate(found)


@needs_library
@every_target
def test_sine_and_cosine_are_right_to_the_last_bits(target, name):
    """2.34 units in the last place at worst, and 1.25e-7."""
    assert target(name)
    rng = np.random.default_rng(0)
    turns = np.arange(-636, 637) * (np.pi / 2)
    sizes = 10 ** rng.uniform(-40, 3, 200_000) * rng.choice([-1, 1], 200_000)
    for x in (
        np.linspace(-1000, 1000, 1_000_001, dtype=np.float32),
        np.linspace(-2, 2, 200_001, dtype=np.float32),
        neighbours(turns.astype(np.float32), 3),
        neighbours((turns + np.pi / 4).astype(np.float32), 3),
        sizes.astype(np.float32),
    ):
        for found, right in both(x):
            error = np.abs(found - right)
            assert error.max() <= 1.3e-7
            assert (error / np.spacing(np.abs(right).astype(np.float32))).max() <= 2.5
            assert np.abs(found).max() <= 1 + 1.2e-7


@needs_library
@every_target
def test_large_angles_lose_little(target, name):
    """Large images have steep first layers: 4000 units of local coordinates a radian, at most."""
    assert target(name)
    for found, right in both(np.linspace(-6000, 6000, 300_001, dtype=np.float32)):
        assert np.abs(found - right).max() <= 1.3e-7
    for found, right in both(np.linspace(-1e5, 1e5, 300_001, dtype=np.float32)):
        assert np.abs(found - right).max() <= 0.01


@needs_library
@every_target
def test_sine_is_odd_and_cosine_even(target, name):
    assert target(name)
    x = torch.rand(10_007, generator=torch.Generator().manual_seed(0)) ** 3 * 2000
    sine, cosine = sine_and_cosine(x)
    mirrored, same = sine_and_cosine(-x)
    assert torch.equal(mirrored, -sine)
    assert torch.equal(same, cosine)
    assert torch.equal(sine_alone(-x), -sine_alone(x))


@needs_library
@every_target
def test_sine_and_cosine_of_special_numbers(target, name):
    assert target(name)
    smallest = torch.finfo(torch.float32).smallest_normal
    tiny = torch.tensor([0.0, -0.0, smallest, -smallest, 1e-45, -1e-40, 1e-20])
    sine, cosine = sine_and_cosine(tiny)
    assert torch.equal(sine, tiny)
    assert torch.equal(sine_alone(tiny), tiny)
    assert torch.equal(cosine, torch.ones(7))
    for x in ([float("nan")] * 3, [float("inf"), -float("inf")], [1.0, float("nan"), 2.0]):
        for found, wave in zip(sine_and_cosine(torch.tensor(x)), (torch.sin, torch.cos), strict=True):
            assert torch.equal(found.isnan(), wave(torch.tensor(x)).isnan())
    # Not angles any more; anything comes back, but it does.
    huge = torch.logspace(6, 38, 100)
    assert [len(each) for each in sine_and_cosine(torch.cat([huge, -huge]))] == [200, 200]


@needs_library
@every_target
@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8, 15, 16, 17, 33, 100])
def test_any_number_of_angles_and_none_more(target, name, count):
    assert target(name)
    x = torch.linspace(-5, 5, 128)
    out = torch.full((2, 128), 7.0)
    every = sine_and_cosine(x)
    native.library().eoren_sincos(x.data_ptr(), count, out[0].data_ptr(), out[1].data_ptr())
    for found, right in zip(out, every, strict=True):
        assert torch.equal(found[:count], right[:count])
        assert bool((found[count:] == 7).all())


# Networks at scattered points.


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def networks(batch, *, width=16, depth=3, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    siren = Siren.init(batch, width=width, depth=depth, channels=channels, generator=generator)
    # Every layer has its own, so that none can stand for another.
    return replace(siren, omegas=(12.0, 31.0, 27.0, 34.0, 29.0)[:depth])


def plain(siren, points, counts, tuning, axes, scale, laplacian):
    """What each network says at its points, in float64."""
    found = []
    for k, own in enumerate(points.double().split(counts)):
        if not len(own):
            continue
        said = siren.select(slice(k, k + 1)).to(torch.float64)(
            own[None],
            axes=axes,
            scale=None if scale is None else scale[k : k + 1].double(),
            laplacian=laplacian,
        )
        if tuning is not None:
            said = Tuning(tuning.alpha.double(), tuning.beta.double()).select(slice(k, k + 1)).apply(said)
        found.append(said[0].movedim(0, 1))
    return torch.cat(found)


def assert_streams(found, expected, share=1e-5):
    """Every stream as near as a share of its largest number."""
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    for stream in range(expected.shape[1]):
        error = (found[:, stream].double() - expected[:, stream]).abs()
        assert error.max() <= share * expected[:, stream].abs().max(), stream


def assert_evaluates(siren, counts, *, tuned=True, scaled=True, axes=(), laplacian=False):
    points = drawn(sum(counts), 2, seed=1).clamp(-2, 2)
    tuning = Tuning(drawn(len(counts), 1, siren.channels, seed=2), drawn(len(counts), 1, siren.channels, seed=3))
    given = {
        "tuning": tuning if tuned else None,
        "axes": axes,
        "scale": 0.1 + drawn(len(counts), 2, seed=4).abs() if scaled else None,
        "laplacian": laplacian,
    }
    found = NativeBackend().evaluate(siren, points, torch.tensor(counts), **given)
    assert_streams(found, plain(siren, points, counts, **given))


STREAMS = [((), False), ((0,), False), ((1,), False), ((0, 1), False), ((1, 0), False), ((0, 1), True)]


@needs_library
@pytest.mark.parametrize(("tuned", "scaled"), [*product([False, True], repeat=2)])
@pytest.mark.parametrize(("axes", "laplacian"), STREAMS)
def test_points_are_evaluated_as_streams_are_propagated(axes, laplacian, tuned, scaled):
    counts = [5, 0, 33, 1, 0, 0, 8, 64]
    assert_evaluates(networks(8), counts, tuned=tuned, scaled=scaled, axes=axes, laplacian=laplacian)


@needs_library
@every_target
@pytest.mark.parametrize(
    ("width", "depth", "channels"),
    [(16, 1, 1), (32, 2, 3), (48, 5, 4), (64, 3, 2), (80, 2, 4), (96, 4, 1), (112, 1, 3), (128, 3, 4), (256, 5, 3)],
)
def test_networks_of_any_shape_are_evaluated(target, name, width, depth, channels):
    assert target(name)
    siren = networks(2, width=width, depth=depth, channels=channels)
    for axes, laplacian in (STREAMS[0], STREAMS[2], STREAMS[5]):
        assert_evaluates(siren, [31, 9], axes=axes, laplacian=laplacian)


@needs_library
@pytest.mark.parametrize("counts", [[5000], [2048], [2049, 1, 2047, 0, 4097]], ids=str)
def test_many_points_of_a_network_are_all_evaluated(counts):
    assert_evaluates(networks(len(counts)), counts, axes=(0, 1))


@needs_library
@pytest.mark.parametrize("counts", [[0], [0, 0, 0]], ids=str)
def test_no_points_are_no_work(counts):
    found = NativeBackend().evaluate(
        networks(len(counts)), torch.zeros(0, 2), torch.tensor(counts), axes=(0, 1), laplacian=True
    )
    assert found.shape == (0, 4, 2)


@needs_library
def test_tensors_need_not_lie_in_a_row():
    siren, points, counts = networks(6), drawn(40, 4)[:, ::3], torch.tensor([30, 7, 3])
    assert not points.is_contiguous()
    others = siren.with_tensors([t.mT.contiguous().mT[::2] for t in siren.tensors()])
    alpha, beta = drawn(1, 1, 2).expand(3, 1, 2), drawn(3, 2, 2)[:, :1]
    found = NativeBackend().evaluate(others, points, counts, tuning=Tuning(alpha, beta), scale=drawn(2, 3).T)
    expected = NativeBackend().evaluate(
        siren.select(torch.tensor([0, 2, 4])),
        points.contiguous(),
        counts,
        tuning=Tuning(alpha.contiguous(), beta.contiguous()),
        scale=drawn(2, 3).T.contiguous(),
    )
    assert torch.equal(found, expected)


@needs_library
def test_threads_change_no_bit_of_an_answer(threads):
    siren, counts = networks(5, width=32), [3000, 0, 10, 5000, 700]
    points = drawn(sum(counts), 2)
    found = []
    for count in (1, 2, 3, 5, 64):
        threads(count)
        found.append(NativeBackend().evaluate(siren, points, torch.tensor(counts), axes=(0, 1), laplacian=True))
    assert all(torch.equal(each, found[0]) for each in found)


# Rendering; what is right is for test_field.py to say.


def build_tiling(width=16, channels=3, halo=3.0, size=(90, 70), count=9):
    detail = 0.01 + np.random.default_rng(0).random((size[1], size[0])) ** 8
    tiling = Tiling.by_detail(detail, count=count, halo=halo, smallest=4)
    siren = networks(tiling.count, width=width, channels=channels)
    tuning = Tuning(1 + 0.3 * drawn(tiling.count, 1, channels, seed=1), drawn(tiling.count, 1, channels, seed=2))
    return siren, tuning, tiling


def lines(*counts):
    """Columns and rows over the image and somewhat beyond, in the unit square."""
    return [
        torch.linspace(-5, size + 5, count, dtype=torch.float64) / size
        for size, count in zip((90, 70), counts, strict=True)
    ]


EVERYTHING = ("color", "gradient", "laplacian")


class Rendering:
    """A mosaic and the units of its derivatives, to be sampled on grids."""

    def __init__(self, siren, tuning, tiling, extent):
        self.mosaic, self.extent = (siren, tuning, tiling), extent

    def sample(self, x, y, *quantities):
        found = NativeBackend().render(*self.mosaic, x.numpy(), y.numpy(), *quantities, extent=self.extent)
        return tuple(map(torch.from_numpy, found))


def is_native(siren):
    return choose_backend(siren).name == "native"


@needs_library
def test_threads_change_no_bit_of_a_rendering(threads):
    rendering = Rendering(*build_tiling(), (1.0, 1.0))
    found = []
    for count in (1, 2, 3, 5):
        threads(count)
        found.append(rendering.sample(*lines(200, 150), *EVERYTHING))
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


@needs_library
@every_target
def test_targets_render_the_same(target, name):
    rendering = Rendering(*build_tiling(), (90.0, 70.0))
    target("generic")
    expected = rendering.sample(*lines(67, 130), *EVERYTHING)
    assert target(name)
    for found, right in zip(rendering.sample(*lines(67, 130), *EVERYTHING), expected, strict=True):
        assert (found - right).abs().max() <= 2e-5 * right.abs().max()


@needs_library
@pytest.mark.parametrize(
    "wanted", [*EVERYTHING, ("laplacian", "color"), ("gradient", "laplacian"), ("color", "gradient")]
)
def test_whatever_is_wanted_is_what_all_together_are(wanted):
    wanted = (wanted,) if isinstance(wanted, str) else wanted
    rendering = Rendering(*build_tiling(), (1.0, 1.0))
    every = dict(zip(EVERYTHING, rendering.sample(*lines(70, 65), *EVERYTHING), strict=True))
    found = rendering.sample(*lines(70, 65), *wanted)
    assert [tuple(each.shape) for each in found] == [
        (65, 70, 3, 2) if each == "gradient" else (65, 70, 3) for each in wanted
    ]
    for each, said in zip(wanted, found, strict=True):
        torch.testing.assert_close(said, every[each], rtol=0, atol=1e-6 * float(every[each].abs().max()))


@needs_library
@pytest.mark.parametrize(("halo", "count"), [(3.0, 9), (0.4, 30), (25.0, 60)])
@pytest.mark.parametrize("value", [1.0, -0.25])
def test_networks_that_say_one_thing_render_it_everywhere(halo, count, value):
    """The sum of the weights is one, and that of their slopes nothing."""
    siren, _, tiling = build_tiling(halo=halo, count=count)
    tensors = [t.clone() for t in siren.tensors()]
    tensors[siren.depth].zero_()
    tensors[-1].fill_(value)
    ones = torch.ones(tiling.count, 1, 3)
    rendering = Rendering(siren.with_tensors(tensors), Tuning(ones, 0 * ones), tiling, (90.0, 70.0))
    color, gradient, laplacian = rendering.sample(*lines(400, 310), *EVERYTHING)
    assert (color - value).abs().max() <= 5e-7 * abs(value)
    assert gradient.abs().max() <= 5e-7 / halo
    assert laplacian.abs().max() <= 5e-6 / halo**2


@needs_library
def test_a_grid_without_rows_is_drawn_at_once():
    rendering = Rendering(*build_tiling(), (1.0, 1.0))
    x, y = lines(7, 3)
    color, gradient = rendering.sample(x, y[:0], "color", "gradient")
    assert (color.shape, gradient.shape) == ((0, 7, 3), (0, 7, 3, 2))


# Whether it is there, and whether it can.


@pytest.mark.parametrize("wish", ["", "native", None])
def test_the_engine_does_what_it_can(monkeypatch, wish):
    if native.library() is None:
        pytest.skip("the native engine is not built here")
    if wish is None:
        monkeypatch.delenv("EOREN_BACKEND", raising=False)
    else:
        monkeypatch.setenv("EOREN_BACKEND", wish)
    for width, depth, channels in ((16, 1, 1), (32, 3, 3), (256, 5, 4)):
        assert is_native(networks(2, width=width, depth=depth, channels=channels))
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    assert not is_native(networks(1))


def wide(width):
    return networks(1, width=width)


OBSTACLES = {
    "got 8": lambda: wide(8),
    "got 20": lambda: wide(20),
    "got 272": lambda: wide(272),
    "5 sine layers, got 6": lambda: Siren.init(
        1, width=16, depth=6, channels=1, generator=torch.Generator().manual_seed(0)
    ),
    "at most 4, got 5": lambda: networks(1, channels=5),
    "float32": lambda: networks(1).to(torch.float64),
    "on the CPU, not on meta": lambda: networks(1).to("meta"),
}


@needs_library
@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_the_engine_cannot_do_is_left_to_pytorch_or_refused(monkeypatch, obstacle):
    siren = OBSTACLES[obstacle]()
    monkeypatch.delenv("EOREN_BACKEND", raising=False)
    assert not is_native(siren)
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    assert not is_native(siren)
    monkeypatch.setenv("EOREN_BACKEND", "native")
    with pytest.raises(EorenError, match=f"^EOREN_BACKEND is native, but .*{obstacle}.*; unset it"):
        is_native(siren)


@pytest.mark.parametrize("wish", ["cuda", "Native", "torch ", "1"])
def test_an_engine_that_there_is_not_is_refused(monkeypatch, wish):
    monkeypatch.setenv("EOREN_BACKEND", wish)
    with pytest.raises(EorenError, match=f"EOREN_BACKEND must be one of native, torch, got {wish!r}; set one"):
        is_native(networks(1))


def test_without_the_library_there_is_no_engine(monkeypatch):
    monkeypatch.setattr("eoren.backends.native.library", lambda: None)
    monkeypatch.delenv("EOREN_BACKEND", raising=False)
    assert not is_native(networks(1))
    monkeypatch.setenv("EOREN_BACKEND", "native")
    with pytest.raises(EorenError, match=r"^EOREN_BACKEND is native, but the native library was not built"):
        is_native(networks(1))


@needs_library
def test_a_library_of_another_version_is_not_used(monkeypatch):
    load = native.library.__wrapped__
    assert load() is not None
    monkeypatch.setattr(native, "_VERSION", 99)
    assert load() is None


def test_a_library_of_another_processor_is_not_used(monkeypatch, tmp_path):
    load = native.library.__wrapped__
    monkeypatch.setattr(native, "__file__", str(tmp_path / "backends" / "native_library.py"))
    assert load() is None
    (tmp_path / "eoren_native.so").write_bytes(b"\x7fELF, or so it says")
    assert load() is None


@needs_library
def test_want_of_memory_is_an_error_and_no_end(python):
    code = """
import json, resource, torch
from pathlib import Path
from eoren.backends.native import NativeBackend
from eoren.model.siren import Siren
siren = Siren.init(1, width=256, depth=5, channels=3, generator=torch.Generator().manual_seed(0))
points, counts = torch.rand(100, 2), torch.tensor([100])
NativeBackend().evaluate(siren, points, counts)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), resource.RLIM_INFINITY))
hoard = []
for size in (1 << 20, 1 << 16):
    try:
        while True:
            hoard.append(bytearray(size))
    except MemoryError:
        pass
del hoard[-8:]  # for all but the engine
try:
    NativeBackend().evaluate(siren, points, counts)
    said = "enough"
except MemoryError as error:
    said = str(error)
hoard.clear()
print(json.dumps(said))
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux")
    assert python(code, None) == "the native backend could not allocate its working memory"


# The structures, as C has them.


STRUCTURES = {
    "eoren_networks": native.Networks,
    "eoren_convolution": native.Convolution,
    "eoren_tuning": native.ChannelTuning,
    "eoren_pass": native.LossPass,
    "eoren_step": native.Step,
    "eoren_adam": native.AdamStep,
    "eoren_muon": native.MuonStep,
    "eoren_query": native.Query,
    "eoren_grid": native.Grid,
    "eoren_context_model": native.ContextModelTables,
    "eoren_block": native.Block,
    "eoren_latent_window": native.LatentWindow,
    "eoren_latent_field": native.LatentField,
    "eoren_latent_grid": native.LatentGrid,
    "eoren_latent_points": native.LatentPoints,
    "eoren_distortion": native.DistortionProblem,
}
CONSTANTS = {
    "EOREN_VERSION": native._VERSION,
    "EOREN_MOST_LAYERS": native.MAX_LAYERS,
    "EOREN_MOST_CHANNELS": native.MAX_CHANNELS,
    "EOREN_MOST_WIDTH": native.MAX_WIDTH,
    "EOREN_WIDTH_MULTIPLE": native.WIDTH_MULTIPLE,
    "EOREN_MOST_HIDDEN": native.MAX_HIDDEN,
    "EOREN_FINISHED": native_coder._FINISHED,
    "EOREN_NO_MEMORY": native_coder._NO_MEMORY,
    "EOREN_TRUNCATED": native_coder._TRUNCATED,
    "EOREN_LARGE_LATENT": native_coder._LARGE_LATENT,
    "EOREN_NOT_AT_END": native_coder._NOT_AT_END,
    "EOREN_MOST_LEVELS": native.MAX_LEVELS,
    "EOREN_FINE_LEVELS": native.FINE_LEVELS,
}


def test_structures_and_constants_are_those_of_the_c_header(tmp_path):
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler is None or not (SOURCE / "eoren.h").exists():
        pytest.skip("needs a C++ compiler and the sources")
    expected, asked = [], []
    for name, structure in STRUCTURES.items():
        asked.append(f"sizeof({name})")
        expected.append(ctypes.sizeof(structure))
        for field, _ in structure._fields_:
            member = getattr(structure, field)
            own = field.rstrip("_")
            asked += [f"offsetof({name}, {own})", f"sizeof((({name}*)nullptr)->{own})"]
            expected += [member.offset, member.size]
    asked += CONSTANTS
    expected += CONSTANTS.values()
    lines = "\n".join(f'std::printf("%lld\\n", (long long)({each}));' for each in asked)
    program = f'#include "eoren.h"\n#include <cstddef>\n#include <cstdio>\nint main() {{\n{lines}\n}}\n'
    (tmp_path / "layout.cpp").write_text(program)
    command = [compiler, "-std=c++17", "-w", f"-I{SOURCE}", "layout.cpp", "-o", "layout"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    said = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True, timeout=60)
    assert dict(zip(asked, map(int, said.stdout.split()), strict=True)) == dict(zip(asked, expected, strict=True))


def test_every_structure_of_the_header_has_a_mirror():
    if not (SOURCE / "eoren.h").exists():
        pytest.skip("needs the sources")
    header = (SOURCE / "eoren.h").read_text()
    assert {line.removeprefix("} ").rstrip(";") for line in header.splitlines() if line.startswith("} eoren_")} == {
        *STRUCTURES
    }


@pytest.mark.skipif(native.library() is None, reason="the native engine is not built")
def test_the_environment_chooses_the_instruction_set(python):
    code = (
        "import json, os; given = json.load(sys.stdin); os.environ['EOREN_TARGET'] = given\n"
        "from eoren.backends import native_library as native; print(json.dumps(native.target()))"
    )
    assert python(code, "generic") == "generic"


@pytest.mark.skipif(native.library() is None, reason="the native engine is not built")
def test_an_instruction_set_that_is_missing_is_refused(monkeypatch):
    native.library.cache_clear()
    monkeypatch.setenv("EOREN_TARGET", "sse9")
    with pytest.raises(EorenError, match=r"EOREN_TARGET must be one of .*, got 'sse9'"):
        native.library()
    monkeypatch.delenv("EOREN_TARGET")
    native.library.cache_clear()
    assert native.library() is not None


@needs_library
def test_a_library_whose_structures_have_other_sizes_is_not_used(monkeypatch):
    class Longer(native.Networks):
        _fields_ = (("more", ctypes.c_int64),)

    load = native.library.__wrapped__
    assert load() is not None
    monkeypatch.setattr(native, "_STRUCTURES", (Longer, *native._STRUCTURES[1:]))
    assert load() is None


def test_the_earlier_name_of_the_variable_is_read(monkeypatch):
    monkeypatch.delenv("EOREN_BACKEND", raising=False)
    monkeypatch.setenv("EOREN_ENGINE", "torch")
    assert not is_native(networks(1))
    monkeypatch.setenv("EOREN_ENGINE", "cuda")
    with pytest.raises(EorenError, match=r"^EOREN_ENGINE must be one of native, torch, got 'cuda'"):
        is_native(networks(1))
