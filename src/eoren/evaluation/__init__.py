"""Measuring how well a field reproduces an image and its gradient.

metrics.py  PSNR, PSNR in 8 bits, gradient PSNR and SSIM, of one field and of batches of images
"""
