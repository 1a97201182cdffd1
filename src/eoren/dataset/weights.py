"""Weights of a function as one row of numbers, and the function of a row."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.errors import EorenError
from eoren.field.mosaic import SirenMosaic
from eoren.field.representation import Representation
from eoren.field.wavelet_siren import WaveletSiren
from eoren.model.channel_tuning import Tuning
from eoren.model.isolation import isolated


@isolated()
def flatten_weights(function: Representation) -> Float[Tensor, "images parameters"]:
    """Return the weights of each image, with the channel tuning of a network in its last layer."""
    if isinstance(function, WaveletSiren):
        return torch.cat([t.flatten() for t in function.decoder.tensors()])[None]
    assert isinstance(function, SirenMosaic)
    siren, tuning = function.siren, function.tuning
    weights = [*siren.weights[:-1], siren.weights[-1] * tuning.alpha]
    biases = [*siren.biases[:-1], siren.biases[-1] * tuning.alpha + tuning.beta]
    rows = torch.cat([t.flatten(1) for t in (*weights, *biases)], 1)
    return rows.reshape(siren.batch // function.tiling.count, -1)


def with_weights(like: Representation, row: Tensor) -> Representation:
    """Build a function from a row of :func:`flatten_weights`; all but the weights is that of another function."""
    if isinstance(like, WaveletSiren):
        return replace(like, decoder=like.decoder.with_tensors(_split(row, 1, like.decoder.tensors())))
    assert isinstance(like, SirenMosaic)
    siren, ones = like.siren, torch.ones_like(like.tuning.alpha)
    siren = siren.with_tensors(_split(row, siren.batch, siren.tensors()))
    return replace(like, siren=siren, tuning=Tuning(ones, torch.zeros_like(ones)), bits=32)


def _split(row: Tensor, batch: int, like: Sequence[Tensor]) -> list[Tensor]:
    """Split the numbers of a batch of networks, one network after the other, into tensors of the shapes of others."""
    sizes = [tensor.numel() // batch for tensor in like]
    if row.shape != (batch * sum(sizes),):
        raise EorenError(
            f"weights must have shape ({batch * sum(sizes)},), got {tuple(row.shape)}; check the image of like="
        )
    parts = row.to(torch.float32).view(batch, -1).split(sizes, 1)
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
