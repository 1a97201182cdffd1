"""``eoren mix``, ``clone``, ``fill`` and ``retouch``."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

import eoren
from eoren.cli import console, files, fitting, options
from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.composition.operations import Composition

_OPERAND_HELP = "An image or an .eoren file, or sample:astronaut."
Operand = Annotated[str, Argument(metavar="IMAGE", help=_OPERAND_HELP)]
Mask = Annotated[str, Option(metavar="PATH", help="White selects, black does not, gray selects partly.")]
Output = Annotated[Path, options.output_option("An .eoren file, or an image.")]
Sizes = Annotated[Literal["crop", "pad", "resize"], Option(help="Different sizes: crop or pad both, or resize B.")]
FillMethod = Annotated[Literal["membrane", "biharmonic"], Option(help="biharmonic also continues slopes.")]
_Solver = Literal["exact", "network"]
Solver = Annotated[_Solver, Option(help="exact, or the paper's network: gradients alone.")]


@options.with_fit_options
def mix(
    fit_options: options.FitOptions,
    first: Annotated[str, Argument(metavar="A", help=_OPERAND_HELP)],
    second: Annotated[str, Argument(metavar="B", help=_OPERAND_HELP)],
    output: Output,
    weight: Annotated[float, Option(metavar="W", help="Weight of the first image's gradient, 0 to 1.")] = 0.5,
    keep_edges: Annotated[bool, Option("--keep-edges", help="Take the stronger gradient everywhere.")] = False,
    fit: Sizes = "crop",
    solver: Solver = "exact",
) -> int:
    """Mix two images in their gradients."""
    with _check((first, second), output, solver, fit_options) as write:
        return write(eoren.mix(first, second, weight=weight, keep_edges=keep_edges, sizes=fit))


@options.with_fit_options
def clone(
    fit_options: options.FitOptions,
    source: Annotated[str, Argument(metavar="SOURCE", help=_OPERAND_HELP)],
    target: Annotated[str, Argument(metavar="TARGET", help=_OPERAND_HELP)],
    mask: Mask,
    output: Output,
    offset: Annotated[str, Option(metavar="X,Y", help="Position of the source in the target, in pixels.")] = "0,0",
    mode: Annotated[
        Literal["import", "mixed", "average"], Option(help="Gradients: the source's, the stronger, or the average.")
    ] = "import",
    keep_color: Annotated[float, Option(metavar="W", help="Weight of the source's own colours, such as 0.01.")] = 0.0,
    solver: Solver = "exact",
) -> int:
    """Clone a part of one image into another without a seam.

    The mask has the source's size.
    """
    match = re.fullmatch(r"([+-]?[0-9]{1,9}),([+-]?[0-9]{1,9})", offset)
    if match is None:
        raise EorenError(f"--offset must have the form X,Y in whole pixels, got {offset!r}; try --offset 120,-8")
    position = int(match[1]), int(match[2])
    with _check((source, target, mask), output, solver, fit_options) as write:
        return write(eoren.clone(source, target, mask, offset=position, mode=mode, keep_color=keep_color))


@options.with_fit_options
def fill(
    fit_options: options.FitOptions,
    image: Operand,
    mask: Mask,
    output: Output,
    method: FillMethod = "membrane",
    solver: Solver = "exact",
) -> int:
    """Fill holes of an image smoothly from their surroundings."""
    if method == "biharmonic" and solver == "network":
        raise EorenError("--method biharmonic follows no gradient field; omit --solver network")
    with _check((image, mask), output, solver, fit_options) as write:
        return write(eoren.fill(image, mask, method=method))


@options.with_fit_options
def retouch(
    fit_options: options.FitOptions,
    image: Operand,
    output: Output,
    flatten_light: Annotated[bool, Option("--flatten-light", help="Remove slowly changing light.")] = False,
    boost_detail: Annotated[float | None, Option(metavar="K", help="Amplify fine detail K times.")] = None,
    denoise_edges: Annotated[bool, Option("--denoise-edges", help="Remove noise and keep edges.")] = False,
    solver: Solver = "exact",
) -> int:
    """Change an image by its gradients, in one of three ways."""
    if sum([flatten_light, boost_detail is not None, denoise_edges]) != 1:
        raise EorenError("retouch does one thing at a time; give --flatten-light, --boost-detail or --denoise-edges")
    with _check((image,), output, solver, fit_options) as write:
        if boost_detail is not None:
            return write(eoren.boost_detail(image, boost_detail))
        return write(eoren.flatten_light(image) if flatten_light else eoren.denoise(image))


@contextmanager
def _check(
    inputs: tuple[str, ...], output: Path, solver: _Solver, fit_options: options.FitOptions
) -> "Iterator[Callable[[Composition], int]]":
    """Check everything before any work; yield a function that writes a composition, as an image or as a fit."""
    for path in inputs:
        files.check_output(output, path, overwrite=True)
    is_image = output.suffix != fitting.SUFFIX
    if is_image:
        from eoren.image.writers import check_format

        files.check_output(output, inputs[0], fit_options.overwrite)
        remedy = f"write an {fitting.SUFFIX} file"
        if solver == "network":
            raise EorenError(f"{output}: --solver network makes a function; {remedy} and render it")
        if fit_options.resume or fit_options.settings or fit_options.preset or fit_options.seed:
            raise EorenError(f"{output}: an image is not fitted; to fit, {remedy}")
        check_format(output, height=1, width=1, channels=1)
    with nullcontext() if is_image else fitting.reserve_output(output, inputs[0], fit_options) as checkpoint:
        from eoren.model.devices import choose_device

        choose_device(fit_options.device)

        def write(composition: "Composition") -> int:
            for note in [] if fit_options.quiet else composition.notes:
                console.notice(note)
            if checkpoint is not None:
                run = partial(composition.fit, solver=solver, preset=fit_options.preset, **fit_options.settings)
                return fitting.run_fit(run, output, checkpoint, fit_options)
            height, width = composition.colors.shape[:2]
            eoren.write_image(output, composition.colors, profile=composition.profile)
            files.print_written(
                output, width=width, height=height, as_json=fit_options.as_json, quiet=fit_options.quiet
            )
            return 0

        yield write
