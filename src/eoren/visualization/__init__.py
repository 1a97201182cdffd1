"""How numbers become images that people can look at.

derivatives.py  gradients and Laplacians on scales that do not change with the image, as images and files
maps.py         derivatives and errors as colours, on scales that several images share
svg.py          curves
"""
