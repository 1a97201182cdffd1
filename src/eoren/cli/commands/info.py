"""``eoren info``."""

from dataclasses import asdict
from pathlib import Path
from time import time
from typing import Annotated, Any

from typer import Argument, Option

import eoren
from eoren.cli import console, files, options, streams
from eoren.errors import EorenError


def info(
    file: Annotated[str | None, Argument(metavar="FILE", help="An .eoren file, or a store or its address.")] = None,
    backend: Annotated[bool, Option("--backend", help="Show the backend of this machine, and why.")] = False,
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
        values, rows = _describe_store(file) if files.is_store(file) else _describe_field(Path(file))
    console.print_result(values, rows, as_json=as_json)


def _describe_backend(deprecated: bool) -> tuple[dict[str, Any], dict[str, str]]:
    from eoren.backends.dispatch import backend_info

    choice = backend_info()
    values = choice._asdict() | ({"engine": choice.backend, "why": choice.reason} if deprecated else {})
    name = f"native, {choice.target}" if choice.target and choice.backend == "native" else choice.backend
    return values, {"backend": name, "reason": choice.reason, "threads": str(choice.threads)}


def _describe_store(store: str) -> tuple[dict[str, Any], dict[str, str]]:
    from eoren.dataset.progress import read_record
    from eoren.dataset.store import Store
    from eoren.evaluation.metrics import METRICS

    record = read_record(Store(store))
    run = None if record is None else record.summary(time())
    if run is not None and not run["pictures"]:  # no part of the index yet
        return {"run": run}, {"run": _run_words(run)}
    values = eoren.Collection(store).summary() | {"run": run}
    sizes, settings = values["sizes"], values["settings"]
    failed = f", {values['failed']:,} of them failed" if values["failed"] else ""
    rows = {"pictures": f"{values['pictures']:,}{failed}"}
    if sizes:
        width, height, channels, count = sizes[0]
        size = f"{width} x {height}, {console.channel_names(channels)}"
        rows["size"] = size if len(sizes) == 1 else f"{count:,} of {size}; other sizes: {len(sizes) - 1:,}"
    if run is not None:
        rows["run"] = _run_words(run)
    rows["labels"] = str(values["labels"] or "-")
    if values["profiles"]:
        counts = (f"{name} ({count:,} images)" for name, count in values["profiles"].items())
        rows["colours"] = f"in the profile {', '.join(counts)}"
    kind = "networks" if "objective" in settings else "compact fields"
    count = values["networks"] if kind == "networks" else values["pictures"] - values["failed"]
    rows[kind] = f"{count:,}, {values['parameters']:,} parameters"
    rows["files"] = console.byte_size(values["bytes"])
    rows |= {name: console.format_metric(name, values[name], "-") for name in METRICS}
    rows["psnr"] += ", mean over images" + (f"; {values['exact']:,} are exact" if values["exact"] else "")
    start = ", all from one start" if values["same_start"] else ""
    rows["fit"] = f"{_fit_words(settings)}, seed {values['seed']}{start}"
    rows["written by"] = f"eoren {values['version']}"
    return values, rows


def _run_words(run: dict[str, Any]) -> str:
    """Describe how far a run is that has not ended."""
    total = "" if run["total"] is None else f" of {run['total']:,}"
    rate = "" if run["rate"] is None else f", {run['rate']:.3g} a second"
    left = "" if run["seconds_left"] is None else f", {console.duration(run['seconds_left'])} left"
    return f"{run['pictures']:,}{total} images{rate}{left}, {console.duration(run['seconds_ago'])} ago"


def _describe_field(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from eoren.image.profiles import describe_profile

    source = streams.read_once(file)
    field = eoren.load(source)
    representation, provenance = field.representation, field.provenance
    width, height = field.size
    size, summary = streams.byte_count(source), representation.summary()
    bits = summary.get("bits")
    values = {
        "width": width,
        "height": height,
        "channels": field.channels,
        **summary,
        "parameters": field.parameters,
        "bytes": size,
        "bits_per_pixel": 8 * size / (width * height),
        **asdict(provenance),
        "profile": describe_profile(provenance.profile) if provenance.profile else "",
    }
    rows = {
        "picture": f"{width} x {height}, {console.channel_names(field.channels)}",
        "function": representation.describe(),
        "parameters": f"{field.parameters:,}" + ("" if bits is None else f", {bits} bits each"),
        "file": f"{console.byte_size(size)}, {8 * size / (width * height):.2f} bits per pixel",
        **{name: console.format_metric(name, value, "-") for name, value in provenance.metrics.items()},
    }
    if provenance.profile:
        rows["colours"] = f"in the profile {values['profile']}"
    settings = provenance.settings
    if settings:
        rows["fit"] = _fit_words(settings)
        time = "" if provenance.seconds is None else f"{provenance.seconds:.1f} s, "
        rows["spent"] = f"{time}{provenance.steps:,} steps, seed {provenance.seed}"
    if provenance.composition:
        rows["composition"] = _composition_words(provenance.composition)
    if provenance.source_sha256:
        rows["source"] = f"sha256 {provenance.source_sha256}"
    if provenance.version:
        rows["written by"] = f"eoren {provenance.version}"
    return values, rows


def _composition_words(composition: dict[str, Any]) -> str:
    """Describe the operation that made the image of a field, with the options that are set."""
    hidden = ("operation", "operands_sha256", "solver")
    options = [f"{name} {value}" for name, value in composition.items() if name not in hidden and value]
    return f"{', '.join([str(composition.get('operation', 'unknown')), *options]):.200}"  # files are untrusted


def _fit_words(settings: dict[str, Any]) -> str:
    """Describe settings by the names that a field or a store has; those of compact fits have no objective."""
    return ", ".join(f"{name} {settings[name]}" for name in ("preset", "objective") if name in settings)
