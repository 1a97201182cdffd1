"""The figures and tables of arXiv 2209.11697.

- ``experiment``: the parts of an experiment, and how it is run.
- ``gma``: Fig. 2, gradients with magnitude adjustment.
- ``natural``: Fig. 7, photographs; ``predictors``: image statistics that may predict which method wins.
- ``mnist``: Fig. 8 and 9, handwritten digits.
- ``composition``: Fig. 10, two images mixed in their gradients.
- ``remedies``: variants of EoREN; ``spatial_tuning``: channel tuning that varies over the image.
- ``figures``: style and elements of the figures.
"""
