"""``eoren evaluate``."""

import eoren
from eoren.cli import console, files, options
from eoren.errors import EorenError


def evaluate(
    file: options.FieldFile, image: options.ImageFile, device: options.Device = "auto", as_json: options.Json = False
) -> None:
    """Measure a field against its image."""
    from eoren.model.devices import choose_device

    field = eoren.load(file, device=choose_device(device))
    pixels = files.read_source_image(image).pixels
    try:
        metrics = eoren.evaluate(field, pixels, stored_bytes=file.stat().st_size)
    except EorenError as error:
        raise EorenError(f"{image}: {error}") from None
    rows = {
        "psnr": console.decibels(metrics.psnr),
        "psnr_8bit": console.decibels(metrics.psnr_8bit),
        "gradient_psnr": console.decibels(metrics.gradient_psnr),
        "ssim": f"{metrics.ssim:.4f}",
        "parameters": f"{metrics.parameters:,}",
        "bytes": f"{metrics.bytes:,}",
        "bits_per_pixel": f"{metrics.bits_per_pixel:.3f}",
    }
    console.print_result(metrics.as_dict(), rows, as_json=as_json)
