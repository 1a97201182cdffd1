"""``eoren evaluate``."""

import eoren
from eoren.cli import console, files, options, streams
from eoren.errors import EorenError


def evaluate(
    file: options.FieldFile,
    image: options.ImageFile,
    to_srgb: options.ToSrgb = False,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Measure a field against its image."""
    from eoren.evaluation.metrics import METRICS

    if str(file) == image == streams.STANDARD:
        raise EorenError("standard input can be FILE or IMAGE, got both; give a path for one of them")
    source = streams.read_once(file)
    field = files.read_field(source, device)
    pixels = files.read_source_image(image, to_srgb=to_srgb).pixels
    try:
        metrics = eoren.evaluate(field, pixels)
    except EorenError as error:
        raise EorenError(f"{image}: {error}") from None
    size, (width, height) = streams.byte_count(source), field.size
    bits_per_pixel = 8 * size / (width * height)
    rows = {name: console.format_metric(name, getattr(metrics, name)) for name in METRICS}
    rows |= {"parameters": f"{metrics.parameters:,}", "bytes": f"{size:,}", "bits_per_pixel": f"{bits_per_pixel:.3f}"}
    values = {**metrics.as_dict(), "bytes": size, "bits_per_pixel": bits_per_pixel}
    console.print_result(values, rows, as_json=as_json)
