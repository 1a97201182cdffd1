"""``eoren render``."""

import re
from typing import Annotated, Literal

from typer import Option

from eoren.cli import files, options, streams
from eoren.errors import EorenError

_MAX_SCALE = 1e9  # larger than any file that could be written, and far below the largest float


def render(
    file: options.FieldOrStore,
    output: options.Output,
    scale: Annotated[float | None, Option(metavar="K", help="Factor on the image's own size.")] = None,
    size: Annotated[
        str | None, Option(metavar="WxH", help="Pixels: 1024x768; 1024x and x768 keep proportions.")
    ] = None,
    crop: Annotated[str | None, Option(metavar="X0,Y0,X1,Y1", help="Part of the unit square, e.g. 0,0,.5,1.")] = None,
    show: Annotated[Literal["color", "gradient", "laplacian"], Option(help="Colours or a derivative.")] = "color",
    bit_depth: Annotated[int, Option(metavar="BITS", help="Bits of PNG or TIFF: 8, 16, or 32 (float TIFF).")] = 8,
    name: Annotated[str | None, Option(metavar="NAME", help="Image of a store, by its name or number.")] = None,
    device: options.Device = "auto",
    skip_damaged: Annotated[
        bool, Option("--skip-damaged", help="Leave damaged blocks of a compact field gray.")
    ] = False,
    to: options.To = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Sample a field on a grid of any size.

    PNG, JPEG and WebP show a derivative as an image, on a fixed scale; .npy and .tiff hold its numbers, per
    unit-square side.
    """
    if scale is not None and size is not None:
        raise EorenError("--scale and --size exclude each other; give one of them")
    if scale is not None and not 0 < scale < _MAX_SCALE:
        raise EorenError(f"--scale must be above zero and below {_MAX_SCALE:g}, got {scale:g}")
    region = (0.0, 0.0, 1.0, 1.0) if crop is None else _parse_region(crop)
    pixels = None if size is None else _parse_size(size)
    files.check_output(output, file, overwrite, stream=True)
    form = streams.format_of(output, to)

    from eoren.visualization.derivatives import write_field

    field = files.read_field(file, device, name=name, skip_damaged=skip_damaged)
    if pixels is None:
        width, height = _scale_size(field.size, region, 1.0 if scale is None else scale)
    else:
        width, height = field.grid(*pixels, region)
    with streams.opened(output) as target:
        write_field(target, field, width, height, region=region, show=show, bit_depth=bit_depth, format=form)
    files.print_written(output, width=width, height=height, as_json=as_json, quiet=quiet)


def _scale_size(size: tuple[int, int], region: tuple[float, float, float, float], scale: float) -> tuple[int, int]:
    """Compute the pixels of a region of an image times a factor, at least one along each side."""
    x0, y0, x1, y1 = region
    return max(1, round(scale * size[0] * (x1 - x0))), max(1, round(scale * size[1] * (y1 - y0)))


def _parse_size(text: str) -> tuple[int | None, int | None]:
    """Parse a width and a height, one of which may be left out."""
    match = re.fullmatch("(?:0*([1-9][0-9]{0,17}))?x(?:0*([1-9][0-9]{0,17}))?", text, re.IGNORECASE)
    if match is None or not any(match.groups()):
        raise EorenError(f"--size must have the form WxH, got {text!r}; try --size 1024x768, or 1024x")
    width, height = (None if side is None else int(side) for side in match.groups())
    return width, height


def _parse_region(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise EorenError(
            f"--crop must have the form X0,Y0,X1,Y1, got {text!r}; try --crop 0.25,0.25,0.75,0.75"
        ) from None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise EorenError(f"--crop must satisfy 0 <= X0 < X1 <= 1 and 0 <= Y0 < Y1 <= 1, got {text!r}")
    return x0, y0, x1, y1
