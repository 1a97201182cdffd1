"""``eoren fit``."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

import eoren
from eoren.cli import console, files, fitting, options, page, streams
from eoren.errors import EorenError


@options.with_fit_options
def fit(
    fit_options: options.FitOptions,
    image: options.ImageFile,
    output: Annotated[Path | None, options.output_option(".eoren file to write; by default IMAGE's name.")] = None,
    objective: options.Objective = None,
    parameters: Annotated[int | None, Option(metavar="N", help="Size of a mosaic in stored numbers.")] = None,
    bits: options.Bits = None,
    setting: options.Set = None,
    to_srgb: options.ToSrgb = False,
    watch: Annotated[bool, Option("--watch", help="Show the fit in a browser while it runs.")] = False,
    no_browser: options.NoBrowser = False,
) -> int:
    """Turn an image into a small continuous function.

    The presets fast, balanced and best make compact files; the others make networks. --objective, --bits,
    --parameters and settings of networks, such as width, select mosaic in place of balanced, with a notice.

    Ctrl-C writes the result so far; the same command with --resume continues from there. With --watch the page stays
    until Ctrl-C once the file is written.
    """
    # Every check comes before any work, and if possible before torch is loaded.
    networks = options.given(objective=objective, parameters=parameters, bits=bits)
    changes = options.parse_settings(setting) | networks | fit_options.settings
    if output is None and image == streams.STANDARD:
        raise EorenError("--output must be given for an image from standard input, got none; give a file, or -")
    output = output or Path(Path(image.removeprefix("sample:")).stem + fitting.SUFFIX)
    if watch:
        page.check_viewer()
    with fitting.reserve_output(output, image, fit_options) as checkpoint:
        from eoren.model.devices import choose_device
        from eoren.training.presets import choose_settings

        settings = choose_settings(fit_options.preset or "balanced", **changes)
        device = choose_device(fit_options.device)
        source = files.read_source_image(image, quiet=fit_options.quiet, to_srgb=to_srgb)
        if not (fit_options.quiet or fit_options.resume):
            from eoren.training.plan import plan_fit

            if plan := plan_fit(source.pixels, settings, device=device):
                console.notice(str(plan))
        run = partial(eoren.fit, source, **settings.as_dict())
        with page.live_page(image, source, no_browser) if watch else nullcontext() as live:
            return fitting.run_fit(run, output, checkpoint, fit_options, live, source.pixels)
