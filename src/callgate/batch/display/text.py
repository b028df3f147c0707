"""Text of others made fit for a terminal: without control characters, and in one line."""

from __future__ import annotations

import re

__all__ = ["one_line", "printable"]

_LONGEST = 300
# Control characters, and those that reorder text. A line break separates lines and is kept.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with control characters as escapes, so that a terminal shows them and does not obey them.

    >>> printable("no \x1b]0;title\x07 such model")
    'no \\u001b]0;title\\u0007 such model'
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The text in one line, cut off after 300 characters.

    >>> one_line("no\\n   key")
    'no key'
    """
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
