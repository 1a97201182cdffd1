"""The command line. Torch is imported inside the commands: ``eoren --help`` must not wait for it."""

import os
import sys

import typer
from typer.exceptions import TyperException

from eoren._version import __version__
from eoren.cli.fit import fit
from eoren.cli.gradient import gradient
from eoren.cli.render import render
from eoren.cli.report import evaluate, info
from eoren.errors import EorenError

# Where GNU OpenMP runs PyTorch's threads, they wait for each other by spinning for about a millisecond. If another
# program wants the processor, that makes a fit tens of times slower; twenty times less waiting costs nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

app = typer.Typer(
    name="eoren",
    help="Images as small continuous functions whose edges are right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (fit, render, evaluate, info, gradient):
    app.command()(_command)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 bad input, 130 interrupted.

    Args:
        arguments: what follows the program's name; those of the process by default.
    """
    try:
        status = app(arguments, prog_name="eoren", standalone_mode=False)
    except TyperException as error:
        # A wrong option or a missing argument: one line, like every other mistake.
        _fail(f"{_one_line(error.format_message())} (see eoren --help)")
    except EorenError as error:
        _fail(_one_line(str(error)))
    except (KeyboardInterrupt, typer.Abort):
        print("eoren: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except MemoryError:
        _fail("not enough memory; close other programs, or ask for a smaller output")
    sys.exit(status if isinstance(status, int) else 0)


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _fail(message: str) -> None:
    print(f"eoren: {message}", file=sys.stderr)
    sys.exit(2)
