import itertools
from dataclasses import replace

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from eoren.errors import EorenError
from eoren.evaluation.metrics import evaluate
from eoren.experiments.methods import METHODS, Networks, methods
from eoren.experiments.trials import run_trials
from eoren.training.fit import fit
from eoren.training.trainer import image_seed

TINY = methods(Networks(width=16, depth=2, epochs=20, rate=1e-3))


def run(images, method, **budget):
    return run_trials(images, [method], **budget)[method.key]


def images_of_waves(count=3, side=14):
    y, x = np.mgrid[:side, :side] / side
    return [(0.5 + 0.4 * np.sin(5 * x + k) * np.cos(4 * y))[..., None].astype(np.float32) for k in range(count)]


def test_the_papers_methods_share_network_and_optimiser():
    paper = [METHODS[key].settings for key in ("pixel", "gradient", "eoren")]
    assert len({replace(settings, objective="pixel") for settings in paper}) == 1
    assert (paper[0].width, paper[0].depth, paper[0].learning_rate, paper[0].steps) == (256, 5, 1e-4, 1000)
    assert [settings.objective for settings in paper] == ["pixel", "gradient", "gradient"]
    labels = ["SIREN + pixels", "SIREN + gradients", "EoREN (paper)", "this library, mosaic"]
    assert [method.label for method in METHODS.values()] == labels
    assert [method.tuned for method in METHODS.values()] == [False, False, True, True]


def test_samples_agree_with_the_metrics_of_the_field():
    images = images_of_waves()
    for trial, image in zip(run(images, TINY["eoren"], epochs=20, samples=3), images, strict=True):
        prediction = trial.field.render().clip(0, 1)
        assert trial.final.psnr == pytest.approx(peak_signal_noise_ratio(image, prediction, data_range=1), abs=1e-3)
        metrics = evaluate(trial.field, image)
        assert (trial.final.gradient_psnr, trial.final.ssim) == pytest.approx((metrics.gradient_psnr, metrics.ssim))
        assert [sample.epoch for sample in trial.samples] == [3, 9, 20]
        assert all(a.seconds < b.seconds for a, b in itertools.pairwise(trial.samples))


def test_a_batch_is_trained_like_single_images():
    images = images_of_waves()
    for method in TINY.values():
        together = run(images, method, epochs=20, seed=5)
        alone = run(images[1:2], method, epochs=20, seed=5)
        assert together[1].final.psnr == pytest.approx(alone[0].final.psnr, abs=0.02)


def test_eoren_is_a_fit_by_the_papers_preset():
    """The same tensors as fit() with the seed of that image's network."""
    image = images_of_waves(1)[0]
    (trial,) = run([image], TINY["eoren"], epochs=20, seed=2)
    result = fit(
        image,
        preset="paper",
        width=16,
        depth=2,
        learning_rate=1e-3,
        steps=20,
        seed=image_seed(image, 2),
        device="cpu",
    )
    for mine, theirs in zip(
        trial.field.representation.siren.tensors(), result.field.representation.siren.tensors(), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert trial.final.psnr == pytest.approx(result.metrics.psnr, abs=1e-3)


def test_methods_that_differ_in_tuning_alone_share_a_training(monkeypatch):
    calls = []
    step = "eoren.training.trainer.Trainer.step"
    from eoren.training.trainer import Trainer

    original = Trainer.step
    monkeypatch.setattr(step, lambda self, *rest: calls.append(1) or original(self, *rest))
    trials = run_trials(images_of_waves(), list(TINY.values())[1:3], epochs=20, samples=2)
    assert len(calls) == 20
    for bare, tuned in zip(trials["gradient"], trials["eoren"], strict=True):
        first = (trial.field.representation.siren.weights[0] for trial in (bare, tuned))
        np.testing.assert_array_equal(*first)
        assert (bare.field.representation.tuning.alpha == 1).all()
        assert (bare.field.representation.tuning.beta == 0.5).all()
        assert tuned.final.psnr > bare.final.psnr


def test_tiled_images_are_trained_one_by_one():
    images = images_of_waves(2, side=80)
    trials = run(images, methods()["ours"], epochs=2, samples=1)
    assert [trial.field.representation.tiling.count for trial in trials] == [2, 2]
    assert all(trial.final.psnr > 15 for trial in trials)


def test_a_budget_of_time_applies_to_each_image(monkeypatch):
    """A step takes one second of this clock: four seconds for each of three images are twelve steps."""
    now = itertools.count()
    monkeypatch.setattr("eoren.experiments.trials.perf_counter", lambda: float(next(now)))
    trials = run(images_of_waves(), TINY["pixel"], seconds=4.0, samples=2)
    assert [(s.epoch, s.seconds) for s in trials[0].samples] == [(3, 1), (12, 4)]


def test_an_exception_of_the_callback_stops_the_work():
    shares = []

    def watch(_label, done):
        shares.append(done)
        if done > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(images_of_waves(), list(TINY.values()), epochs=10, watch=watch)
    assert shares == sorted(shares)
    assert 0.4 < shares[-1] < 0.5


def test_invalid_arguments():
    for images in ([], [*images_of_waves(1), *images_of_waves(1, side=9)]):
        with pytest.raises(EorenError, match="images must be at least one, and all of one size"):
            run(images, TINY["pixel"], epochs=1)
    with pytest.raises(EorenError, match="give epochs or seconds"):
        run(images_of_waves(), TINY["pixel"])
