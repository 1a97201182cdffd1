"""Pictures put together in their gradients.

operands.py    what is put together: images and fields, brought to one size and the same channels
operations.py  mix, clone, fill: which gradient field, and which colours are known
retouching.py  flatten light, boost detail, denoise edges
poisson.py     the exact least-squares colours of a gradient field
multigrid.py   the solver of its equations inside a mask
network.py     the paper's way: a network fitted to the gradient field alone
"""
