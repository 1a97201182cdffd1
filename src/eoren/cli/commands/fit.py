"""``eoren fit``."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eoren.cli import console
from eoren.errors import EorenError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from eoren.image.io import SourceImage
    from eoren.training.fit import FitResult
    from eoren.training.loop import Progress
    from eoren.viewer.live import LiveFit

    Watch = Callable[[Progress], bool]

_SUFFIX = ".eoren"
_OPTIONS = (
    "preset",
    "seconds",
    "steps",
    "until_psnr",
    "objective",
    "parameters",
    "bits_per_pixel",
    "bits",
    "seed",
)


def fit(
    image: console.ImageFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="The .eoren file to write; by default IMAGE's name."),
    ] = None,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="fast, balanced, best, single (one network), or paper (the paper's).")
    ] = "balanced",
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Time to spend; by default the preset's budget.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps to make; on a CPU reproducible to the bit.")
    ] = None,
    until_psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Stop once the colours are this good.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to get right: gradient, pixel, or sobolev (both).")
    ] = None,
    parameters: Annotated[
        int | None, typer.Option(metavar="N", help="Size of the function, in numbers stored.")
    ] = None,
    bits_per_pixel: Annotated[
        float | None, typer.Option(metavar="B", help="Size of the function, in bits a pixel.")
    ] = None,
    bits: Annotated[int | None, typer.Option(metavar="N", help="Of a stored weight: 32, 16 or 8.")] = None,
    seed: console.Seed = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, such as width=128. May be repeated."),
    ] = None,
    device: console.Device = "auto",
    watch: Annotated[bool, typer.Option("--watch", help="Show the fit in a browser while it runs.")] = False,
    no_browser: console.NoBrowser = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted fit.")] = False,
    overwrite: console.Overwrite = False,
    quiet: console.Quiet = False,
    as_json: console.Json = False,
) -> int:
    """Turn an image into a small continuous function.

    Ctrl-C writes what there is; the same command with --resume goes on from there. With --watch the page stays until
    Ctrl-C once the file is written.
    """
    # What can be refused is refused before any work is done, and if possible before torch is loaded.
    console.check_seed(seed)
    own = {
        "seconds": seconds,
        "steps": steps,
        "until_psnr": until_psnr,
        "objective": objective,
        "parameters": parameters,
        "bits_per_pixel": bits_per_pixel,
        "bits": bits,
    }
    changes = named_settings(setting or []) | {name: value for name, value in own.items() if value is not None}
    if output is None:
        output = Path(Path(image.removeprefix("sample:")).stem + _SUFFIX)
    checkpoint = Path(f"{output}.resume")
    if watch:
        console.check_viewer()
    with held(output, checkpoint, image, resume, overwrite):
        from eoren.model.devices import choose_device
        from eoren.training.fit import fit as run
        from eoren.training.presets import make_settings

        settings = make_settings(preset, **changes)
        choose_device(device)
        picture = console.read_source_image(image, quiet=quiet)
        if not resume:
            checkpoint.unlink(missing_ok=True)

        def fitted(watch: "Watch") -> "FitResult":
            return run(
                picture, preset=preset, seed=seed, device=device, watch=watch, checkpoint=checkpoint, **changes
            )

        with _watched(image, picture, no_browser) if watch else nullcontext() as live:
            return carry_out(
                fitted, output, checkpoint, until_psnr=settings.until_psnr, quiet=quiet, as_json=as_json, live=live
            )


def carry_out(
    run: "Callable[[Watch], FitResult]",
    output: Path,
    checkpoint: Path,
    *,
    until_psnr: float | None,
    quiet: bool,
    as_json: bool,
    live: "LiveFit | None" = None,
) -> int:
    """Fit, with progress and interruptions, write the field, and say how it went.

    Args:
        run: the fit, given what watches it.
        output: the file to write.
        checkpoint: of the fit; deleted once the output is safe.
        until_psnr: that was asked for.
        quiet: print nothing but errors.
        as_json: print the numbers as JSON.
        live: a page that shows the fit; once the output is written it stays until Ctrl-C.

    Returns:
        The exit status.
    """
    with _interruptions() as interrupted, _Display(quiet) as display:

        def look(progress: "Progress") -> bool:
            display.show(progress)
            if live is not None:
                live.watch(progress)
            return bool(interrupted)

        result = run(look)
    status = _written(result, output, checkpoint, until_psnr, quiet, as_json)
    if live is not None and status == 0:
        live.finish(result.field, result.ended)
        console.wait_for_interruption(f"{output} is written; the page stays until Ctrl-C")
    return status


@contextmanager
def _watched(image: str, picture: "SourceImage", no_browser: bool) -> Iterator["LiveFit"]:
    """A page that shows the fit."""
    from eoren.viewer.catalog import FieldCatalog
    from eoren.viewer.live import LiveFit
    from eoren.viewer.server import serve
    from eoren.viewer.tile_cache import TileCache

    catalog, cache = FieldCatalog(), TileCache(single_threaded=True)
    title = Path(image.removeprefix("sample:")).stem
    live = LiveFit(catalog, title, picture.pixels, lambda: cache.render_seconds)
    with serve(catalog, cache, live=live) as address:
        console.show_page(address, no_browser)
        yield live


def _written(
    result: "FitResult", output: Path, checkpoint: Path, until_psnr: float | None, quiet: bool, as_json: bool
) -> int:
    """Write what came of a fit, say so, and return the exit status."""
    from eoren.field.serialization import save

    if result.ended == "interrupted" and result.steps == 0:
        console.notice(f"interrupted before the first step; {output} is not written")
        return console.INTERRUPTED
    save(result.field, output)
    if result.ended == "interrupted":
        more = "--resume goes on" if checkpoint.exists() else "there is no checkpoint to go on from"
        console.notice(f"interrupted at step {result.steps:,}; {output} holds what there is, {more}")
    else:
        checkpoint.unlink(missing_ok=True)
    if until_psnr is not None and result.ended == "budget" and not quiet:
        console.notice(
            f"the fit ended at {console.decibels(result.metrics.psnr)}, short of --until-psnr "
            f"{until_psnr:g}; give more --seconds or more --parameters"
        )
    if as_json:
        console.print_json(_as_json(result, output))
    elif not quiet:
        _print_summary(result, output)
    return console.INTERRUPTED if result.ended == "interrupted" else 0


def named_settings(pairs: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words as settings."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        name = name.replace("-", "_")
        if not (name and value):
            raise EorenError(f"--set {pair!r} is not of the form NAME=VALUE; try --set width=128")
        if name in _OPTIONS:
            raise EorenError(f"--set {pair!r} has an option of its own; use --{name.replace('_', '-')} {value}")
        found[name] = _value(value)
    return found


def _value(text: str) -> bool | int | float | str | None:
    """A word as what it looks like."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


