"""Access to the mosaic of a field, for formats that hold nothing else."""

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic


def mosaic_of(field: Field, format_name: str) -> SirenMosaic:
    """Return the mosaic of SIRENs that a field consists of.

    Args:
        field: the field to export.
        format_name: name of the export format, for the message.

    Raises:
        EorenError: the field has another representation.
    """
    if not isinstance(field.representation, SirenMosaic):
        raise EorenError(f"{format_name} holds mosaics of SIRENs, got a field of kind {field.representation.kind!r}")
    return field.representation
