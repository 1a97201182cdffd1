"""Readers fed with what nobody should write: see ``python -m tests.fuzz --help``."""
