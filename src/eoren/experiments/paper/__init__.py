"""The figures and tables of arXiv 2209.11697."""
