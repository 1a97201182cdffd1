"""Fitting of compact fields: wavelet latents and a color decoder.

settings.py      settings and presets
analysis.py      wavelet coefficients of an image, and what their errors are worth
rounding.py      integer latents by rate and distortion
solving.py       the step or price at which a size or a quality is met
start.py         the field before the refinement, which meets a size or a quality
window.py        the distortion as a function of the latents of one block
refinement.py    rounding around coefficients that make up for the errors of other latents
loop.py          the refinement of all blocks within a budget, watched and resumed
color_fit.py     the color decoder by least squares and gradient descent
finish.py        the color decoder, and the last rounding, which meets the size or quality again
prior_choice.py  whether the edge prior helps with an image
fit.py           from the image to the result
"""
