"""``eoren info``."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

import eoren
from eoren.cli import console, options
from eoren.errors import EorenError

_METRICS = ("psnr", "psnr_8bit", "gradient_psnr", "ssim")


def info(
    file: Annotated[Path | None, Argument(metavar="FILE", help="An .eoren file, or a store.")] = None,
    backend: Annotated[
        bool, Option("--backend", help="Show which backend computes on this machine, and why.")
    ] = False,
    engine: Annotated[bool, Option("--engine", hidden=True)] = False,
    as_json: options.Json = False,
) -> None:
    """Describe a file or a store, or the backend of this machine."""
    if engine:
        console.notice("--engine is deprecated; use --backend")
    if (backend or engine) == (file is not None):
        raise EorenError("info needs either a FILE or --backend; give one of them")
    if file is None:
        values, rows = _describe_backend(engine)
    else:
        from eoren.fs.files import is_folder

        values, rows = _describe_store(file) if is_folder(file) else _describe_field(file)
    console.print_result(values, rows, as_json=as_json)


Description = tuple[dict[str, Any], dict[str, str]]
"""Values for JSON, and rows of a table."""


def _describe_backend(deprecated: bool) -> Description:
    from eoren.backends.dispatch import engine_in_use

    choice = engine_in_use()
    name, target = choice.engine, choice.target
    values = {"backend": name, "target": target, "threads": choice.threads, "reason": choice.why}
    rows = {
        "backend": f"native, {target}" if target is not None and name == "native" else name,
        "reason": choice.why,
        "threads": str(choice.threads),
    }
    return (values | {"engine": name, "why": choice.why} if deprecated else values), rows


def _describe_store(folder: Path) -> Description:
    values = eoren.Collection(folder).summary()
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
    rows |= {name: _format_metric(name, values[name]) for name in _METRICS}
    rows["psnr"] += ", mean over images" + (f"; {values['exact']:,} are exact" if values["exact"] else "")
    start = ", all from one start" if values["same_start"] else ""
    rows["fit"] = f"preset {settings['preset']}, objective {settings['objective']}, seed {values['seed']}{start}"
    rows["written by"] = f"eoren {values['version']}"
    return values, rows


def _describe_field(file: Path) -> Description:
    from dataclasses import asdict

    field = eoren.load(file)
    siren, provenance = field.siren, field.provenance
    width, height = field.size
    size = file.stat().st_size
    values = {
        "width": width,
        "height": height,
        "channels": field.channels,
        "networks": siren.batch,
        "hidden_width": siren.width,
        "depth": siren.depth,
        "omegas": siren.omegas,
        "parameters": field.parameters,
        "bits": field.bits,
        "bytes": size,
        "bits_per_pixel": 8 * size / (width * height),
        **asdict(provenance),
    }
    rows = {
        "picture": f"{width} x {height}, {console.channel_names(field.channels)}",
        "networks": f"{siren.batch}, each {siren.depth} sine layers of {siren.width}",
        "parameters": f"{field.parameters:,}, {field.bits} bits each",
        "file": f"{console.byte_size(size)}, {8 * size / (width * height):.2f} bits per pixel",
        **{name: _format_metric(name, value) for name, value in provenance.metrics.items()},
    }
    settings = provenance.settings
    if settings:
        rows["fit"] = ", ".join(f"{name} {settings[name]}" for name in ("preset", "objective") if name in settings)
        time = "" if provenance.seconds is None else f"{provenance.seconds:.1f} s, "
        rows["spent"] = f"{time}{provenance.steps:,} steps, seed {provenance.seed}"
    if provenance.source_sha256:
        rows["source"] = f"sha256 {provenance.source_sha256}"
    if provenance.version:
        rows["written by"] = f"eoren {provenance.version}"
    return values, rows


def _format_metric(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if name == "ssim" else f"{value:.2f} dB"
