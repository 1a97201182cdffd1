"""The command line ``eoren``.

``commands`` has one module per command; each is a thin adapter to the library, which it imports only when it runs:
``eoren --help`` must not wait for PyTorch. The commands share

- ``options``: arguments and options
- ``files``: checks of input and output files
- ``streams``: standard input and output, and pipes
- ``fitting``: a fit with checkpoint, progress and interruption
- ``page``: the page of the viewer
- ``console``: tables, JSON, notices, progress and log records
- ``signals``: Ctrl-C and SIGTERM
"""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer import Option
from typer.exceptions import TyperException

from eoren._version import __version__
from eoren.cli import console, signals
from eoren.cli.commands.compare import compare
from eoren.cli.commands.compose import clone, fill, mix, retouch
from eoren.cli.commands.evaluate import evaluate
from eoren.cli.commands.export import export
from eoren.cli.commands.fit import fit
from eoren.cli.commands.fit_many import fit_many
from eoren.cli.commands.gradient import gradient
from eoren.cli.commands.info import info
from eoren.cli.commands.render import render
from eoren.cli.commands.reproduce import reproduce
from eoren.cli.commands.view import view
from eoren.errors import BackendWarning, DamageWarning, EorenError, ExportWarning, FitWarning, SourceWarning

app = typer.Typer(
    name="eoren",
    help="Images as small continuous functions whose edges are right.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 success, 1 a bug in eoren, 2 wrong input or not possible (one line on stderr), "
    "3 some of many images failed, 130 interrupted, 141 the reader of a pipe stopped.",
    rich_markup_mode=None,  # plain help: half the lines, half the time
    pretty_exceptions_enable=False,
)
_FIELD_COMMANDS = (fit, fit_many, render, view, evaluate, info, export)
_IMAGE_COMMANDS = (gradient, mix, clone, fill, retouch)
for _command in (*_FIELD_COMMANDS, *_IMAGE_COMMANDS, compare, reproduce):
    # Typer would cut the first sentence at the width of the terminal.
    app.command(short_help=(_command.__doc__ or "").partition("\n")[0])(_command)

_NOTICES = (BackendWarning, DamageWarning, ExportWarning, FitWarning, SourceWarning)
_CLOSED_PIPE = 141  # 128 and the number of SIGPIPE, as shells report it
_session = ExitStack()  # what the options before the command open for it


def _print_version(requested: bool) -> bool:
    if requested:
        print(__version__)
        raise typer.Exit
    return requested


@app.callback()
def _root(
    version: Annotated[
        bool, Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        int, Option("--verbose", "-v", count=True, help="Before the command: log to stderr; -vv includes DEBUG.")
    ] = 0,
) -> None:
    _session.enter_context(console.log_to_stderr(verbose))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit with a status that ``eoren --help`` explains."""
    if arguments is None:
        arguments = sys.argv[1:]
        # GNU OpenMP lets PyTorch's threads wait for each other by spinning for about a millisecond. When another
        # program needs the processor, that makes a fit tens of times slower; twenty times less waiting costs nothing.
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if sys.stderr is None:  # closed: print would write to stdout, and the next file that is opened become stderr
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8", errors="replace")  # noqa: SIM115  until the end
    standard = sys.stdout, sys.stderr
    try:
        with warnings.catch_warnings(), signals.handle_signals(), console.escape_unencodable(), _session:
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            status = app(arguments or ["--help"], prog_name="eoren", standalone_mode=False)
    except BrokenPipeError:
        _end_with_closed_pipe(*standard)
    except SystemExit as error:  # Typer replaces BrokenPipeError by it, and the streams by wrappers
        if isinstance(error.__context__, BrokenPipeError):
            _end_with_closed_pipe(*standard)
        raise
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "eoren"
        _fail(_with_help(error.format_message(), command))
    except EorenError as error:
        _fail(str(error))
    except (MemoryError, RuntimeError, ImportError) as error:
        if not _is_out_of_memory(error):
            raise
        _fail("not enough memory; close other programs, or reduce the size")
    except OSError as error:
        # Errors of files are reported where they are read and written. This is the rest: stdout on a full disk, and
        # unexpected failures of disks.
        path = f"{error.filename}: " if error.filename else ""
        _fail(f"{path}{error.strerror or error}; free space, or check the disk and the permissions")
    sys.exit(status if isinstance(status, int) else 0)


def _with_help(message: str, command: str) -> str:
    """Bring a message of the parser into one line, and name the help of the command."""
    line = " ".join(message.replace("Value error, ", "").split()).rstrip(".")
    return f"{line}{' See' if line.endswith('?') else '; see'} {command} --help"


def _is_out_of_memory(error: Exception) -> bool:
    """Recognise missing memory by its message: neither PyTorch nor the loader of libraries raises MemoryError."""
    if isinstance(error, ImportError):
        messages = ["failed to map segment", "allocate memory"]
    else:
        messages = ["memory", "bad_alloc", "start new thread"]
    return isinstance(error, MemoryError) or any(message in str(error) for message in messages)


def _show_warning(
    show_other: Callable[..., None], message: Warning | str, category: type[Warning], *rest: Any, **more: Any
) -> None:
    if issubclass(category, _NOTICES):
        console.notice(str(message))
    else:
        show_other(message, category, *rest, **more)


def _fail(message: str) -> NoReturn:
    with suppress(OSError):  # stderr may be closed
        console.notice(message)
    _discard_unwritten(sys.stdout)
    sys.exit(2)


def _end_with_closed_pipe(stdout: Any, stderr: Any) -> NoReturn:
    """End in silence, with the status of a program that SIGPIPE ended: the reader of a pipe has what it wants."""
    sys.stdout, sys.stderr = stdout, stderr
    _discard_unwritten(stdout)
    _discard_unwritten(stderr)
    sys.exit(_CLOSED_PIPE)


def _discard_unwritten(stream: Any) -> None:
    """Close a stream that cannot be written: Python would try again when it exits, and print another error."""
    if stream is None:  # the shell started the process with a closed one
        return
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            stream.close()
