"""The state of a fit under way, in a file from which it goes on bit for bit."""

import json
from dataclasses import asdict, astuple, dataclass
from math import inf
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from eoren._version import __version__
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
        """For JSON. How many bits the file will have is no matter: training does not know."""
        settings = {name: value for name, value in self.settings.as_dict().items() if name != "bits"}
        return {"eoren version": __version__, **settings, "seed": self.seed, "picture": self.source_sha256}


@dataclass(frozen=True)
class Standing:
    """What a run knows besides its trainer's state.

    Attributes:
        seconds: that it has taken.
        color_error: running estimate, or none.
        gradient_error: running estimate, or none.
        worth_measuring: the estimated PSNR from which on it measures whether the target is reached, or none.
    """

    seconds: float
    color_error: float | None = None
    gradient_error: float | None = None
    worth_measuring: float | None = None


def write_checkpoint(path: Path, trainer: Trainer, identity: Identity, standing: Standing) -> None:
    """Store a trainer's state; a kill leaves the previous checkpoint, or this one, whole."""
    tensors = {str(i): t.detach().cpu().contiguous() for i, t in enumerate(trainer.state())}
    header = {"identity": identity.as_dict(), "steps": trainer.steps_done, "standing": asdict(standing)}
    data = save_tensors(tensors, {_KEY: json.dumps(header)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def restore_checkpoint(path: Path, trainer: Trainer, identity: Identity) -> Standing:
    """Put a stored state into a fresh trainer of the same fit.

    Returns:
        How the fit stood.

    Raises:
        EorenError: the file is damaged, or belongs to another fit: the message names what differs.
    """
    damaged = EorenError(f"{path}: not a checkpoint of eoren, or damaged; delete it to start anew")
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads(stored.metadata()[_KEY])
            _compare(path, identity.as_dict(), dict(header["identity"]))
            steps, standing = header["steps"], Standing(**header["standing"])
            tensors = [stored.get_tensor(str(i)) for i in range(len(trainer.state()))]
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        raise damaged from None
    like = [(t.shape, t.dtype) for t in trainer.state()]
    numbers = [number for number in astuple(standing) if number is not None]
    whole = type(steps) is int and steps >= 0 and isinstance(standing.seconds, int | float)
    if (
        not whole
        or not all(isinstance(n, int | float) and 0 <= n < inf for n in numbers)
        or [(t.shape, t.dtype) for t in tensors] != like
    ):
        raise damaged
    trainer.restore(tensors, steps)
    return standing


def _compare(path: Path, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name in mine:
        if mine[name] != theirs.get(name):
            raise EorenError(
                f"{path}: belongs to another fit: its {name} is {theirs.get(name)!r}, here it is {mine[name]!r}; "
                "use the same picture and options, or delete it to start anew"
            )
