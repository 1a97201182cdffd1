"""Wavelet latents: the transform, what continues it between the pixels, and what a fit minimises.

wavelet.py        the CDF 9/7 wavelet transform
spline_basis.py   quintic splines at any points
features.py       images of the details of each level, continued between the pixels
edge_prior.py     the network of details between the pixels, and their weight
color_decoder.py  from features to colours
distortion.py     squared errors of colours and gradients, differentiable
"""
