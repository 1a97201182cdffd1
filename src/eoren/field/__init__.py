"""The field: an image as a continuous function, and its file.

field.py           the Field: colour and derivatives at points, rendering, saving
representation.py  the interface of the function itself
mosaic.py          the mosaic of SIRENs, the one representation today
schema.py          checks of a stored mosaic
file_format.py     bytes of an .eoren file, and its checksums
serialization.py   reading and writing of files
provenance.py      origin and quality of a field
grid.py            grids of sample points
"""
