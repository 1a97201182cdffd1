"""Derivatives, errors and curves as images for people to look at.

derivatives  gradients and Laplacians as images on fixed scales, and as files
colormaps    gradient directions and errors as colours, on scales that several images can share
resampling   enlarging and reducing images
plots        line plots as inline SVG
"""
