"""Fitting of compact fields: wavelet latents and a color decoder.

Modules, from the bottom up:

- ``settings``: settings and presets.
- ``analysis``: wavelet coefficients of an image, and what their errors are worth.
- ``rounding``: integer latents by rate and distortion, and the step that meets a size or a quality.
- ``fit``: from the image to the result.
"""