@contextmanager
def held(output: Path, checkpoint: Path, image: str, resume: bool, overwrite: bool) -> Iterator[None]:
    """The place of a field, where no other process fits meanwhile.

    Raises:
        EorenError: the field could not be written, or would replace what a user has; or another fit is at work there.
    """
    if output.suffix != _SUFFIX:
        raise EorenError(f"{output}: is to be an {_SUFFIX} file; choose an --output that ends so")

    from eoren.fs.files import locked

    with locked(output):
        _check_place(output, checkpoint, image, resume, overwrite)
        yield


def _check_place(output: Path, checkpoint: Path, image: str, resume: bool, overwrite: bool) -> None:
    for path in (output, checkpoint):
        console.check_output(path, image, overwrite=True)
    if resume and not checkpoint.exists():
        raise EorenError(f"{checkpoint}: does not exist, so there is nothing to resume; leave --resume away")
    # This comes before any word about the output: --overwrite, given for that, would lose the interrupted fit.
    if checkpoint.exists() and not (resume or overwrite):
        raise EorenError(
            f"{checkpoint}: an interrupted fit; give --resume to go on with it, or --overwrite to start anew"
        )
    console.check_output(output, image, overwrite or resume)


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
            # 78 columns in all: what a terminal echoes for Ctrl-C must not wrap, or a line would stay behind.
            self._bar = Progress(
                BarColumn(bar_width=20), TextColumn("{task.description}"), console=console, transient=True
            )
            self._task = self._bar.add_task("preparing", total=1.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, progress: "Progress") -> None:
        """Say where the fit stands, if it is time to."""
        last = progress.done >= 1
        if self._quiet or (monotonic() - self._shown < (0.1 if self._bar else console.LINE_EVERY) and not last):
            return
        self._shown = monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=progress.done, description=_standing(progress, pad=True))
        elif not last:
            console.notice(_standing(progress))


def _standing(progress: "Progress", *, pad: bool = False) -> str:
    """Where a fit stands; ``pad`` keeps the length, so that nothing around it moves."""
    psnr, gradient = (
        "-" if value is None else f"{value:.1f} dB" for value in (progress.psnr, progress.gradient_psnr)
    )
    left = "-" if progress.seconds_left is None else _clock(progress.seconds_left)
    steps = f"{progress.steps:,}"
    if pad:
        steps, psnr, gradient, left = f"{steps:>6}", f"{psnr:>8}", f"{gradient:>8}", f"{left:>5}"
    left = "measuring " if progress.done >= 1 else f"{left} left"
    return f"step {steps}, PSNR {psnr}, gradient {gradient}, {left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _as_json(result: "FitResult", output: Path) -> dict[str, Any]:
    return {
        "file": str(output),
        **result.metrics.as_dict(),
        "bytes": result.bytes,
        "bits_per_pixel": result.bits_per_pixel,
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
    console.print_table(
        {
            "file": f"{output} ({console.byte_size(result.bytes)}, {result.bits_per_pixel:.2f} bits per pixel)",
            "picture": f"{width} x {height}, {console.channel_names(result.field.channels)}",
            "function": f"{metrics.parameters:,} parameters, {result.settings.bits} bits each",
            "psnr": console.decibels(metrics.psnr),
            "gradient_psnr": console.decibels(metrics.gradient_psnr),
            "ssim": f"{metrics.ssim:.4f}",
            "spent": f"{result.seconds:.1f} s, {result.steps:,} steps",
        }
    )
