"""Composition of images in the gradient domain.

operations.py  mix, clone, fill: define a target gradient field and the known colours
retouching.py  flatten light, boost detail, denoise
operands.py    load images, fields and masks; match their sizes and channels
poisson.py     least-squares colours of a gradient field
multigrid.py   iterative solver of the Poisson equation inside a mask
"""
