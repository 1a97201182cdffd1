"""SIRENs, tilings, channel tuning and latents: what a fitted function is made of.

arrays.py          NumPy arrays and PyTorch tensors alike
siren.py           a batch of SIRENs, with derivatives in the forward pass
tiling.py          k-d trees of overlapping tiles, and their blending weights
tile_pixels.py     pixels of every tile, and their local coordinates
channel_tuning.py  the linear map from predictions to colours
moments.py         its least squares
loss.py            objectives, and the passes of a training step
latents            wavelet latents, and colours from them
quantization.py    parameters in 32, 16 or 8 bits
devices.py         devices that PyTorch computes on
isolation.py       isolation from modes of PyTorch that a caller has switched on
"""
