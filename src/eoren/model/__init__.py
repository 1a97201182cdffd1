"""SIRENs, tilings and channel tuning: what a fitted function is made of.

siren.py           a batch of SIRENs, with derivatives in the forward pass
tiling.py          k-d trees of overlapping tiles, and their blending weights
tile_pixels.py     pixels of every tile, and their local coordinates
channel_tuning.py  the linear map from predictions to colours, by least squares
loss.py            objectives, and the passes of a training step
latent_rate.py     bits of wavelet latents, differentiable
wavelet.py         the CDF 9/7 wavelet transform
latent_features.py images of the details of each level, continued between the pixels
spline_basis.py    quintic splines at any points
color_decoder.py   from features to colours
quantization.py    parameters in 32, 16 or 8 bits
devices.py         devices that PyTorch computes on
"""
