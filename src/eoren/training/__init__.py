"""Fitting a field to an image; the package compact fits wavelet latents, the other modules networks.

fit.py             fit(): from an image, or a gradient field, to a field with its quality
result.py          what a fit approximates, reports and returns
settings.py        settings of a fit of networks, and the checks of their values
presets.py         named sets of settings, of both kinds
loop.py            the loop of one fit: groups of tiles, running estimates, checkpoints
plan.py            estimate of time and size before a fit, and a warning if its time was far too short
budget.py          limits in steps and seconds, and the plain loop for batches of images
checkpoint.py      files from which a fit resumes bit for bit
trainer.py         one step of a batch of networks
tile_scheduler.py  selection of the tiles that a step trains
divergence.py      rollback of networks that diverge
assembly.py        tiles and initial networks of an image, and the field of trained networks
"""
