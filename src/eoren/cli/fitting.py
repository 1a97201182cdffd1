"""A fit from the command line: output file and checkpoint, progress, interruption, result."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import eoren
from eoren.cancellation import CancelToken
from eoren.cli import console, files, signals, streams
from eoren.cli.options import FitOptions
from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.field.field import Field
    from eoren.image.arrays import Image
    from eoren.training.result import FitResult, Progress
    from eoren.viewer.live import LiveFit

SUFFIX = ".eoren"
_MOST_PIXELS_AS_JPEG = 1 << 21  # of an image that is written as JPEG to compare: less than a second


@contextmanager
def reserve_output(output: Path, image: str, fit_options: FitOptions) -> Iterator[Path | None]:
    """Check that a field can be written, lock its file against other processes, and yield the checkpoint's path.

    A stream needs no lock and has no place for a checkpoint.
    """
    if streams.is_stream(output):
        if fit_options.resume:
            raise EorenError(f"{output}: --resume needs a checkpoint beside the output; give a file as --output")
        streams.check_output(output)
        yield None
        return
    if output.suffix != SUFFIX:
        raise EorenError(f"--output must end in {SUFFIX}, got {output}")

    from eoren.fs.files import locked

    with locked(output):
        checkpoint, resume = Path(f"{output}.resume"), fit_options.resume
        for path in (output, checkpoint):
            files.check_output(path, image, overwrite=True)
        if resume and not checkpoint.exists():
            raise EorenError(f"{checkpoint}: does not exist, so there is nothing to resume; omit --resume")
        # Checked before the output: a user who gives --overwrite for the output would lose the interrupted fit.
        if checkpoint.exists() and not (resume or fit_options.overwrite):
            raise EorenError(
                f"{checkpoint}: an interrupted fit; give --resume to continue it, or --overwrite to start again"
            )
        files.check_output(output, image, fit_options.overwrite or resume)
        yield checkpoint


def run_fit(
    fit: "Callable[..., FitResult]",
    output: Path,
    checkpoint: Path | None,
    fit_options: FitOptions,
    live: "LiveFit | None" = None,
    image: "Image | None" = None,
) -> int:
    """Fit, write the field, print the result, and return the exit status.

    The result has the size of a JPEG of the same quality if ``image``, to measure it with, is given.

    The checkpoint is deleted once the output is complete; the live page stays until Ctrl-C. If the page stops the
    fit, the result so far is written, and the page can let the fit go on.
    """
    if checkpoint is not None and not fit_options.resume:
        checkpoint.unlink(missing_ok=True)
    while True:
        result = _fit_watched(fit, checkpoint, fit_options, live)
        interrupted = result.ended == "interrupted"
        if interrupted and result.steps == 0:
            console.notice(f"interrupted before the first step; {output} is not written")
            return signals.EXIT_STATUS
        with streams.opened(output) as target:
            eoren.save(result.field, target)
        has_checkpoint = checkpoint is not None and checkpoint.exists()
        if not (interrupted and live is not None and live.is_stopping):
            break
        live.finish(result.field, "stopped", can_go_on=has_checkpoint, file=str(output))
        message = f"stopped at step {result.steps:,}; {output} is written; Ctrl-C ends the page, which can go on"
        if not signals.wait_for_interruption(message, until=lambda: not live.is_stopping):
            break
    if interrupted:
        more = "continue with --resume" if has_checkpoint else "there is no checkpoint to continue from"
        console.notice(f"interrupted at step {result.steps:,}; {output} holds the result so far, {more}")
    elif checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    target_psnr = result.settings.until_psnr
    if target_psnr is not None and result.ended == "budget" and not fit_options.quiet:
        psnr = console.decibels(result.metrics.psnr)
        console.notice(f"the fit ended at {psnr}, below --until-psnr {target_psnr:g}; {_remedy(result)}")
    _print_result(result, output, fit_options, image)
    if interrupted:
        return signals.EXIT_STATUS
    if live is not None:
        live.finish(result.field, result.ended, file=str(output))
        signals.wait_for_interruption(f"{output} is written; the page stays until Ctrl-C")
    return 0


def _fit_watched(
    fit: "Callable[..., FitResult]", checkpoint: Path | None, fit_options: FitOptions, live: "LiveFit | None"
) -> "FitResult":
    """Fit with progress on the terminal and on the live page, until the end, Ctrl-C or a stop from the page."""
    token = CancelToken()
    with signals.handle_signals(token), console.progress(fit_options.quiet, percent=False) as show:

        def watch(progress: "Progress") -> bool:
            show(describe_progress(progress), progress.done)
            is_stopped = live is not None and live.watch(progress)
            return is_stopped or token.is_cancelled()

        return fit(seed=fit_options.seed, device=fit_options.device, checkpoint=checkpoint, watch=watch)


def describe_progress(progress: "Progress") -> str:
    """Describe the state of a fit at constant length, so that nothing moves on a terminal."""
    # 57 columns, 78 with the bar, which is above it on narrower terminals: what a terminal echoes for Ctrl-C must not
    # wrap, or a line would stay behind.
    left = "-" if progress.seconds_left is None else format_duration(progress.seconds_left)
    left = "measuring " if progress.done >= 1 else f"{left:>5} left"
    return f"{progress.numbers()}, {left}"


def format_duration(seconds: float) -> str:
    """Format a duration as ``minutes:seconds`` or ``hours:minutes:seconds``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _remedy(result: "FitResult") -> str:
    """Return how to reach a PSNR that the fit missed."""
    if result.field.representation.kind == "mosaic":
        return "give more --seconds or --parameters"
    return "give a slightly higher --until-psnr"


def describe_function(field: "Field") -> str:
    """Describe what a file stores, such as ``96,250 parameters, 16 bits each``."""
    bits = field.representation.summary().get("bits")
    return field.representation.describe() if bits is None else f"{field.parameters:,} parameters, {bits} bits each"


def _print_result(result: "FitResult", output: Path, fit_options: FitOptions, image: "Image | None") -> None:
    metrics, (width, height) = result.metrics, result.field.size
    values = {
        "file": str(output),
        **metrics.as_dict(),
        "bytes": result.bytes,
        "bits_per_pixel": result.bits_per_pixel,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "ended": result.ended,
        "seed": result.seed,
        "settings": result.settings.as_dict(),
        "version": result.version,
    }
    rows = {
        "file": f"{output} ({console.byte_size(result.bytes)}, {result.bits_per_pixel:.2f} bits per pixel)",
        "picture": f"{width} x {height}, {console.channel_names(result.field.channels)}",
        "function": describe_function(result.field),
        **{name: console.format_metric(name, getattr(metrics, name)) for name in ("psnr", "gradient_psnr", "ssim")},
        "spent": f"{result.seconds:.1f} s, {result.steps:,} steps",
    }
    if (
        image is not None
        and not (fit_options.quiet or fit_options.as_json)
        and width * height <= _MOST_PIXELS_AS_JPEG
    ):
        from eoren.experiments.rivals import smallest_jpeg

        size = smallest_jpeg(image, metrics.psnr_8bit)
        if size is not None:
            rows["JPEG"] = f"{console.byte_size(size)} for the same PSNR"
    if not streams.is_stream(output):
        rows["next"] = f"eoren view {shlex.quote(str(output))}"
    to_stderr = streams.is_standard_output(output)
    console.print_result(values, rows, as_json=fit_options.as_json, quiet=fit_options.quiet, to_stderr=to_stderr)
