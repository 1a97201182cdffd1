"""The one exception that callers of EoREN need to know."""


class EorenError(Exception):
    """A mistake that the caller can mend: wrong input, wrong option, damaged file.

    The message is one line that says what is wrong, with the value, and what to do about it. The command line
    prints it to stderr and exits with status 2.
    """
