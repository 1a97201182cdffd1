"""Commands that show a page."""

import re


def printed_address(process):
    """Read the address that a command prints."""
    for line in process.stderr:
        if match := re.search(r"the page is at (http://\S+)", line):
            return match[1]
    raise AssertionError(f"no address; exit status {process.wait()}")
