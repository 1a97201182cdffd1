"""``eoren render``."""

from typing import Annotated, Literal

import typer

from eoren.cli import terminal
from eoren.errors import EorenError


def render(
    file: terminal.FieldFile,
    output: terminal.Output,
    scale: Annotated[float | None, typer.Option(help="Times the picture's own size.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels of the output.")] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="Part of the unit square, such as 0.25,0.25,0.75,0.75."),
    ] = None,
    show: Annotated[Literal["color", "gradient", "laplacian"], typer.Option(help="What to sample.")] = "color",
    bit_depth: Annotated[int, typer.Option(help="Of a PNG or TIFF: 8, 16, or 32 (float TIFF).")] = 8,
    device: terminal.Device = "auto",
    overwrite: terminal.Overwrite = False,
) -> None:
    """Sample a field on a grid of any size.

    PNG, TIFF, JPEG and WebP show colours, or a picture of the derivative on a fixed scale; .npy holds the numbers.
    """
    if scale is not None and size is not None:
        raise EorenError("--scale and --size exclude each other; give one of them")
    if scale is not None and not 0 < scale < float("inf"):
        raise EorenError(f"--scale is {scale:g}, but must be a number above zero")
    region = (0.0, 0.0, 1.0, 1.0) if crop is None else _region(crop)
    wanted = (None, None) if size is None else _size(size)
    terminal.check_output(output, overwrite)

    from eoren.devices import choose_device
    from eoren.showing import write_field
    from eoren.storage import load

    field = load(file, device=choose_device(device))
    width, height = field.grid(wanted[0], wanted[1], region)
    if scale is not None:
        width, height = max(1, round(scale * width)), max(1, round(scale * height))
    write_field(output, field, width, height, region=region, show=show, bit_depth=bit_depth)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise EorenError(f"--size {text!r} is not of the form WxH; try --size 1024x768")
    return int(width), int(height)


def _region(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise EorenError(f"--crop {text!r} is not of the form X0,Y0,X1,Y1; try --crop 0.25,0.25,0.75,0.75") from None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise EorenError(f"--crop {text!r} must keep 0 <= X0 < X1 <= 1 and 0 <= Y0 < Y1 <= 1")
    return x0, y0, x1, y1
