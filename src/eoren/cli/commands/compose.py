"""``eoren mix``, ``clone``, ``fill`` and ``retouch``."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from eoren.cli import console
from eoren.cli.commands.fit import carry_out, held
from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.composition.operations import Composition
    from eoren.training.fit import FitResult
    from eoren.training.loop import Progress

_SUFFIX = ".eoren"

_PICTURE = "An image or an .eoren file, or sample:astronaut."
Operand = Annotated[str, typer.Argument(metavar="IMAGE", help=_PICTURE)]
Mask = Annotated[str, typer.Option("--mask", metavar="PATH", help="White what is meant; gray means partly.")]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="PATH", help="The function (.eoren), or the image alone, not fitted."),
]
Solver = Annotated[
    Literal["exact", "network"],
    typer.Option(metavar="NAME", help="exact, or network: the paper's way, gradients and channel tuning alone."),
]
Preset = Annotated[str | None, typer.Option(metavar="NAME", help="Of the fit, as eoren fit has it.")]
Seconds = Annotated[float | None, typer.Option(metavar="S", help="Time for the fit.")]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Steps of the fit.")]
UntilPsnr = Annotated[float | None, typer.Option(metavar="DB", help="End the fit once the colours are this good.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted fit.")]


class _Wishes(NamedTuple):
    """What all four commands have in common."""

    output: Path
    solver: Literal["exact", "network"]
    preset: str | None
    seconds: float | None
    steps: int | None
    until_psnr: float | None
    seed: int
    device: str
    resume: bool
    overwrite: bool
    quiet: bool
    as_json: bool


def mix(
    first: Annotated[str, typer.Argument(metavar="A", help=_PICTURE)],
    second: Annotated[str, typer.Argument(metavar="B", help=_PICTURE)],
    output: Output,
    weight: Annotated[float, typer.Option(metavar="W", help="Of the first image's gradient, 0 to 1.")] = 0.5,
    keep_edges: Annotated[
        bool, typer.Option("--keep-edges", help="Take the stronger of the two gradients everywhere instead.")
    ] = False,
    fit: Annotated[
        Literal["crop", "pad", "resize"],
        typer.Option(metavar="HOW", help="Sizes that differ: crop both, pad both, or resize the second."),
    ] = "crop",
    solver: Solver = "exact",
    preset: Preset = None,
    seconds: Seconds = None,
    steps: Steps = None,
    until_psnr: UntilPsnr = None,
    seed: console.Seed = 0,
    device: console.Device = "auto",
    resume: Resume = False,
    overwrite: console.Overwrite = False,
    quiet: console.Quiet = False,
    as_json: console.Json = False,
) -> int:
    """Mix two images in their gradients."""
    wishes = _Wishes(
        output, solver, preset, seconds, steps, until_psnr, seed, device, resume, overwrite, quiet, as_json
    )

    def composed() -> "Composition":
        from eoren.composition.operations import mix as compose

        return compose(first, second, weight=weight, keep_edges=keep_edges, sizes=fit)

    return _carry_out(composed, wishes, first, second)


def clone(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=_PICTURE)],
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_PICTURE)],
    mask: Mask,
    output: Output,
    offset: Annotated[
        str, typer.Option(metavar="X,Y", help="Where the source's first pixel lies in the target, in pixels.")
    ] = "0,0",
    mode: Annotated[
        Literal["import", "mixed", "average"],
        typer.Option(metavar="NAME", help="Gradients: import the source's, mixed (the stronger), or average."),
    ] = "import",
    keep_color: Annotated[
        float, typer.Option(metavar="W", help="How strongly to keep the source's own colours; 0.01 is moderate.")
    ] = 0.0,
    solver: Solver = "exact",
    preset: Preset = None,
    seconds: Seconds = None,
    steps: Steps = None,
    until_psnr: UntilPsnr = None,
    seed: console.Seed = 0,
    device: console.Device = "auto",
    resume: Resume = False,
    overwrite: console.Overwrite = False,
    quiet: console.Quiet = False,
    as_json: console.Json = False,
) -> int:
    """Set a part of one image into another, without a seam.

    The mask has the source's size.
    """
    wishes = _Wishes(
        output, solver, preset, seconds, steps, until_psnr, seed, device, resume, overwrite, quiet, as_json
    )
    place = _offset(offset)

    def composed() -> "Composition":
        from eoren.composition.operations import clone as compose

        return compose(source, target, mask, offset=place, mode=mode, keep_color=keep_color)

    return _carry_out(composed, wishes, source, target, mask)


def fill(
    image: Operand,
    mask: Mask,
    output: Output,
    method: Annotated[
        Literal["membrane", "biharmonic"],
        typer.Option(metavar="NAME", help="membrane, or biharmonic, which carries slopes on into the hole."),
    ] = "membrane",
    solver: Solver = "exact",
    preset: Preset = None,
    seconds: Seconds = None,
    steps: Steps = None,
    until_psnr: UntilPsnr = None,
    seed: console.Seed = 0,
    device: console.Device = "auto",
    resume: Resume = False,
    overwrite: console.Overwrite = False,
    quiet: console.Quiet = False,
    as_json: console.Json = False,
) -> int:
    """Fill holes of an image, smoothly, from what is around them."""
    wishes = _Wishes(
        output, solver, preset, seconds, steps, until_psnr, seed, device, resume, overwrite, quiet, as_json
    )
    if method == "biharmonic" and solver == "network":
        raise EorenError("--method biharmonic follows no gradient field; leave --solver network away")

    def composed() -> "Composition":
        from eoren.composition.operations import fill as compose

        return compose(image, mask, method=method)

    return _carry_out(composed, wishes, image, mask)


def retouch(
    image: Operand,
    output: Output,
    flatten_light: Annotated[
        bool, typer.Option("--flatten-light", help="Take away light that changes slowly over the image.")
    ] = False,
    boost_detail: Annotated[
        float | None, typer.Option(metavar="K", help="Make fine detail K times as strong.")
    ] = None,
    denoise_edges: Annotated[bool, typer.Option("--denoise-edges", help="Take away noise and keep edges.")] = False,
    solver: Solver = "exact",
    preset: Preset = None,
    seconds: Seconds = None,
    steps: Steps = None,
    until_psnr: UntilPsnr = None,
    seed: console.Seed = 0,
    device: console.Device = "auto",
    resume: Resume = False,
    overwrite: console.Overwrite = False,
    quiet: console.Quiet = False,
    as_json: console.Json = False,
) -> int:
    """Change an image by its gradients, in one of three ways."""
    wishes = _Wishes(
        output, solver, preset, seconds, steps, until_psnr, seed, device, resume, overwrite, quiet, as_json
    )
    if sum([flatten_light, boost_detail is not None, denoise_edges]) != 1:
        raise EorenError("retouch does one thing at a time; give --flatten-light, --boost-detail or --denoise-edges")

    def composed() -> "Composition":
        from eoren.composition.retouching import retouch as compose

        return compose(image, flatten_light=flatten_light, boost_detail=boost_detail, denoise_edges=denoise_edges)

    return _carry_out(composed, wishes, image)


def _carry_out(composed: "Callable[[], Composition]", wishes: _Wishes, *inputs: str) -> int:
    """Compose; write the image, or fit and write the function. What can be refused is refused before any work."""
    console.check_seed(wishes.seed)
    output, checkpoint = wishes.output, Path(f"{wishes.output}.resume")
    for each in inputs:
        console.check_output(output, each, overwrite=True)
    if output.suffix != _SUFFIX:
        return _write_picture(composed, wishes, inputs[0])
    with held(output, checkpoint, inputs[0], wishes.resume, wishes.overwrite):
        composition = _composition(composed, wishes)
        if not wishes.resume:
            checkpoint.unlink(missing_ok=True)

        def fitted(watch: "Callable[[Progress], bool]") -> "FitResult":
            return composition.fit(
                solver=wishes.solver,
                preset=wishes.preset,
                seed=wishes.seed,
                device=wishes.device,
                watch=watch,
                checkpoint=checkpoint,
                **_settings(wishes),
            )

        return carry_out(
            fitted, output, checkpoint, until_psnr=wishes.until_psnr, quiet=wishes.quiet, as_json=wishes.as_json
        )


def _write_picture(composed: "Callable[[], Composition]", wishes: _Wishes, image: str) -> int:
    output = wishes.output
    console.check_output(output, image, wishes.overwrite)
    if wishes.as_json or wishes.resume or (wishes.solver == "exact" and _settings(wishes)):
        raise EorenError(f"{output}: an image is not fitted; give an {_SUFFIX} file as --output for that")
    if wishes.solver == "network":
        raise EorenError(f"{output}: --solver network makes a function; give an {_SUFFIX} file, and render that")

    from eoren.image.writers import check_format

    check_format(output, height=1, width=1, channels=1)

    from eoren.image.io import write_image

    write_image(output, _composition(composed, wishes).colors)
    return 0


def _composition(composed: "Callable[[], Composition]", wishes: _Wishes) -> "Composition":
    """With its notices."""
    from eoren.model.devices import choose_device

    choose_device(wishes.device)
    composition = composed()
    if not wishes.quiet:
        for note in composition.notes:
            console.notice(note)
    return composition


def _settings(wishes: _Wishes) -> dict[str, Any]:
    """Those that were given."""
    given = {"seconds": wishes.seconds, "steps": wishes.steps, "until_psnr": wishes.until_psnr}
    return {name: value for name, value in given.items() if value is not None}


def _offset(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([+-]?[0-9]{1,9}),([+-]?[0-9]{1,9})", text)
    if found is None:
        raise EorenError(f"--offset {text!r} is not of the form X,Y in whole pixels; try --offset 120,-8")
    return int(found[1]), int(found[2])
