"""Browser viewer for fields, with an IIIF Image API server behind it, and a widget for notebooks.

catalog       fields on display, their layers, and the identifiers of both
layers        drawing a region of a layer as 8-bit pixels, at any zoom
edge_profile  values along a line, and the position of the edge on it
iiif          parsing IIIF image requests, building ``info.json``, encoding images
manifest      IIIF manifests, for other viewers
session       what a page shows and may do
tile_cache    encoded tiles in memory, each drawn once however many clients request it
live          progress of a running fit, and control of it
workbench     fitting and editing images from the page
server        the web application and the thread that runs it
notebook      ``eoren.show``
widget        the widget that it returns; widget.js and widget.css draw it in the page of a notebook
static/       the page
"""
