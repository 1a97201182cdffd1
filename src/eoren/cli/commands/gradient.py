"""``eoren gradient``."""

from typing import Annotated, Literal

import typer

from eoren.cli import console
from eoren.errors import EorenError


def gradient(
    image: console.ImageFile,
    output: console.Output,
    filter: Annotated[
        str, typer.Option(metavar="NAME", help="forward, central, sobel, scharr, prewitt, farid or spline.")
    ] = "central",
    adjust: Annotated[
        bool,
        typer.Option("--adjust/--no-adjust", help="Gradient with Magnitude Adjustment, or the bare filter."),
    ] = True,
    by: Annotated[
        Literal["ramp", "magnitude"],
        typer.Option(metavar="RULE", help="What adjusts: the response to a ramp, or the paper's magnitude sum|F|."),
    ] = "ramp",
    overwrite: console.Overwrite = False,
) -> None:
    """Measure an image's gradient.

    .npy holds (H, W, C, 2), float .tiff (H, W, 2C): intensity per unit-square side, or per pixel with --no-adjust,
    (d/dx, d/dy) last. Other formats show the magnitude, white at half the intensity range per pixel.
    """
    from eoren.image.gradients import SPLINE, STENCILS, adjusted_gradient
    from eoren.image.spline import reference_gradient
    from eoren.image.writers import check_format
    from eoren.visualization.derivatives import write_gradient

    if filter not in (SPLINE, *STENCILS):
        raise EorenError(f"--filter {filter!r} is unknown; choose one of {', '.join((SPLINE, *STENCILS))}")
    if filter == SPLINE and not adjust:
        raise EorenError("--no-adjust is for stencils; the spline's derivative has its true size as it is")
    console.check_output(output, image, overwrite)
    # The suffix alone, before a large image is read; then its size, before the work.
    check_format(output, height=1, width=1, channels=1)

    pixels = console.read_source_image(image).pixels
    check_format(output, height=pixels.shape[0], width=pixels.shape[1], channels=1)
    if filter == SPLINE:
        found = reference_gradient(pixels)
    else:
        found = adjusted_gradient(pixels, filter, adjust=by if adjust else None)
    write_gradient(output, found, per_pixel=not adjust)
