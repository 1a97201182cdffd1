"""Looking at fields in a browser, and serving them as IIIF images.

exhibits.py  what is on show: fields, their images, ways to look at them
iiif.py      what an address of the IIIF Image API asks for
layers.py    a layer's region as 8-bit pixels, at any zoom
encoding.py  those as the bytes of an answer
tiles.py     answers kept within a limit of memory
server.py    the web application, and the thread it runs in
live.py      a fit while it runs
static/      the page
"""
