"""What callers of EoREN need to know of what goes wrong."""


class EorenError(Exception):
    """A mistake that the caller can mend: wrong input, wrong option, damaged file.

    The message is one line that says what is wrong, with the value, and what to do about it. The command line
    prints it to stderr and exits with status 2.
    """


class PictureError(EorenError):
    """One image that cannot be read, or not fitted with these settings. Others may do well."""


class EngineWarning(UserWarning):
    """The slower engine does the work: what stands in the faster one's way. Said once."""


class FitWarning(UserWarning):
    """Something went wrong in a fit that goes on all the same. The command line prints it in one line."""


class DivergenceWarning(FitWarning):
    """Networks of a fit diverged, and went on from an earlier state with a lower rate."""
