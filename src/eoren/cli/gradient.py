"""``eoren gradient``."""

from typing import Annotated, Literal

import typer

from eoren.cli import terminal
from eoren.errors import EorenError


def gradient(
    image: terminal.ImageFile,
    output: terminal.Output,
    filter: Annotated[
        str, typer.Option(help="forward, central, sobel, scharr, prewitt, farid, or spline.")
    ] = "central",
    adjust: Annotated[
        bool,
        typer.Option("--adjust/--no-adjust", help="Gradient with Magnitude Adjustment, or the bare filter."),
    ] = True,
    by: Annotated[
        Literal["ramp", "magnitude"],
        typer.Option(help="What adjusts: the ramp response, or the paper's magnitude sum|F|."),
    ] = "ramp",
    overwrite: terminal.Overwrite = False,
) -> None:
    """Measure a picture's gradient.

    .npy holds (H, W, C, 2), float .tiff (H, W, 2C), intensity per unit-square side with (d/dx, d/dy) last;
    other formats show the magnitude, white at half the intensity range per pixel.
    """
    from eoren.presets import SPLINE

    if filter == SPLINE and not adjust:
        raise EorenError("--no-adjust is for stencils; the spline's derivative has its true size as it is")
    terminal.check_output(output, overwrite)

    from eoren.gradients import adjusted_gradient, reference_gradient
    from eoren.images import read_picture
    from eoren.showing import write_gradient

    picture = read_picture(image)
    for note in picture.notes:
        terminal.notice(f"{picture.name}: {note}")
    if filter == SPLINE:
        found = reference_gradient(picture.pixels)
    else:
        found = adjusted_gradient(picture.pixels, filter, adjust=by if adjust else None)
    write_gradient(output, found, per_pixel=not adjust)
