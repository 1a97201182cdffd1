"""Interrupted and resumed refinements, and what watchers see of them."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from tests.compact import picture

from eoren.errors import EorenError
from eoren.field.serialization import dumps
from eoren.model.latents import features
from eoren.model.latents.wavelet import synthesize
from eoren.training.compact import finish, loop
from eoren.training.compact import fit as compact_fit
from eoren.training.compact.settings import PRESETS
from eoren.training.fit import fit

OPTIONS = {"preset": "balanced", "steps": 6, "siren_width": 0, "lagrangian": 2e-4, "seed": 3}


@pytest.mark.parametrize("size", [(40, 56), (3, 2500)], ids=["one block", "blocks"])
def test_interrupted_and_resumed_is_bit_identical(tmp_path, size):
    image, path = picture(*size, 3), tmp_path / "a.resume"
    whole = fit(image, **OPTIONS)
    for stop in (2, 5):
        stopped = fit(image, **OPTIONS, watch=lambda progress, n=stop: progress.steps >= n, checkpoint=path)
        assert stopped.ended == "interrupted"
    resumed = fit(image, **OPTIONS, checkpoint=path)
    assert resumed.ended == "budget"
    assert resumed.steps == whole.steps == 6
    assert dumps(resumed.field) == dumps(whole.field)


def test_headers_of_checkpoints_do_not_grow_with_the_number_of_blocks(tmp_path):
    names = []
    for width in (2600, 7800):
        path = tmp_path / f"{width}.resume"
        fit(picture(3, width, 1), **OPTIONS, watch=lambda progress: progress.done > 0.8, checkpoint=path)
        with safe_open(path, framework="np") as stored:
            names.append(sorted(stored.keys()))
            assert sum(stored.get_tensor(name).size for name in names[-1]) > 0.6 * 3 * width
    assert names[0] == names[1]


def test_only_fine_latents_of_several_blocks_change():
    """Blocks share the coarse band and the details above level 3 as they were at the start."""
    seen = []

    def watch(progress):
        if progress.loop is not None:
            seen.append([band.copy() for band in progress.loop.result.latents.bands()])

    fit(picture(3, 5200, 1), **OPTIONS, watch=watch)
    for k, (first, last) in enumerate(zip(seen[0], seen[-1], strict=True)):
        assert np.array_equal(first, last) or 1 <= k <= 9
    assert not all(map(np.array_equal, seen[0], seen[-1]))


def test_blocks_share_the_low_pass_band(monkeypatch):
    """The work of a block does not grow with the image: what depends on all of it is computed once."""
    counts = []
    for width in (2600, 5200):
        computed = []
        monkeypatch.setattr(
            features, "synthesize", lambda bands, computed=computed: computed.append(1) or synthesize(bands)
        )
        fit(picture(3, width, 1), **OPTIONS | {"edge_prior": False})
        counts.append(len(computed))
    assert counts[0] == counts[1] < 5


def test_watchers_see_progress_and_the_field(tmp_path):
    image, seen = picture(40, 56, 3), []

    def watch(progress):
        if progress.loop is not None and progress.steps:
            assert progress.loop.boxes() == [[0, 0, 56, 40]]
            assert progress.loop.selected_tiles().tolist() == [True]
            assert np.abs(progress.loop.field().render() - image).mean() < 0.1
        seen.append((progress.steps, progress.done))

    fit(image, **OPTIONS, watch=watch)
    assert [steps for steps, _ in seen] == [*range(7)]
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1][1] == 1


def test_progress_of_a_resumed_fit_is_finite(tmp_path):
    image, path, seen = picture(40, 56, 3), tmp_path / "a.resume", []
    fit(image, **OPTIONS, watch=lambda progress: progress.steps >= 2, checkpoint=path)
    fit(image, **OPTIONS, watch=seen.append, checkpoint=path)
    assert (seen[0].steps, seen[0].psnr) == (2, None)
    assert all(20 < progress.psnr < 80 and 20 < progress.gradient_psnr < 80 for progress in seen[1:])


def test_a_fit_is_interrupted_while_its_siren_is_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(finish, "_SIREN_STEPS", 100)
    image, path = picture(20, 24, 3), tmp_path / "a.resume"
    options = OPTIONS | {"siren_width": 16, "steps": 2}
    seen = []

    def watch(progress):
        seen.append(progress.done)
        return progress.done > 0.5

    stopped = fit(image, **options, watch=watch, checkpoint=path)
    assert (stopped.ended, stopped.steps) == ("interrupted", 2)
    assert 0.5 < seen[-1] < 0.51
    assert seen == sorted(seen)
    assert stopped.metrics.psnr > 25
    resumed = fit(image, **options, checkpoint=path)
    assert resumed.ended == "budget"
    assert dumps(resumed.field) == dumps(fit(image, **options).field)


def test_an_interruption_before_the_first_step_leaves_the_start():
    stopped = fit(picture(20, 24, 3), **OPTIONS, watch=lambda progress: True)
    assert (stopped.ended, stopped.steps) == ("interrupted", 0)
    assert stopped.metrics.psnr > 25


@pytest.mark.parametrize("change", [{"bytes": 2000}, {"until_psnr": 33.0}], ids=str)
def test_a_stop_ends_the_search_before_the_refinement(tmp_path, change):
    image, path, seen = picture(40, 56, 3), tmp_path / "a.resume", []
    options = OPTIONS | change
    whole = fit(image, **options)
    fit(image, **options, watch=lambda progress: progress.steps >= 2, checkpoint=path)
    before = path.read_bytes()
    stopped = fit(image, **options, watch=lambda progress: seen.append(progress) or True, checkpoint=path)
    assert [(progress.loop, progress.steps, progress.done) for progress in seen] == [(None, 0, 0)]
    assert (stopped.ended, stopped.steps) == ("interrupted", 0)
    assert stopped.metrics.psnr > 20
    # Its steps are not those of the checkpoint.
    assert path.read_bytes() == before
    assert dumps(fit(image, **options, checkpoint=path).field) == dumps(whole.field)


@pytest.mark.parametrize("change", [{"bytes": 2000}, {"until_psnr": 33.0}], ids=str)
def test_a_stop_ends_the_search_behind_the_refinement(tmp_path, change):
    image, path, trials = picture(40, 56, 3), tmp_path / "a.resume", []
    options = OPTIONS | change

    def watch(progress):
        is_trial = progress.loop is None and progress.done == 1
        if is_trial:
            trials.append(progress)
        return is_trial

    stopped = fit(image, **options, watch=watch, checkpoint=path)
    assert (stopped.ended, stopped.steps, len(trials)) == ("interrupted", 6, 1)
    resumed = fit(image, **options, checkpoint=path)
    assert resumed.ended == ("target" if "until_psnr" in change else "budget")
    assert dumps(resumed.field) == dumps(fit(image, **options).field) != dumps(stopped.field)


def test_a_resumed_fit_is_charged_once_for_its_start(tmp_path, monkeypatch):
    image, path, clock = picture(20, 24, 1), tmp_path / "a.resume", [0.0]
    round_image = compact_fit.round_image

    def round_slowly(*given, **options):
        clock[0] += 100
        return round_image(*given, **options)

    monkeypatch.setattr(compact_fit, "round_image", round_slowly)
    for module in (compact_fit, loop):
        monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    options = OPTIONS | {"seconds": 1000.0}
    first = fit(image, **options, watch=lambda progress: progress.steps >= 2, checkpoint=path)
    resumed = fit(image, **options, checkpoint=path)
    assert (first.steps, resumed.steps) == (2, 6)
    assert (first.seconds, resumed.seconds) == (100, 100)


def test_a_time_budget_ends_the_steps():
    result = fit(picture(3, 2500, 3), preset="best", seconds=1e-3, lagrangian=2e-4)
    assert (result.ended, result.steps) == ("budget", 1)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    image, path = picture(20, 24, 1), tmp_path / "a.resume"
    fit(image, **OPTIONS, checkpoint=path)
    with pytest.raises(EorenError, match=r"belongs to another fit: its seed is 3, here it is 4"):
        fit(image, **OPTIONS | {"seed": 4}, checkpoint=path)
    with pytest.raises(EorenError, match=r"belongs to another fit"):
        fit(image, preset="mosaic", steps=2, checkpoint=path, seed=3)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(EorenError, match=r"not a checkpoint of eoren, or damaged"):
        fit(image, **OPTIONS, checkpoint=path)


def without_values_of_the_preset(path):
    """Write the key of a checkpoint as it was at first: without settings that are the preset's."""
    with safe_open(path, framework="np") as stored:
        header = json.loads(stored.metadata()["eoren-checkpoint"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    identity, settings = header["identity"], asdict(PRESETS[header["identity"]["preset"]])
    header["identity"] = {
        name: value
        for name, value in identity.items()
        if name not in settings or name == "preset" or value != settings[name]
    }
    assert len(header["identity"]) < len(identity)
    save_file(tensors, path, {"eoren-checkpoint": json.dumps(header)})


@pytest.mark.parametrize(
    "change",
    [{"bytes": 900}, {"gradient_weight": 0.3}, {"steps": 1}, {"until_psnr": 30.0}, {"lagrangian": 1e-3}],
    ids=str,
)
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("is_former", [False, True])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change, dropped, is_former):
    image, path, ((name, value),) = picture(20, 24, 1), tmp_path / "a.resume", change.items()
    before, now = (change, {}) if dropped else ({}, change)
    whole = fit(image, preset="fast", **before, checkpoint=path)
    if is_former:
        without_values_of_the_preset(path)
    usual = getattr(PRESETS["fast"], name)
    stored, given = (value, usual) if dropped else (usual, value)
    with pytest.raises(EorenError, match=f"belongs to another fit: its {name} is {stored}, here it is {given}; use"):
        fit(image, preset="fast", **now, checkpoint=path)
    assert dumps(fit(image, preset="fast", **before, checkpoint=path).field) == dumps(whole.field)
