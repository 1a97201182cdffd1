"""The numbers of an image in a store as one row, and fields from such rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Shaped

from eoren.errors import EorenError
from eoren.field.mosaic import SirenMosaic
from eoren.field.representation import Representation
from eoren.field.wavelet_siren import WaveletSiren
from eoren.model.arrays import Array, as_numpy, cast, namespace
from eoren.model.channel_tuning import Tuning


def flatten_weights(function: Representation) -> Float[np.ndarray, "images parameters"]:
    """Return the weights of each image, with the channel tuning of a network in its last layer."""
    if isinstance(function, WaveletSiren):
        return np.concatenate([as_numpy(t).ravel() for t in function.decoder.tensors()])[None]
    assert isinstance(function, SirenMosaic)
    siren, alpha, beta = function.siren, as_numpy(function.tuning.alpha), as_numpy(function.tuning.beta)
    weights, biases = [*map(as_numpy, siren.weights)], [*map(as_numpy, siren.biases)]
    weights[-1], biases[-1] = weights[-1] * alpha, biases[-1] * alpha + beta
    rows = np.concatenate([t.reshape(siren.batch, -1) for t in (*weights, *biases)], 1)
    return rows.reshape(siren.batch // function.tiling.count, -1)


def with_weights(like: Representation, row: Shaped[Array, " parameters"]) -> Representation:
    """Build a function from a row of :func:`flatten_weights`; all but the weights is that of another function."""
    if isinstance(like, WaveletSiren):
        return replace(like, decoder=like.decoder.with_tensors(_split(row, 1, like.decoder.tensors())))
    assert isinstance(like, SirenMosaic)
    siren = like.siren.with_tensors(_split(row, like.siren.batch, like.siren.tensors()))
    zeros = namespace(row).zeros_like(siren.biases[-1])
    return replace(like, siren=siren, tuning=Tuning(zeros + 1, zeros), bits=32)


def _split(row: Array, batch: int, like: Sequence[Array]) -> list[Array]:
    """Split the numbers of a batch of networks, one network after the other, into arrays of the shapes of others."""
    ends = np.cumsum([0, *(tensor.size // batch for tensor in map(as_numpy, like))])
    if tuple(row.shape) != (batch * ends[-1],):
        raise EorenError(
            f"weights must have shape ({batch * ends[-1]},), got {tuple(row.shape)}; check the image of like="
        )
    rows = cast(row, "float32").reshape(batch, -1)
    return [rows[:, a:b].reshape(tensor.shape) for a, b, tensor in zip(ends[:-1], ends[1:], like, strict=True)]
