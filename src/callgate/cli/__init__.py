"""The command `callgate`: one file a command. A command only parses, calls and prints.

Each command's module imports nothing but typer at its top and the rest when it is run, so that
`callgate --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import typer

from callgate.cli.cache import cache_app
from callgate.cli.messages import explain
from callgate.cli.report import report
from callgate.cli.run import run
from callgate.cli.simulate import simulate
from callgate.cli.terminal import occupy_closed_streams, write_line
from callgate.errors import CallgateError

__all__ = ["app", "main"]

_INTERRUPTED = 130
_READER_LEFT = 141  # as the shell tells of a program that a closed pipe has ended
# What writing to a full disk, a closed pipe or a terminal that has gone raises.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EDQUOT, errno.EFBIG})

app = typer.Typer(
    name="callgate",
    help="Many calls to rate-limited APIs: as fast as the quota allows, never faster, nothing paid twice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(report)
app.command()(simulate)
app.add_typer(cache_app)


def _version(asked: bool) -> None:
    if asked:
        # Reading the package's metadata takes longer than everything else `--help` does.
        from importlib.metadata import version

        typer.echo(f"callgate {version('callgate')}")
        raise typer.Exit


@app.callback()
def _callgate(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and end."
    ),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Instead of the program's own, without its name.

    Returns:
        The exit code: 0 done, 1 some rows failed, 2 wrong usage or input, or nothing can be printed, 3 the
        budget is used up, 130 interrupted, 141 whoever reads what is printed has left.
    """
    occupy_closed_streams()
    try:
        code = app(None if arguments is None else list(arguments), standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.Abort:
        return _INTERRUPTED
    except typer.TyperException as error:  # wrong usage
        return _complain(error.format_message())
    except CallgateError as error:
        return _complain(explain(error))
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        return _give_up_stdout(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


def _give_up_stdout(error: OSError) -> int:
    """One line on stderr, unless the reader has simply left; and nothing more at the interpreter's end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return _READER_LEFT
    return _complain(f"standard output: cannot be written: {error.strerror}")


def _complain(message: str) -> int:
    """One line on stderr, and the exit code for wrong usage or input."""
    line = " ".join(message.split())
    write_line(f"callgate: {line}" if line else "callgate: wrong usage; see callgate --help", err=True)
    return 2
