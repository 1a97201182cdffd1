"""Numerical backends: PyTorch and the native engine behind one interface."""
