"""The field: an image as a continuous function, and its file.

field.py           the Field: colour and derivatives at points, rendering, saving
tensors.py         its evaluation at tensors of points
representation.py  the interface of the function itself
mosaic.py          the mosaic of SIRENs
wavelet_siren.py   wavelet latents with a color decoder: the compact field
schema.py          checks of a stored mosaic
file_format.py     bytes of an .eoren file, whatever it holds
parts.py           files of mosaics, versions 1 and 2, and their checksums
wavelet_file.py    files of compact fields, version 3
serialization.py   reading and writing of files
provenance.py      origin and quality of a field
grid.py            points, and grids of sample points
"""
