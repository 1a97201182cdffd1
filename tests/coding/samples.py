"""Latents for the tests of coders."""

import numpy as np

from eoren.coding.bands import MAX_LATENT, Latents

KINDS = ("zero", "small", "large", "mixed")


def random_latents(channels, rows, columns, levels, kind="small", seed=0):
    """Latents of one kind: all zero, like those of photographs, up to the limit, or of every order of magnitude."""
    generator, latents = np.random.default_rng(seed), Latents.zeros(channels, rows, columns, levels)
    for band in latents.bands():
        values = generator.laplace(0, 1.5, band.shape)
        if kind == "mixed":
            values *= 10 ** generator.uniform(-1, 6, band.shape)
        if kind == "large":
            values = generator.integers(-MAX_LATENT, MAX_LATENT, band.shape, endpoint=True)
        if kind != "zero":
            band[...] = np.rint(values).clip(-MAX_LATENT, MAX_LATENT)
    return latents


def zeros_like(latents):
    return Latents.zeros(*latents.shape, latents.levels)


def equal(a, b):
    return all(map(np.array_equal, a.bands(), b.bands()))
