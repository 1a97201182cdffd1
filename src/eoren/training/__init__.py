"""Fitting one image: settings, training loop, checkpoints."""
