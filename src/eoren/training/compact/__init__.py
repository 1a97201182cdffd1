"""Fitting of compact fields: wavelet latents and a color decoder.

settings.py   settings and presets
analysis.py   wavelet coefficients of an image, and what their errors are worth
rounding.py   integer latents by rate and distortion, and the search for a step
start.py      the field before a descent, which meets a size or a quality
descent.py    gradient descent on the latents of one block
loop.py       the descents of all blocks within a budget, watched and resumed
color_fit.py  the color decoder by least squares and gradient descent
finish.py     the last rounding, which meets the size or quality again
fit.py        from the image to the result
"""
