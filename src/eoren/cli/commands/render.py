"""``eoren render``."""

import re
from typing import Annotated, Literal

import typer

from eoren.cli import console
from eoren.errors import EorenError

# Beyond any file that could be written, and far from what a float cannot hold.
_MAX_SCALE = 1e9


def render(
    file: console.FieldFile,
    output: console.Output,
    scale: Annotated[float | None, typer.Option(metavar="K", help="Times the image's own size.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels of the output, such as 1024x768.")] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="Part of the unit square, such as 0.25,0.25,0.75,0.75."),
    ] = None,
    show: Annotated[
        Literal["color", "gradient", "laplacian"],
        typer.Option(metavar="WHAT", help="color, gradient or laplacian."),
    ] = "color",
    bit_depth: Annotated[int, typer.Option(metavar="BITS", help="Of PNG or TIFF: 8, 16, or 32 (float TIFF).")] = 8,
    device: console.Device = "auto",
    overwrite: console.Overwrite = False,
) -> None:
    """Sample a field on a grid of any size.

    PNG, JPEG and WebP show a derivative as an image, on a fixed scale; .npy and .tiff hold its numbers, per
    unit-square side.
    """
    if scale is not None and size is not None:
        raise EorenError("--scale and --size exclude each other; give one of them")
    if scale is not None and not 0 < scale < _MAX_SCALE:
        raise EorenError(f"--scale is {scale:g}, but must be a number above zero and below {_MAX_SCALE:g}")
    region = (0.0, 0.0, 1.0, 1.0) if crop is None else _region(crop)
    wanted = None if size is None else _size(size)
    console.check_output(output, file, overwrite)

    from eoren.field.serialization import load
    from eoren.model.devices import choose_device
    from eoren.visualization.derivatives import write_field

    field = load(file, device=choose_device(device))
    width, height = wanted or _scaled(field.size, region, 1.0 if scale is None else scale)
    write_field(output, field, width, height, region=region, show=show, bit_depth=bit_depth)


def _scaled(size: tuple[int, int], region: tuple[float, float, float, float], scale: float) -> tuple[int, int]:
    """Pixels of a region of an image of some size, times a factor; at least one each way."""
    x0, y0, x1, y1 = region
    return max(1, round(scale * size[0] * (x1 - x0))), max(1, round(scale * size[1] * (y1 - y0)))


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch("0*([1-9][0-9]{0,17})x0*([1-9][0-9]{0,17})", text, re.IGNORECASE)
    if found is None:
        raise EorenError(f"--size {text!r} is not of the form WxH; try --size 1024x768")
    return int(found[1]), int(found[2])


def _region(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise EorenError(f"--crop {text!r} is not of the form X0,Y0,X1,Y1; try --crop 0.25,0.25,0.75,0.75") from None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise EorenError(f"--crop {text!r} must keep 0 <= X0 < X1 <= 1 and 0 <= Y0 < Y1 <= 1")
    return x0, y0, x1, y1
