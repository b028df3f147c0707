"""Lines at the bottom of a terminal, redrawn in place, also after the terminal is resized."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from callgate.batch.display.text import printable

__all__ = ["Item", "Screen", "cells", "terminal_size", "wrap"]

_STYLES = {"": "", "dim": "2", "red": "31", "cyan": "36", "yellow": "1;33"}
_GAP = "   "


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of text that stays on one line: a name, shown dim, and a value.

    Attributes:
        value: The value.
        name: Stands before it; may be empty.
        style: Of the value: "", "dim", "red", "cyan" or "yellow".
    """

    value: str
    name: str = ""
    style: str = ""

    @property
    def text(self) -> str:
        """Name and value, without control characters."""
        return printable(f"{self.name} {self.value}" if self.name else self.value)

    def cut(self, width: int) -> Item:
        """The item, at most so many cells wide; an ellipsis stands for what is cut off."""
        text = self.text
        if cells(text) <= width:
            return self
        while text and cells(text) >= width:
            text = text[: min(len(text) - 1, width)]
        return Item(f"{text.rstrip()}…", "", self.style)

    def colored(self) -> str:
        """The text with the escape codes of its colors."""
        value = _styled(printable(self.value), self.style)
        return f"{_styled(printable(self.name), 'dim')} {value}" if self.name else value


def cells(text: str) -> int:
    """How many cells of a terminal a text takes.

    >>> cells("row"), cells("行")
    (3, 2)
    """
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    marks = sum(unicodedata.category(letter) in ("Mn", "Me", "Cf") for letter in text)
    return len(text) + wide - marks


def wrap(items: Iterable[Item], width: int) -> list[list[Item]]:
    """The items in lines of at most `width` cells; an item is never split over two lines.

    >>> [[item.text for item in line] for line in wrap([Item("one"), Item("two"), Item("three")], 10)]
    [['one', 'two'], ['three']]
    """
    lines: list[list[Item]] = []
    used = width + 1
    for item in items:
        fitting = item.cut(width)
        length = cells(fitting.text)
        if used + len(_GAP) + length > width:
            lines.append([])
            used = -len(_GAP)
        lines[-1].append(fitting)
        used += len(_GAP) + length
    return lines


class Screen:
    """Draws lines at the bottom of a terminal, each time in the place of the lines before.

    A line never fills the terminal's width. Terminals break longer lines anew when they get narrower, so the
    place of the last drawing is found by counting the rows that its lines take at the present width.

    Args:
        stream: The terminal.
        size: Returns its columns and rows.
        color: Whether to use colors.
    """

    def __init__(self, stream: TextIO, size: Callable[[], tuple[int, int]], *, color: bool = True) -> None:
        self._stream = stream
        self._size = size
        self._color = color
        self._drawn: list[int] = []  # the widths of the lines that are on the screen

    @property
    def width(self) -> int:
        """Cells that a line may take."""
        return max(1, self._size()[0] - 1)

    def draw(self, lines: Sequence[Sequence[Item]]) -> None:
        """Replace what is drawn. Lines beyond the terminal's height are left out.

        Raises:
            OSError: when the terminal cannot be written to.
        """
        columns, rows = self._size()
        lines = lines[: max(1, rows - 1)]
        texts = [_GAP.join(item.colored() if self._color else item.text for item in line) for line in lines]
        # Each row is erased whole: else one that a resize has broken stays joined to the next one. (To erase
        # all of the screen at once would move it to the history.)
        self._stream.write(self._back(columns) + "\n".join(f"\x1b[2K{text}" for text in texts) + "\x1b[J")
        self._stream.flush()
        self._drawn = [sum(cells(item.text) for item in line) + len(_GAP) * (len(line) - 1) for line in lines]

    def print(self, item: Item) -> None:
        """Write a line above the region, which has to be drawn again afterwards."""
        text = item.colored() if self._color else item.text
        self._stream.write(f"{self._back(self._size()[0])}\x1b[J{text}\n")
        self._stream.flush()
        self._drawn = []

    def finish(self, item: Item) -> None:
        """Remove what is drawn; the summary takes its place, and not `item`."""
        self._stream.write(f"{self._back(self._size()[0])}\x1b[J")
        self._stream.flush()
        self._drawn = []

    def _back(self, columns: int) -> str:
        """Moves the cursor to the first cell of the region."""
        rows = sum(max(1, -(-width // columns)) for width in self._drawn)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "")


def terminal_size(descriptor: int) -> tuple[int, int]:
    """Columns and rows of a terminal; 80 and 24 where it does not know."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24


def _styled(text: str, style: str) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if _STYLES[style] and text else text
