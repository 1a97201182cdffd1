"""Evaluation of compact fields: splines of the features, window by window, then the color decoder.

base.py     the LatentEvaluator protocol
torch.py    the evaluator in PyTorch
native.py   the native evaluator
windows.py  windows of an image, and what is kept of recently used ones
"""
