"""Reading and writing of .eoren files, see :mod:`eoren.field.file_format`."""

from typing import TYPE_CHECKING

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.file_format import decode, encode, refusing_damage
from eoren.fs.safetensors_layout import read_metadata
from eoren.fs.streams import Readable, Writable, open_input
from eoren.model.isolation import isolated

if TYPE_CHECKING:
    import torch


def save(field: Field, path: Writable) -> None:
    """Write a field to a path or a binary file object, see :meth:`eoren.Field.save`."""
    field.save(path)


def load(path: Readable, *, device: "torch.device | str | None" = None, skip_damaged: bool = False) -> Field:
    """Read a field from a file.

    Args:
        path: path of an .eoren file, its bytes, or a binary file object, which is read to its end and stays open.
        device: device that PyTorch keeps the field on; by default it is read without PyTorch, see :meth:`.Field.to`.
        skip_damaged: whether to read a compact field whose blocks are damaged in part: those become gray, with a
            :class:`eoren.errors.DamageWarning`.

    Raises:
        EorenError: the file is missing, damaged, not an .eoren file, or of a newer version.

    Example:
        >>> import eoren, io, numpy as np
        >>> file = io.BytesIO()
        >>> eoren.save(eoren.fit(np.eye(16), preset="fast").field, file)
        >>> eoren.load(file.getvalue()).size
        (16, 16)
    """
    with open_input(path) as (file, size, name):
        try:
            with refusing_damage():
                read_metadata(file, size)
            file.seek(0)
            field = loads(file.read(size), skip_damaged=skip_damaged)
            return field if device is None else field.to(device)
        except EorenError as error:
            raise EorenError(f"{name}: {error}") from None


@isolated()
def dumps(field: Field) -> bytes:
    """Encode a field as the bytes of its file: the same field gives the same bytes."""
    return encode(field.representation, field.provenance)


@isolated()
def loads(data: bytes, *, skip_damaged: bool = False) -> Field:
    """Decode the bytes of a file as :func:`load` does; an EorenError if they are damaged, foreign, or newer."""
    return Field(*decode(data, skip_damaged=skip_damaged))
