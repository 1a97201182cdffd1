"""Images: reading, writing, and derivatives of their pixels.

arrays         types of arrays that hold images
io             images from files, arrays and Pillow, as float32 arrays with values in [0, 1]
decoders       decoding of image files from untrusted sources
idx            the IDX format of MNIST
writers        writing by rows in constant memory, rounding to integers
gradients      classical stencils scaled to slopes
spline         the reference gradient: the derivative of the quintic spline through the pixels
cell_averages  pixels as averages over their cells
"""
