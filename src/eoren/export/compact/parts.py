"""What all exports of a compact field share: its features, color decoder and details, in their simplest form."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.backends.dispatch import choose_latent_evaluator
from eoren.backends.latents.prior import DetailFeatures
from eoren.field.wavelet_siren import WaveletSiren
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.features import LatentFeatures


class Parts(NamedTuple):
    """Features of a field, and what makes colours of them: ``1/2 + features @ linear + SIREN(features)``.

    Attributes:
        features: features, from latents; their matrices have the quantisation steps.
        linear: ``(F, C)``, the linear part of the color decoder.
        layers: weights and biases of its SIREN, ``(inputs, outputs)`` and ``(outputs,)``; gains and frequencies are
            factors of the weights. Empty without a SIREN.
        details: details that the edge prior adds between the pixels; None without an edge prior.
    """

    features: LatentFeatures
    linear: Float[Tensor, "features channels"]
    layers: tuple[tuple[Float[Tensor, "inputs outputs"], Float[Tensor, " outputs"]], ...]
    details: DetailFeatures | None


def parts_of(field: WaveletSiren) -> Parts:
    """Take a field apart, on the CPU in float32.

    Without a SIREN, the linear part goes into the features: one feature image for each channel.
    """
    field = field.to("cpu")
    decoder, details = field.decoder, None
    if field.prior:
        backend = choose_latent_evaluator(decoder)
        details = DetailFeatures.of(backend, field.features, decoder, field.prior)
    features = field.features.as_tensors(decoder.linear)
    if decoder.siren is None:
        identity = torch.eye(decoder.linear.shape[1], dtype=decoder.linear.dtype)
        return Parts(features.mixed(decoder.linear), identity, (), details)
    return Parts(features, decoder.linear, tuple(_layers(decoder)), details)


def _layers(decoder: ColorDecoder) -> Iterator[tuple[Tensor, Tensor]]:
    siren = decoder.siren
    assert siren is not None
    gains = decoder.gains()[:, None]
    for number, (weight, bias) in enumerate(zip(siren.weights, siren.biases, strict=True)):
        omega = (*siren.omegas, 1.0)[number]
        yield omega * (weight[0] if number else gains * weight[0]), omega * bias[0, 0]
