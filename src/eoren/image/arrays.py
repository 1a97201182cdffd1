"""Types of arrays that hold images."""

import numpy as np
from jaxtyping import Float

Image = Float[np.ndarray, "height width channels"]
"""Colours, float32 or float64: 1 channel gray, 2 gray and alpha, 3 RGB, 4 RGBA."""

Gradient = Float[np.ndarray, "height width channels 2"]
"""Derivatives of an image by x and y, last axis ``(d/dx, d/dy)``."""
