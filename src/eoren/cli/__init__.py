"""The command line. Torch is imported inside the commands: ``eoren --help`` must not wait for it."""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import typer
from typer.exceptions import TyperException

from eoren._version import __version__
from eoren.cli import console
from eoren.cli.commands.compare import compare
from eoren.cli.commands.compose import clone, fill, mix, retouch
from eoren.cli.commands.export import export
from eoren.cli.commands.fit import fit
from eoren.cli.commands.gradient import gradient
from eoren.cli.commands.many import fit_many
from eoren.cli.commands.render import render
from eoren.cli.commands.report import evaluate, info
from eoren.cli.commands.reproduce import reproduce
from eoren.cli.commands.view import view
from eoren.errors import BackendWarning, EorenError, FitWarning

# Where GNU OpenMP runs PyTorch's threads, they wait for each other by spinning for about a millisecond. If another
# program wants the processor, that makes a fit tens of times slower; twenty times less waiting costs nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

app = typer.Typer(
    name="eoren",
    help="Images as small continuous functions whose edges are right.",
    add_completion=False,
    epilog="Exit status: 0 done, 1 an error of eoren itself, 2 refused or impossible (one line), "
    "3 some of many images failed, 130 interrupted.",
    rich_markup_mode=None,  # plain help: half the lines, half the time
    pretty_exceptions_enable=False,
)
for _command in (
    fit,
    fit_many,
    render,
    view,
    evaluate,
    info,
    export,
    gradient,
    mix,
    clone,
    fill,
    retouch,
    compare,
    reproduce,
):
    app.command()(_command)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 refused or impossible, 3 some of many images failed, 130 stopped.

    Args:
        arguments: what follows the program's name; those of the process by default.
    """
    given = sys.argv[1:] if arguments is None else arguments
    usual = warnings.showwarning
    warnings.showwarning = _showing(usual)
    try:
        with console.ending_in_order():
            status = app(given or ["--help"], prog_name="eoren", standalone_mode=False)
    except TyperException as error:
        # A wrong option or a missing argument: one line, like every other mistake.
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "eoren"
        _fail(f"{error.format_message().rstrip('.')}; see {command} --help")
    except EorenError as error:
        _fail(str(error))
    except (MemoryError, RuntimeError, ImportError) as error:
        if not _lacks_memory(error):
            raise
        _fail("not enough memory; close other programs, or ask for less")
    except OSError as error:
        # Files and disks are spoken of where they are read and written. What is left: stdout on a full disk, and
        # disks that fail where none is expected to.
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}; free space, or check the disk and the permissions")
    finally:
        warnings.showwarning = usual
    sys.exit(status if isinstance(status, int) else 0)


def _lacks_memory(error: Exception) -> bool:
    """PyTorch has no exception of its own for memory that the CPU lacks, and neither has what loads libraries."""
    signs = {
        RuntimeError: ("memory", "bad_alloc", "start new thread"),
        ImportError: ("failed to map segment", "allocate memory"),
    }
    return isinstance(error, MemoryError) or any(
        isinstance(error, kind) and any(sign in str(error) for sign in found) for kind, found in signs.items()
    )


def _showing(usual: Callable[..., None]) -> Callable[..., None]:
    """Our own warnings in one line, like every other notice."""

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, BackendWarning | FitWarning):
            console.notice(str(message))
        else:
            usual(message, category, *rest, **more)

    return show


def _fail(message: str) -> NoReturn:
    with suppress(OSError):  # nobody to tell
        console.notice(message)
    # Output that could not be written would be tried again, and complained of, when Python ends.
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            sys.stdout.close()
    sys.exit(2)
