"""Input and output files of the commands."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eoren.cli import console, streams
from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.dataset.collection import Collection
    from eoren.field.field import Field
    from eoren.image.io import SourceImage

_MOST_PIXELS = 1 << 26  # of the images of a store that are read at once
_MAX_DIGITS = 18


def check_output(path: Path, source: str | Path, overwrite: bool, *, stream: bool = False) -> None:
    """Check, before any work, that an output can be written, and replaces neither the input nor a file to keep.

    With ``stream``, the standard output, pipes and devices are allowed, see :mod:`eoren.cli.streams`.
    """
    if stream and streams.is_stream(path):
        streams.check_output(path)
        return
    if str(path) == streams.STANDARD:
        raise EorenError("this command does not write to the standard output; give a file as --output")

    from eoren.fs.files import check_writable

    check_writable(path)
    if path.exists():
        if Path(source).exists() and path.samefile(source):
            raise EorenError(f"{path}: is the input; choose another --output")
        if not overwrite:
            raise EorenError(f"{path}: exists; give --overwrite to replace it, or another --output")


def is_store(path: str | Path) -> bool:
    """Whether a path is to be opened as a store: a folder of this machine, or an address."""
    from eoren.fs.files import is_folder
    from eoren.fs.objects import is_address

    return is_address(path) or is_folder(path)


def read_field(
    path: "str | Path | BytesIO", device: str, *, name: str | None = None, skip_damaged: bool = False
) -> "Field":
    """Read a field for a device; without PyTorch where the native backend computes with it, which is ``auto``.

    Args:
        path: an .eoren file, a store, or what :func:`eoren.cli.streams.read_once` returned.
        device: name of a device.
        name: name or number of an image of the store.
        skip_damaged: whether to leave damaged blocks of a file gray.
    """
    import eoren

    path = Path(path) if path == "" else path
    if not isinstance(path, BytesIO) and is_store(path):
        if skip_damaged:
            raise EorenError(f"{path}: --skip-damaged is for files, and this is a folder; omit it")
        return _to(_find(eoren.Collection(path), path, name), device)
    if name is not None:
        raise EorenError(f"{path}: --name {name} is for images of a store; omit it for a file")
    path = path if isinstance(path, BytesIO) else streams.read_once(path)
    return _to(eoren.load(path, skip_damaged=skip_damaged), device)


def read_fields(path: str, device: str, names: list[str]) -> "list[tuple[str, Field]]":
    """Read the field of a file, or images of a store, by default all, with a title for each."""
    import eoren

    if not is_store(path):
        return [(Path(path).stem, read_field(path, device, name=names[0] if names else None))]
    collection = eoren.Collection(path)
    if names:
        return [(name, _to(_find(collection, path, name), device)) for name in names]
    pixels = sum(width * height * count for width, height, _, count in collection.summary()["sizes"])
    if pixels > _MOST_PIXELS:
        raise EorenError(
            f"{path}: its {len(collection):,} images are too many to show at once; select some with --name"
        )
    return list(zip(collection.names, (_to(field, device) for field in collection), strict=True))


def _to(field: "Field", device: str) -> "Field":
    if device == "cpu" or (device == "auto" and field.representation.is_native):
        return field
    from eoren.model.devices import choose_device

    return field.to(choose_device(device))


def _find(collection: "Collection", path: str | Path, name: str | None) -> "Field":
    """Return an image of a store by its name or number."""
    from eoren.fs.names import as_utf8

    if name is None:
        raise EorenError(
            f"{path}: is a store of {len(collection):,} images; render and view take --name, and "
            "'eoren export' writes files"
        )
    key = as_utf8(name)
    is_number = key.isdecimal() and len(key) <= _MAX_DIGITS and key not in collection.names
    try:
        return collection[int(key) if is_number else key]
    except LookupError as error:
        raise EorenError(f"{path}: --name: {error.args[0]}") from None


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
    content = streams.read_once(image)
    source = io.read_source_image(content, to_srgb=to_srgb)
    if not quiet:
        for note in source.notes:
            console.notice(f"{image}: {note}")
    return source


def describe(path: Path, **more: Any) -> dict[str, Any]:
    """Return the JSON description of a written file: its path, more, and unless it is a stream its size in bytes."""
    values = {"file": str(path), **more}
    return values if streams.is_stream(path) else values | {"bytes": path.stat().st_size}


def print_written(path: Path, *, width: int, height: int, as_json: bool, quiet: bool) -> None:
    """Print which image was written; to stderr if it is the standard output, and there as JSON only."""
    values = describe(path, width=width, height=height)
    is_stream = "bytes" not in values
    rows = {} if is_stream else {"written": f"{path} ({width} x {height}, {console.byte_size(values['bytes'])})"}
    to_stderr = streams.is_standard_output(path)
    console.print_result(values, rows, as_json=as_json, quiet=quiet, to_stderr=to_stderr)
