"""How numbers become pictures that people can look at.

derivatives.py  gradients and Laplacians on scales that do not change with the picture, as pictures and files
maps.py         derivatives and errors as colours, on scales that several pictures share
svg.py          curves
"""
