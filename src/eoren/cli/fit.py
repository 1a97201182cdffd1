"""``eoren fit``."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eoren.cli import terminal
from eoren.errors import EorenError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from eoren.fitting import FitResult, Progress

_INTERRUPTED = 130
_LINE_EVERY = 10.0


def fit(
    image: terminal.ImageFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The .eoren file to write.", show_default="IMAGE's name, .eoren"),
    ] = None,
    preset: Annotated[str, typer.Option(help="balanced, or paper (arXiv 2209.11697, to the letter).")] = "balanced",
    seconds: Annotated[float | None, typer.Option(help="Time to spend.", show_default="the preset's")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps to make; reproducible to the bit.")] = None,
    until_psnr: Annotated[float | None, typer.Option(help="Stop once the colours are this good (dB).")] = None,
    objective: Annotated[str | None, typer.Option(help="gradient, pixel, or sobolev (both).")] = None,
    bits: Annotated[int | None, typer.Option(help="Of a stored weight: 32, 16 or 8.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, such as width=128. May be repeated."),
    ] = None,
    device: terminal.Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted fit.")] = False,
    overwrite: terminal.Overwrite = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: terminal.Json = False,
) -> int:
    """Turn a picture into a small continuous function.

    Ctrl-C writes what there is; --resume goes on from there.
    """
    from eoren.presets import resolve

    # What can be refused is refused before torch is loaded and before any work is done.
    changes = {
        **_settings(setting or []),
        "seconds": seconds,
        "steps": steps,
        "until_psnr": until_psnr,
        "objective": objective,
        "bits": bits,
    }
    settings = resolve(preset, **changes)
    if output is None:
        output = Path(Path(image.removeprefix("sample:")).stem + ".eoren")
    checkpoint = output.with_name(output.name + ".resume")
    _check_place(output, checkpoint, resume, overwrite)

    from eoren.fitting import fit as run
    from eoren.images import read_picture
    from eoren.storage import save

    picture = read_picture(image)
    if not quiet:
        for note in picture.notes:
            terminal.notice(f"{picture.name}: {note}")
    with _interruptions() as interrupted, _Display(quiet) as display:

        def watch(progress: "Progress") -> bool:
            display.show(progress)
            return bool(interrupted)

        result = run(picture, preset=preset, seed=seed, device=device, watch=watch, checkpoint=checkpoint, **changes)
    save(result.field, output)
    if result.ended == "interrupted":
        terminal.notice(
            f"interrupted at step {result.steps}: {output} holds what there is; "
            "the same command with --resume goes on"
        )
    else:
        checkpoint.unlink(missing_ok=True)
    if settings.until_psnr is not None and result.ended == "budget":
        terminal.notice(
            f"the budget ended at {terminal.decibels(result.metrics.psnr)}, short of --until-psnr "
            f"{settings.until_psnr:g}; give more --seconds or a larger --set width"
        )
    if as_json:
        terminal.print_json(_as_json(result, output))
    elif not quiet:
        _print_summary(result, output)
    return _INTERRUPTED if result.ended == "interrupted" else 0


def _settings(pairs: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words as settings of the right types."""
    import ast

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise EorenError(f"--set {pair!r} is not of the form NAME=VALUE; try --set width=128")
        try:
            found[name.replace("-", "_")] = ast.literal_eval(
                value.capitalize() if value in ("true", "false") else value
            )
        except (ValueError, SyntaxError):
            found[name.replace("-", "_")] = value
    return found


def _check_place(output: Path, checkpoint: Path, resume: bool, overwrite: bool) -> None:
    if resume:
        if not checkpoint.exists():
            raise EorenError(f"{checkpoint}: does not exist, so there is nothing to resume; leave --resume away")
        overwrite = True
    elif checkpoint.exists():
        if not overwrite:
            raise EorenError(
                f"{checkpoint}: an interrupted fit; give --resume to go on with it, or --overwrite to start anew"
            )
        checkpoint.unlink()
    terminal.check_output(output, overwrite)
    terminal.check_output(checkpoint, overwrite=True)


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """A list that Ctrl-C and SIGTERM add to, so that the fit can end in order; the second one ends it at once."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > 1:
            raise KeyboardInterrupt

    kept = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


class _Display:
    """A progress bar on a terminal, a line now and then elsewhere, nothing if quiet. All on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Bar | None = None
        self._shown = monotonic()

    def __enter__(self) -> "_Display":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        if console.is_terminal and not self._quiet:
            self._bar = Progress(
                BarColumn(bar_width=None),
                TextColumn("step {task.fields[steps]}"),
                TextColumn("PSNR {task.fields[psnr]}"),
                TextColumn("gradient {task.fields[gradient]}"),
                TextColumn("{task.fields[left]} left"),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("fit", total=1.0, steps="0", psnr="-", gradient="-", left="-")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, progress: "Progress") -> None:
        """Say where the fit stands, if it is time to."""
        if self._quiet or monotonic() - self._shown < (0.1 if self._bar else _LINE_EVERY):
            return
        self._shown = monotonic()
        left = "-" if progress.seconds_left is None else _clock(progress.seconds_left)
        psnr, gradient = (
            "-" if value is None else f"{value:.1f} dB" for value in (progress.psnr, progress.gradient_psnr)
        )
        if self._bar is None:
            terminal.notice(f"step {progress.steps}, PSNR {psnr}, gradient {gradient}, {left} left")
        else:
            self._bar.update(
                self._task,
                completed=progress.done,
                steps=f"{progress.steps:,}",
                psnr=psnr,
                gradient=gradient,
                left=left,
            )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _as_json(result: "FitResult", output: Path) -> dict[str, Any]:
    return {
        "file": str(output),
        **result.metrics.as_dict(),
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "ended": result.ended,
        "seed": result.seed,
        "settings": result.settings.as_dict(),
        "version": result.version,
    }


def _print_summary(result: "FitResult", output: Path) -> None:
    metrics = result.metrics
    width, height = result.field.size
    terminal.print_table(
        {
            "file": f"{output} ({terminal.byte_size(metrics.bytes)}, {metrics.bits_per_pixel:.2f} bits per pixel)",
            "picture": f"{width} x {height}, {terminal.channel_names(result.field.channels)}",
            "function": f"{metrics.parameters:,} parameters, {result.settings.bits} bits each",
            "psnr": terminal.decibels(metrics.psnr),
            "gradient_psnr": terminal.decibels(metrics.gradient_psnr),
            "ssim": f"{metrics.ssim:.4f}",
            "spent": f"{result.seconds:.1f} s, {result.steps:,} steps",
        }
    )
