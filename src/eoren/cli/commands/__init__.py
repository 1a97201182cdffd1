"""One module per command.

The modules compare, evaluate, export, fit, fit_many, gradient, info, render, reproduce and view hold the command of
their name; compose holds mix, clone, fill and retouch.
"""
