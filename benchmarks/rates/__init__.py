"""Rate-distortion curves of fields and of image codecs. `python -m benchmarks.rates --help`.

rivals.py    image codecs: encode, decode, measure in colour and gradient
fields.py    fits of this library, measured from their files
rows.py      the file of measurements, to which runs append
bd_rate.py   curves through the points of a codec, and the Bjøntegaard difference of two curves
summary.py   means over the pictures as Markdown tables and a figure
"""
