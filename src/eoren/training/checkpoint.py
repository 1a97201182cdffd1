"""The state of a fit under way, in a file from which it goes on bit for bit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.fs.files import atomic_path, open_regular
from eoren.fs.safetensors_layout import check_file
from eoren.training.settings import Settings

_KEY = "eoren-checkpoint"
# No count and no time is larger: what is becomes neither a float nor a seed.
_MOST = 2**53


@dataclass(frozen=True)
class CheckpointKey:
    """What a checkpoint must have in common with the fit that takes it up.

    Attributes:
        settings: of the fit.
        seed: of the fit.
        source_sha256: of its image.
    """

    settings: Settings
    seed: int
    source_sha256: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON. How many bits the file will have is no matter, unless size or end of the fit follow from it."""
        settings = self.settings.as_dict()
        bits = {"bits": settings.pop("bits")}
        if self.settings.bits_per_pixel is None and self.settings.until_psnr is None:
            bits = {}
        return {"eoren version": __version__, **settings, "seed": self.seed, "picture": self.source_sha256, **bits}


@dataclass(frozen=True)
class LoopState:
    """What a run knows besides its networks.

    Attributes:
        seconds: that it has taken.
        color_error: running estimate, or none.
        gradient_error: running estimate, or none.
        worth_measuring: the estimated PSNR from which on it measures whether the target is reached, or none.
        measure_at: the step from which on it measures that, where there is no estimate.
        group: of tiles that is being trained; those before are finished.
        group_started: the run's seconds when it came to this group.
        earlier_steps: of the groups before, times their tiles.
    """

    seconds: float
    color_error: float | None = None
    gradient_error: float | None = None
    worth_measuring: float | None = None
    measure_at: int = 0
    group: int = 0
    group_started: float = 0.0
    earlier_steps: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        standing: of the run.
        steps: made in the group that is being trained.
        state: of that group's trainer.
        finished: parameters of all networks of the groups before.
    """

    standing: LoopState
    steps: int
    state: Sequence[torch.Tensor]
    finished: Sequence[torch.Tensor] = ()


def write_checkpoint(path: Path, identity: CheckpointKey, checkpoint: Checkpoint) -> None:
    """Store how a run stands; a kill leaves the previous checkpoint, or this one, whole."""
    tensors = {str(i): t for i, t in enumerate(checkpoint.state)}
    tensors |= {f"finished.{i}": t for i, t in enumerate(checkpoint.finished)}
    header = {
        "identity": identity.as_dict(),
        "steps": checkpoint.steps,
        "standing": asdict(checkpoint.standing),
    }
    stored = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    data = save_tensors(stored, {_KEY: json.dumps(header)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_checkpoint(path: Path, identity: CheckpointKey) -> Checkpoint:
    """What a checkpoint of the same fit holds.

    Raises:
        EorenError: the file is damaged, or belongs to another fit: the message names what differs.
    """
    try:
        with open_regular(path) as (file, size):
            check_file(file, size)
        with safe_open(path, framework="pt") as stored:
            header = json.loads(stored.metadata()[_KEY])
            _compare(path, identity.as_dict(), dict(header["identity"]))
            steps, standing = header["steps"], LoopState(**header["standing"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError):
        raise damaged(path) from None
    if not (_is_number(int, steps) and _is_sound(standing)):
        raise damaged(path)
    return Checkpoint(standing, steps, _series(tensors, ""), _series(tensors, "finished."))


def check_like(path: Path, found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    """Refuse a checkpoint whose tensors are not of the types and shapes that the run has.

    Raises:
        EorenError: so.
    """
    if [(t.shape, t.dtype) for t in found] != [(t.shape, t.dtype) for t in expected]:
        raise damaged(path)


def damaged(path: Path) -> EorenError:
    """What to say of a checkpoint that cannot be one."""
    return EorenError(f"{path}: not a checkpoint of eoren, or damaged; delete it to start anew")


def _series(tensors: Mapping[str, torch.Tensor], prefix: str) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    while (name := f"{prefix}{len(found)}") in tensors:
        found.append(tensors[name])
    return found


def _is_sound(standing: LoopState) -> bool:
    whole = {"measure_at", "group", "earlier_steps"}
    optional = {"color_error", "gradient_error", "worth_measuring"}
    return all(
        _is_number(int if field.name in whole else float, value) or (value is None and field.name in optional)
        for field in fields(standing)
        for value in [getattr(standing, field.name)]
    )


def _is_number(kind: type, value: object) -> bool:
    return type(value) in (kind, int) and 0 <= value < _MOST  # type: ignore[operator]


def _compare(path: Path, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name in mine:
        if mine[name] != theirs.get(name):
            raise EorenError(
                f"{path}: belongs to another fit: its {name} is {theirs.get(name)!r}, here it is {mine[name]!r}; "
                "use the same image and options, or delete it to start anew"
            )
