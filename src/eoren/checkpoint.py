"""The state of a fit under way, in a file from which it goes on bit for bit."""

import json
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from eoren.errors import EorenError
from eoren.files import atomic_path
from eoren.presets import Settings
from eoren.training import Trainer

_KEY = "eoren-checkpoint"


@dataclass(frozen=True)
class Identity:
    """What a checkpoint must have in common with the fit that takes it up.

    Attributes:
        settings: of the fit.
        seed: of the fit.
        source_sha256: of its picture.
    """

    settings: Settings
    seed: int
    source_sha256: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.settings.as_dict(), "seed": self.seed, "picture": self.source_sha256}


def write_checkpoint(path: Path, trainer: Trainer, identity: Identity, seconds: float) -> None:
    """Store a trainer's state; a kill leaves the previous checkpoint, or this one, whole."""
    tensors = {str(i): t.detach().cpu().contiguous() for i, t in enumerate(trainer.state())}
    header = {"identity": identity.as_dict(), "steps": trainer.steps_done, "seconds": seconds}
    data = save_tensors(tensors, {_KEY: json.dumps(header)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def restore_checkpoint(path: Path, trainer: Trainer, identity: Identity) -> float:
    """Put a stored state into a fresh trainer of the same fit.

    Returns:
        The seconds that the fit had taken.

    Raises:
        EorenError: the file is damaged, or belongs to another fit: the message names what differs.
    """
    damaged = EorenError(f"{path}: not a checkpoint of eoren, or damaged; delete it to start anew")
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads(stored.metadata()[_KEY])
            theirs, steps, seconds = header["identity"], header["steps"], header["seconds"]
            _compare(path, identity.as_dict(), dict(theirs))
            tensors = [stored.get_tensor(str(i)) for i in range(len(trainer.state()))]
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        raise damaged from None
    like = [(t.shape, t.dtype) for t in trainer.state()]
    whole = type(steps) is int and steps >= 0 and isinstance(seconds, int | float) and 0 <= seconds < inf
    if not whole or [(t.shape, t.dtype) for t in tensors] != like:
        raise damaged
    trainer.restore(tensors, steps)
    return float(seconds)


def _compare(path: Path, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name in mine:
        if mine[name] != theirs.get(name):
            raise EorenError(
                f"{path}: belongs to another fit: its {name} is {theirs.get(name)!r}, here it is {mine[name]!r}; "
                "use the same picture and options, or delete it to start anew"
            )
