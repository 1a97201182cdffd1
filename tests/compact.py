"""Pictures and compact fields that tests share."""

import numpy as np

from eoren.field.wavelet_siren import WaveletSiren
from eoren.training.compact.analysis import analyze_image, step_offsets
from eoren.training.compact.finish import linear_decoder
from eoren.training.compact.rounding import round_coefficients


def picture(height, width, channels, seed=0):
    """Draw a float32 picture in [0, 1]: waves, an edge, and a little noise; channels resemble each other."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    base = 0.5 + 0.2 * np.sin(x / 7 + y / 11) + 0.15 * (x + 0.6 * y > 0.7 * width)
    planes = [base + 0.05 * np.sin(x / (3 + c)) + 0.01 * rng.normal(size=base.shape) for c in range(channels)]
    return np.clip(np.stack(planes, -1), 0, 1).astype(np.float32)


def rounded_field(image, step):
    """Round an image to latents; its decoder is the inverse colour transform."""
    height, width, channels = image.shape
    coefficients = analyze_image(image)
    offsets = step_offsets(coefficients.levels, channels, 0.1)
    latents = round_coefficients(coefficients, step, offsets)
    decoder, exponents = linear_decoder(channels, coefficients.levels, step)
    return WaveletSiren(latents, width, height, step, offsets, decoder, exponents)
