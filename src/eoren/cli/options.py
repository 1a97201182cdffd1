"""Arguments and options that several commands share."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from eoren.checks import MAX_SEED, check_integer
from eoren.errors import EorenError

# Repeated from the library, which would load PyTorch before wrong options are refused.
PresetName = Literal["fast", "balanced", "best", "mosaic-fast", "mosaic", "mosaic-best", "small", "single", "paper"]
ObjectiveName = Literal["gradient", "pixel", "sobolev"]


def check_seed(seed: int) -> int:
    """Check the range of a seed."""
    return check_integer("--seed", seed, 0, MAX_SEED)


def output_option(help: str, metavar: str = "PATH") -> Any:
    """Return the option ``--output`` of a command."""
    return Option("--output", "-o", metavar=metavar, help=help)


def preset_option(more: str) -> Any:
    """Return the option ``--preset`` of a command. The list of its values is too long for a metavar."""
    kinds = (
        "Compact files: fast, balanced, best. Networks: mosaic-fast, mosaic, mosaic-best; single, one network; "
        "small, for many small images, colours alone; paper, its protocol."
    )
    return Option("--preset", metavar="NAME", help=f"Named set of settings, {more}. {kinds}")


FieldOrStore = Annotated[str, Argument(metavar="FILE", help="An .eoren file, a store with --name, or - (stdin).")]
FieldFile = Annotated[Path, Argument(metavar="FILE", help="An .eoren file, or - for standard input.")]
ImageFile = Annotated[str, Argument(metavar="IMAGE", help="An image file, - (standard input), or sample:astronaut.")]
Output = Annotated[Path, output_option("File to write; its suffix selects the format. - is standard output.")]
To = Annotated[
    Literal["png", "tif", "npy", "jpg", "webp"] | None,
    Option(metavar="FORMAT", help="png, tif, npy, jpg or webp; by default the suffix, png for a stream without one."),
]
ToSrgb = Annotated[bool, Option("--to-srgb", help="Convert colours from the image's profile to sRGB.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace the output if it exists.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object to stdout.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print nothing but errors.")]
Seed = Annotated[int, Option(metavar="N", callback=check_seed, help="Seed of the random generator.")]
Device = Annotated[str, Option(metavar="NAME", help="Device to compute on: auto, cpu, cuda or mps.")]
NoBrowser = Annotated[bool, Option("--no-browser", help="Print the address of the page without opening it.")]

Seconds = Annotated[
    float | None, Option(metavar="S", help="Limit of time per image; by default that of the preset, if it has one.")
]
Steps = Annotated[int | None, Option(metavar="N", help="Steps per image; on a CPU reproducible to the bit.")]
UntilPsnr = Annotated[
    float | None,
    Option(metavar="DB", help="PSNR of the colours: the smallest compact file that has it; networks end there."),
]
BitsPerPixel = Annotated[
    float | None, Option(metavar="B", help="Bits per pixel of the file, or of the numbers of a mosaic.")
]
Objective = Annotated[
    ObjectiveName | None, Option(help="Fit gradients, pixels, or both (sobolev); not of compact fields.")
]
Bits = Annotated[int | None, Option(metavar="N", help="Bits of a stored weight: 32, 16 or 8; not of compact fields.")]
Set = Annotated[
    list[str] | None,
    Option("--set", metavar="NAME=VALUE", help="Any other setting, such as width=32. May be repeated."),
]

# Settings that --set refuses, because the commands have an option for each.
_NAMED = (
    *("preset", "seconds", "steps", "until_psnr", "objective", "parameters", "bits_per_pixel", "bytes", "bits"),
    "seed",
)


@dataclass(frozen=True)
class FitOptions:
    """Options of the commands that fit one image."""

    preset: Annotated[PresetName | None, preset_option("balanced by default")] = None
    seconds: Seconds = None
    steps: Steps = None
    until_psnr: UntilPsnr = None
    bits_per_pixel: BitsPerPixel = None
    bytes: Annotated[int | None, Option(metavar="N", help="Size of the file in bytes; not of mosaics.")] = None
    seed: Seed = 0
    device: Device = "auto"
    resume: Annotated[bool, Option("--resume", help="Continue an interrupted fit.")] = False
    overwrite: Overwrite = False
    quiet: Quiet = False
    as_json: Json = False

    @property
    def settings(self) -> dict[str, Any]:
        """The budget, size and quality that the user gave."""
        budget = given(seconds=self.seconds, steps=self.steps, until_psnr=self.until_psnr)
        return budget | given(bits_per_pixel=self.bits_per_pixel, bytes=self.bytes)


def with_fit_options(command: Callable[..., int]) -> Callable[..., int]:
    """Replace the parameter ``fit_options`` of a command by one option for each field of :class:`FitOptions`."""
    shared = {name: p.replace(kind=Parameter.KEYWORD_ONLY) for name, p in signature(FitOptions).parameters.items()}
    parameters = {name: p for name, p in signature(command).parameters.items() if name != "fit_options"} | shared

    @wraps(command)
    def run(**values: Any) -> int:
        fit_options = FitOptions(**{name: values.pop(name) for name in shared})
        return command(**values, fit_options=fit_options)

    run.__signature__ = Signature([*parameters.values()])  # type: ignore[attr-defined]
    return run


def given(**values: Any) -> dict[str, Any]:
    """Return the options that the user gave, those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Parse the ``NAME=VALUE`` words of ``--set``; hyphens in names become underscores."""
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        name, _, value = pair.partition("=")
        name = name.replace("-", "_")
        if not (name and value):
            raise EorenError(f"--set must have the form NAME=VALUE, got {pair!r}; try --set width=128")
        if name in _NAMED:
            raise EorenError(f"--set cannot change {name}, got {pair!r}; use --{name.replace('_', '-')} {value}")
        settings[name] = parse_value(value)
    return settings


def parse_value(text: str) -> bool | int | float | str | None:
    """Parse a word as a boolean, None or a number; return it unchanged if it is neither."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
