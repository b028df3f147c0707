"""The command `callgate`: a file for each command, which reads options, calls the library and prints.

A command's module imports little at its top and the rest when the command runs, so that `callgate --help`
is fast.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

import typer
from typer.main import get_command

from callgate.cli.cache import cache_app
from callgate.cli.config import project_options
from callgate.cli.messages import explain
from callgate.cli.models import models
from callgate.cli.report import report
from callgate.cli.run import run
from callgate.cli.simulate import simulate
from callgate.cli.terminal import occupy_closed_streams, write_line
from callgate.errors import CallgateError, InputError

__all__ = ["app", "main"]

_INTERRUPTED = 130
_READER_LEFT = 141  # what a shell reports for a program that a closed pipe has ended
# Raised by writing to a full disk, a closed pipe or a terminal that is gone.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EDQUOT, errno.EFBIG})

# A long word with digits in a wrong place of the command line may be a key.
_LIKE_A_KEY = re.compile(r"\b(?=[\w-]*\d)([\w-]{4})[\w-]{12,}")

app = typer.Typer(
    name="callgate",
    help="Make many calls to rate-limited LLM APIs: as fast as the quota allows, paying for nothing twice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(report)
app.command()(models)
app.command()(simulate)
app.add_typer(cache_app)

# A call of `app` makes its command again, which takes longer than a short run.
_command = lru_cache(get_command)


def _version(asked: bool) -> None:
    if asked:
        # Imported late: it takes longer than everything else that `--help` needs.
        from importlib.metadata import version

        typer.echo(f"callgate {version('callgate')}")
        raise typer.Exit


@app.callback()
def _callgate(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version.", metavar=" "
    ),
) -> None:
    if context.invoked_subcommand in ("run", "cache"):
        options = project_options()
        context.default_map = {"run": options, "cache": {"explain": options}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Instead of the program's own, without its name.

    Returns:
        The exit code: 0 done, 1 some rows failed, 2 wrong usage or input, or stdout cannot be written, 3 the
        budget is spent, 130 interrupted, 141 the reader of stdout has closed it.
    """
    occupy_closed_streams()
    try:
        given = None if arguments is None else list(arguments)
        code = _command(app)(given, prog_name="callgate", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.Abort:
        return _INTERRUPTED
    except typer.TyperException as error:  # wrong usage; without a message, the help has been printed
        return _print_error(_LIKE_A_KEY.sub(r"\1...", error.format_message()) + _origin(error))
    except InputError as error:  # may name several rows, each on a line of its own
        return _print_error(*explain(error).splitlines())
    except CallgateError as error:
        return _print_error(explain(error))
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        return _give_up_stdout(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


def _origin(error: typer.TyperException) -> str:
    """Where a wrong value comes from, if not from the command line."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None or parameter is None or parameter.name is None:
        return ""
    source = context.get_parameter_source(parameter.name)
    if source is not None and source.name == "ENVIRONMENT":
        return f" ({parameter.envvar} in the environment)"
    return (
        " (in the job file or callgate.toml)" if source is not None and source.name == "DEFAULT_MAP" else ""
    )


def _give_up_stdout(error: OSError) -> int:
    """Report that stdout cannot be written, unless its reader closed it; the interpreter's last flush is kept
    from failing."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return _READER_LEFT
    return _print_error(f"standard output: cannot be written: {error.strerror}")


def _print_error(*lines: str) -> int:
    """Print lines on stderr; returns the exit code for wrong usage or input."""
    for number, line in enumerate(lines):
        text = " ".join(line.split())
        if text:
            write_line(f"{'  ' if number else 'callgate: '}{text}", err=True)
    return 2
