"""Printing: control characters in text of others are escaped, and closed standard streams are tolerated."""

from __future__ import annotations

import os
from typing import Any

import typer

from callgate.batch.display.text import printable

__all__ = ["occupy_closed_streams", "write_json", "write_line"]


def write_line(text: str, *, err: bool = False, color: str | None = None) -> None:
    """Print a line on stdout, or on stderr with `err`; nothing where that stream is closed."""
    typer.secho(printable(text), err=err, fg=color)


def write_json(value: Any) -> None:
    """Print a value as indented JSON on stdout. The escapes of `printable` are those of JSON."""
    import orjson

    write_line(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def occupy_closed_streams() -> None:
    """Open /dev/null at each standard descriptor that is closed, so that no socket or file gets its number.

    `sys.stdin`, `sys.stdout` and `sys.stderr` stay None there, which marks them as closed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)
