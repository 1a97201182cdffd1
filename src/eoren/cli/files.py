"""Input and output files of the commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eoren.cli import console
from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.field.field import Field
    from eoren.image.io import SourceImage


def check_output(path: Path, source: str | Path, overwrite: bool) -> None:
    """Check, before any work, that an output can be written, and replaces neither the input nor a file to keep."""
    from eoren.fs.files import check_writable

    check_writable(path)
    if path.exists():
        if Path(source).exists() and path.samefile(source):
            raise EorenError(f"{path}: is the input; choose another --output")
        if not overwrite:
            raise EorenError(f"{path}: exists; give --overwrite to replace it, or another --output")


def read_field(path: Path, device: str, *, skip_damaged: bool = False) -> "Field":
    """Read a field for a device; without PyTorch where the native backend computes with it, which is ``auto``."""
    import eoren

    if device not in ("auto", "cpu"):
        from eoren.model.devices import choose_device

        return eoren.load(path, device=choose_device(device), skip_damaged=skip_damaged)
    field = eoren.load(path, skip_damaged=skip_damaged)
    if device == "cpu" or field.representation.is_native:
        return field

    from eoren.model.devices import choose_device

    return field.to(choose_device(device))


def read_source_image(image: str, *, quiet: bool = False, to_srgb: bool = False) -> "SourceImage":
    """Read an image, and print a notice for every conversion that reading it required."""
    from eoren.image import io

    if Path(image).suffix == ".eoren":
        raise EorenError(f"{image}: is a field, and this needs an image; 'eoren render' makes one of it")
    if "://" in image:
        raise EorenError(
            f"{image}: is an address, and this needs a file; download it first, with curl -LO for example"
        )
    if Path(image).is_dir():
        raise EorenError(
            f"{image}: is a folder, and this needs an image; 'eoren fit-many' fits all images of a folder"
        )
    source = io.read_source_image(image, to_srgb=to_srgb)
    if not quiet:
        for note in source.notes:
            console.notice(f"{image}: {note}")
    return source


def describe(path: Path, **more: Any) -> dict[str, Any]:
    """Return the JSON description of a written file: its path, its size in bytes, and more."""
    return {"file": str(path), **more, "bytes": path.stat().st_size}
