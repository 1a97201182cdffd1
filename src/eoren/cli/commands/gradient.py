"""``eoren gradient``."""

from typing import Annotated, Literal

from typer import Option

import eoren
from eoren.cli import files, options, streams
from eoren.errors import EorenError


def gradient(
    image: options.ImageFile,
    output: options.Output,
    filter: Annotated[
        Literal["forward", "central", "sobel", "scharr", "prewitt", "farid", "spline"],
        Option(
            metavar="NAME",
            help="A stencil, or spline, the quintic one: forward, central, sobel, scharr, prewitt, farid or spline.",
        ),
    ] = "central",
    adjust: Annotated[bool, Option("--adjust/--no-adjust", help="Gradient with Magnitude Adjustment or raw.")] = True,
    by: Annotated[Literal["ramp", "magnitude"], Option(help="By the ramp response, or the paper's sum|F|.")] = "ramp",
    to: options.To = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Compute the gradient of an image.

    .npy holds (H, W, C, 2), float .tiff (H, W, 2C): intensity per unit-square side, or per pixel with --no-adjust,
    (d/dx, d/dy) last. Other formats show the magnitude, white at half the intensity range per pixel.
    """
    if filter == "spline" and not adjust:
        raise EorenError("--no-adjust applies to stencils only; the derivative of the spline needs no adjustment")

    from eoren.image.writers import check_format
    from eoren.visualization.derivatives import write_gradient

    files.check_output(output, image, overwrite, stream=True)
    form = streams.format_of(output, to)
    # The suffix alone, before a large image is read; then its size, before the work.
    check_format(output, height=1, width=1, channels=1, format=form)
    pixels = files.read_source_image(image).pixels
    height, width = pixels.shape[:2]
    check_format(output, height=height, width=width, channels=1, format=form)
    if filter == "spline":
        values = eoren.reference_gradient(pixels)
    else:
        values = eoren.adjusted_gradient(pixels, filter, adjust=by if adjust else None)
    with streams.opened(output) as target:
        write_gradient(target, values, per_pixel=not adjust, format=form)
    files.print_written(output, width=width, height=height, as_json=as_json, quiet=quiet)
