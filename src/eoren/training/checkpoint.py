"""Checkpoint files, from which :mod:`eoren.training.loop` resumes a fit bit for bit."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.fs.files import open_regular, write_file
from eoren.fs.safetensors_layout import openable_path, read_metadata
from eoren.training.compact.settings import PRESETS, CompactSettings
from eoren.training.presets import FORMER_NAMES
from eoren.training.settings import Settings, current_names

_KEY = "eoren-checkpoint"
# Counts and times below it convert exactly between int and float.
_MAX_NUMBER = 2**53


@dataclass(frozen=True)
class CheckpointKey:
    """Properties that a fit must share with a checkpoint to resume from it."""

    settings: Settings | CompactSettings
    seed: int
    source_sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values, without ``bits`` unless the size or the end of the fit depends on it."""
        settings = asdict(self.settings)
        bits = {"bits": settings.pop("bits")} if "bits" in settings else {}
        if self.settings.bits_per_pixel is None and self.settings.until_psnr is None:
            bits = {}
        return {"eoren version": __version__, **settings, "seed": self.seed, "image": self.source_sha256, **bits}


@dataclass
class LoopState:
    """State of a fit loop besides its networks."""

    seconds: float  # duration of the fit when the state was stored
    color_error: float | None = None  # running mean squared errors
    gradient_error: float | None = None
    worth_measuring: float | None = None  # estimated PSNR from which on the loop measures the error
    measure_at: int = 0  # step from which on it does so without an estimate
    group: int = 0  # number of the group of tiles in training
    group_started: float = 0.0  # seconds of the fit
    earlier_steps: int = 0  # of the groups before: steps times tiles


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file: state of the loop, steps of the group in training, and tensors by name."""

    state: LoopState
    steps: int
    tensors: Mapping[str, torch.Tensor]


def write_checkpoint(path: Path, key: CheckpointKey, checkpoint: Checkpoint) -> None:
    """Store a checkpoint atomically: after a kill the file holds the previous checkpoint or this one."""
    header = {"identity": key.as_dict(), "steps": checkpoint.steps, "standing": asdict(checkpoint.state)}
    stored = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    write_file(path, save_tensors(stored, {_KEY: json.dumps(header)}))


def read_checkpoint(path: Path, key: CheckpointKey) -> Checkpoint:
    """Read a checkpoint; refuse one that is damaged or belongs to another fit."""
    try:
        with open_regular(path) as (file, size):
            read_metadata(file, size)
            with safe_open(openable_path(path, file), framework="pt") as stored:
                header = json.loads(stored.metadata()[_KEY])
                _check_key(path, key.as_dict(), dict(header["identity"]))
                steps, state = header["steps"], LoopState(**header["standing"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError):
        raise damaged(path) from None
    if not (_is_number(int, steps) and _is_valid(state)):
        raise damaged(path)
    return Checkpoint(state, steps, tensors)


def match_tensors(
    path: Path, stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Check that the tensors of a checkpoint have the names, shapes and types of a fit's, and return them.

    Earlier checkpoints number a trainer's tensors, in the order of ``expected``.
    """
    numbers = {str(number): name for number, name in enumerate(expected)} if "0" in stored else {}
    tensors = {numbers.get(name, name): t for name, t in stored.items()}
    if {name: (t.shape, t.dtype) for name, t in tensors.items()} != {
        name: (t.shape, t.dtype) for name, t in expected.items()
    }:
        raise damaged(path)
    return tensors


def damaged(path: Path) -> EorenError:
    """Build the error for a file that is no valid checkpoint."""
    return EorenError(f"{path}: not a checkpoint of eoren, or damaged; delete it to start anew")


def _is_valid(state: LoopState) -> bool:
    integers = {"measure_at", "group", "earlier_steps"}
    optional = {"color_error", "gradient_error", "worth_measuring"}
    return all(
        _is_number(int if field.name in integers else float, value) or (value is None and field.name in optional)
        for field in fields(state)
        for value in [getattr(state, field.name)]
    )


def _is_number(kind: type, value: object) -> bool:
    return type(value) in (kind, int) and 0 <= value < _MAX_NUMBER  # type: ignore[operator]


def _check_key(path: Path, key: dict[str, Any], stored: dict[str, Any]) -> None:
    stored = current_names({"image": stored.get("picture"), **stored})
    if "tile" in key:  # a mosaic, whose presets had other names once
        stored["preset"] = FORMER_NAMES.get(str(stored.get("preset")), stored.get("preset"))
    elif stored.get("preset") in PRESETS:  # a compact fit, whose key left out at first what is the preset's
        stored = asdict(PRESETS[stored["preset"]]) | stored
    for name, value in key.items():
        if value != stored.get(name):
            raise EorenError(
                f"{path}: belongs to another fit: its {name} is {stored.get(name)!r}, here it is {value!r}; "
                "use the same image and options, or delete it to start anew"
            )
