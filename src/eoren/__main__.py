"""``python -m eoren``."""

from eoren.cli import main

main()
