"""``eoren evaluate`` and ``eoren info``."""

from pathlib import Path
from typing import Annotated

import typer

from eoren.cli import console
from eoren.errors import EorenError
from eoren.fs.files import is_folder


def evaluate(
    file: console.FieldFile,
    image: console.ImageFile,
    device: console.Device = "auto",
    as_json: console.Json = False,
) -> None:
    """Measure a field against its image."""
    from eoren.evaluation.metrics import evaluate as measure
    from eoren.field.serialization import load
    from eoren.model.devices import choose_device

    field = load(file, device=choose_device(device))
    pixels = console.read_source_image(image).pixels
    try:
        metrics = measure(field, pixels)
    except EorenError as error:
        raise EorenError(f"{image}: {error}") from None
    size, (width, height) = file.stat().st_size, field.size
    bits_per_pixel = 8 * size / (width * height)
    if as_json:
        console.print_json({**metrics.as_dict(), "bytes": size, "bits_per_pixel": bits_per_pixel})
        return
    console.print_table(
        {
            "psnr": console.decibels(metrics.psnr),
            "psnr_8bit": console.decibels(metrics.psnr_8bit),
            "gradient_psnr": console.decibels(metrics.gradient_psnr),
            "ssim": f"{metrics.ssim:.4f}",
            "parameters": f"{metrics.parameters:,}",
            "bytes": f"{size:,}",
            "bits_per_pixel": f"{bits_per_pixel:.3f}",
        }
    )


def info(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="An .eoren file, or a store.")] = None,
    engine: Annotated[bool, typer.Option("--engine", help="Say what does the computing here, and why.")] = False,
    as_json: console.Json = False,
) -> None:
    """Say what is in a file or a store, or what computes here."""
    if engine == (file is not None):
        raise EorenError("info wants a FILE, or --engine; give one of them")
    if file is None:
        _engine(as_json)
    elif is_folder(file):
        _store(file, as_json)
    else:
        _contents(file, as_json)


def _engine(as_json: bool) -> None:
    from eoren.backends.dispatch import backend_info

    found = backend_info()
    if as_json:
        console.print_json(
            {"engine": found.backend, "target": found.target, "threads": found.threads, "why": found.reason}
        )
        return
    name = found.backend if found.target is None or found.backend != "native" else f"native, {found.target}"
    console.print_table({"engine": name, "why": found.reason, "threads": str(found.threads)})


def _store(folder: Path, as_json: bool) -> None:
    from eoren.dataset.collection import Collection

    found = Collection(folder)
    values = found.summary()
    if as_json:
        console.print_json(values)
        return
    sizes, settings = values["sizes"], values["settings"]
    failed = f", {values['failed']:,} of them failed" if values["failed"] else ""
    rows = {"pictures": f"{values['pictures']:,}{failed}"}
    if sizes:
        width, height, channels, count = sizes[0]
        size = f"{width} x {height}, {console.channel_names(channels)}"
        rows["size"] = size if len(sizes) == 1 else f"{count:,} of {size}; other sizes: {len(sizes) - 1:,}"
    rows["labels"] = str(values["labels"] or "-")
    rows["networks"] = f"{values['networks']:,}, {values['parameters']:,} parameters"
    rows["files"] = console.byte_size(values["bytes"])
    for name in ("psnr", "psnr_8bit", "gradient_psnr", "ssim"):
        mean = values[name]
        rows[name] = "-" if mean is None else f"{mean:.4f}" if name == "ssim" else f"{mean:.2f} dB"
    rows["psnr"] += ", mean over pictures" + (f"; {values['exact']:,} are exact" if values["exact"] else "")
    start = ", all from one start" if values["same_start"] else ""
    rows["fit"] = f"preset {settings['preset']}, objective {settings['objective']}, seed {values['seed']}{start}"
    rows["written by"] = f"eoren {values['version']}"
    console.print_table(rows)


def _contents(file: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from eoren.field.serialization import load

    field = load(file)
    function, origin = field.representation, field.provenance
    width, height = field.size
    size = file.stat().st_size
    if as_json:
        console.print_json(
            {
                "width": width,
                "height": height,
                "channels": field.channels,
                **function.summary(),
                "parameters": field.parameters,
                "bits": function.bits,
                "bytes": size,
                "bits_per_pixel": 8 * size / (width * height),
                **asdict(origin),
            }
        )
        return
    rows = {
        "picture": f"{width} x {height}, {console.channel_names(field.channels)}",
        "function": function.describe(),
        "parameters": f"{field.parameters:,}, {function.bits} bits each",
        "file": f"{console.byte_size(size)}, {8 * size / (width * height):.2f} bits per pixel",
    }
    rows |= {
        name: "-" if value is None else f"{value:.4f}" if name == "ssim" else f"{value:.2f} dB"
        for name, value in origin.metrics.items()
    }
    if origin.settings:
        rows["fit"] = ", ".join(
            f"{name} {origin.settings[name]}" for name in ("preset", "objective") if name in origin.settings
        )
        time = "" if origin.seconds is None else f"{origin.seconds:.1f} s, "
        rows["spent"] = f"{time}{origin.steps:,} steps, seed {origin.seed}"
    if origin.source_sha256:
        rows["source"] = f"sha256 {origin.source_sha256}"
    if origin.version:
        rows["written by"] = f"eoren {origin.version}"
    console.print_table(rows)
