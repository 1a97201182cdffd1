"""Images: reading, writing, and derivatives of their pixels.

arrays         types of arrays that hold images
io             images from files, arrays and Pillow, as float32 arrays with values in [0, 1]
decoders       what decoders of untrusted files share: the result, limits on sizes, one-line errors
pillow_images  Pillow images as samples, and files that Pillow decodes: PNG, JPEG, WebP, AVIF, HEIC, GIF
tiff           TIFF files as samples
channels       meanings of channels: inks, premultiplied alpha, samples whose zero is white
idx            the IDX format of MNIST
profiles       ICC colour profiles: which are kept, conversion to sRGB
writers        writing by rows in constant memory, rounding to integers
gradients      classical stencils scaled to slopes
spline         the reference gradient: the derivative of the quintic spline through the pixels
cell_averages  pixels as averages over their cells
"""
