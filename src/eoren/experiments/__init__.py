"""Experiments: several ways of fitting images, compared under one protocol.

- ``methods``: the four ways of fitting that are compared.
- ``trials``: run methods on images and measure the fields during training.
- ``sweep``: many images by every method, at equal epochs and at equal time, resumable.
- ``results``: resumable CSV tables, confidence intervals, Markdown summaries.
- ``progress``: progress reports of work that consists of parts.
- ``comparison``, ``panels``, ``report``: one image by every method, its figures, and the HTML report.
- ``rates``, ``rivals``: compact fields of one image beside image codecs, and the codecs.
- ``datasets``: public images by name, with checksums.
- ``machine``: hardware and versions behind a measurement.
- ``paper``: the figures and tables of arXiv 2209.11697.
"""
