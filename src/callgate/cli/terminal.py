"""Printing: control characters in text of others are escaped, and closed standard streams are tolerated."""

from __future__ import annotations

import os
import re
from typing import Any

import typer

__all__ = ["occupy_closed_streams", "printable", "write_json", "write_line"]

# Control characters, and those that reorder text. A line break separates lines and is kept.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with control characters as escapes, so that a terminal shows them and does not obey them.

    >>> printable("no \x1b]0;title\x07 such model")
    'no \\u001b]0;title\\u0007 such model'
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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
