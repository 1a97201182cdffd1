"""Compact fields: evaluation by splines of the features, window by window, and what a fit minimises.

base.py               the LatentEvaluator protocol
torch.py              the evaluator in PyTorch
native.py             the native evaluator
prior.py              the evaluator of fields with an edge prior
windows.py            windows of an image, and what is kept of recently used ones
native_distortion.py  errors of wavelet coefficients and their gradient, native
"""
