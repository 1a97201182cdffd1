"""Exceptions and warnings of EoREN."""


class EorenError(Exception):
    """An error that the caller can fix: invalid input, an invalid option, a damaged file.

    The message is one line that names the problem, the value and the remedy. The command line prints it to stderr
    and exits with status 2.
    """


class ImageError(EorenError):
    """One image cannot be read, or cannot be fitted with these settings; other images of a dataset may succeed."""


class BackendWarning(UserWarning):
    """The slower backend is used; the message names the reason. Emitted once per reason."""


class FitWarning(UserWarning):
    """A problem in a fit that continues. The command line prints it as one line."""


class ShortFitWarning(FitWarning):
    """The time of a fit was far too short for its networks; the message says what they need."""


class SmallFileWarning(FitWarning):
    """The size of a compact field was far too small for its image; the message gives the measured quality."""


class DeprecatedSettingWarning(FitWarning):
    """A setting was given by the name or value of an earlier version; the message gives the new one."""


class DamageWarning(UserWarning):
    """Parts of a damaged file were left out; the message names the first. The command line prints it as one line."""


class SourceWarning(UserWarning):
    """Parts of a source of images were left out; the message names the first. The command line prints it."""


class ExportWarning(UserWarning):
    """An export leaves out a part of the field; the message names it. The command line prints it as one line."""


class DivergenceWarning(FitWarning):
    """Networks diverged during a fit and were reset to an earlier state with a lower learning rate."""


def format_error(error: object) -> str:
    r"""Format an exception or a message as one line of at most 200 characters: some quote a whole file.

    Example:
        >>> format_error(ValueError("two\n  lines")), format_error(EOFError())
        ('two lines', 'EOFError')
    """
    return f"{' '.join(str(error).split()):.200}" or type(error).__name__
