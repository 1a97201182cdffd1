"""Fuzzing of all readers, see ``python -m tests.fuzz --help``."""
