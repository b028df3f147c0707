"""The region of a terminal that is redrawn in place."""

from __future__ import annotations

import io
import os
import re

import pytest

from callgate.batch.display.screen import Item, Screen, cells, terminal_size, wrap


class Terminal(io.StringIO):
    """A terminal that breaks long lines at its width, and breaks them anew when it is resized."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        super().__init__()
        self.columns, self.rows = columns, rows
        self.lines: list[str] = [""]  # as they were written, without breaks
        self.row = 0  # of the cursor, counted in rows of the screen
        self.column = 0

    def size(self) -> tuple[int, int]:
        return self.columns, self.rows

    def resize(self, columns: int) -> None:
        below = self.screen_rows()[self.row :]
        self.columns = columns
        self.row = len(self.screen_rows()) - len(below)  # the cursor stays on its line, which is the last one

    def screen_rows(self) -> list[str]:
        return [
            line[start : start + self.columns]
            for line in self.lines
            for start in range(0, max(1, len(line)), self.columns)
        ]

    def write(self, text: str) -> int:
        for piece in re.findall(r"\x1b\[[\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            self._obey(piece)
        return len(text)

    def _obey(self, piece: str) -> None:
        if piece == "\r":
            self.column = 0
        elif piece == "\n":
            self._keep_rows(self.row + 1)
            self.row, self.column = self.row + 1, 0
        elif piece.endswith("A"):
            self.row = max(0, self.row - int(piece[2:-1]))
        elif piece.endswith("K"):
            self._keep_rows(self.row)
            self._rewrite(self.screen_rows()[self.row][: self.column])
        elif piece.endswith("J"):
            self.lines = self.screen_rows()[: self.row + 1]
            self._rewrite(self.lines[self.row][: self.column])
        elif piece[0] != "\x1b":
            self._keep_rows(self.row)
            before = self.screen_rows()[self.row]
            self._rewrite(
                before[: self.column].ljust(self.column) + piece + before[self.column + len(piece) :]
            )
            self.column += len(piece)

    def _keep_rows(self, row: int) -> None:
        while len(self.screen_rows()) <= row:
            self.lines.append("")

    def _rewrite(self, text: str) -> None:
        rows = self.screen_rows()
        rows[self.row] = text
        self.lines = rows


def lines(*texts: str) -> list[list[Item]]:
    return [[Item(text)] for text in texts]


def test_a_drawing_takes_the_place_of_the_last_one() -> None:
    terminal = Terminal(40)
    screen = Screen(terminal, terminal.size)
    screen.draw(lines("one 1", "two 22222", "three"))
    screen.draw(lines("one 2", "two 3"))
    assert terminal.screen_rows() == ["one 2", "two 3"]


@pytest.mark.parametrize("columns", [10, 15, 25, 60])
def test_after_a_resize_nothing_of_the_last_drawing_is_left(columns: int) -> None:
    terminal = Terminal(40)
    screen = Screen(terminal, terminal.size)
    terminal.write("a line of the shell\n")
    screen.draw(lines("x" * 39, "y" * 12, "z" * 30))
    terminal.resize(columns)
    screen.draw(lines("new", "drawing"))
    assert [row for row in terminal.screen_rows() if row][-2:] == ["new", "drawing"]
    assert not re.search("[xyz]", "".join(terminal.screen_rows()))
    assert "".join(terminal.screen_rows()).startswith("a line of the shell")


def test_each_row_is_erased_whole_before_it_is_drawn_anew() -> None:
    # tmux keeps a row that a resize has broken joined to the next one until it is erased whole.
    stream = io.StringIO()
    Screen(stream, lambda: (80, 24)).draw(lines("one", "two"))
    assert stream.getvalue() == "\r\x1b[2Kone\n\x1b[2Ktwo\x1b[J"


def test_a_line_that_is_printed_stays_above_the_region() -> None:
    terminal = Terminal(40)
    screen = Screen(terminal, terminal.size)
    screen.draw(lines("one", "two"))
    screen.print(Item("said"))
    screen.draw(lines("three"))
    assert terminal.screen_rows() == ["said", "three"]
    screen.finish(Item("done"))
    assert terminal.screen_rows() == ["said", ""]


def test_a_drawing_is_never_higher_than_the_terminal() -> None:
    terminal = Terminal(40, rows=3)
    Screen(terminal, terminal.size).draw(lines("one", "two", "three", "four"))
    assert terminal.screen_rows() == ["one", "two"]


def test_control_characters_are_shown_and_not_sent() -> None:
    stream = io.StringIO()
    screen = Screen(stream, lambda: (80, 24))
    screen.draw([[Item("row \x1b]0;title\x07", name="\x1b[2J")]])
    screen.print(Item("\x9b2J said", style="red"))
    written = stream.getvalue()
    assert "\x1b]0;" not in written
    assert "\x07" not in written
    assert "\x9b" not in written
    assert written.count("\x1b[2J") == 0


def test_colors_can_be_turned_off() -> None:
    stream = io.StringIO()
    Screen(stream, lambda: (80, 24), color=False).draw([[Item("3", "failed", "red")]])
    assert "\x1b[31m" not in stream.getvalue()
    assert "failed 3" in stream.getvalue()


@pytest.mark.parametrize("width", [5, 12, 30, 200])
def test_items_stay_whole_and_lines_fit(width: int) -> None:
    items = [Item("10 rows"), Item("42", "failed"), Item("行行行行 wide"), Item("x" * 50)]
    wrapped = wrap(items, width)
    for line in wrapped:
        assert sum(cells(item.text) for item in line) + 3 * (len(line) - 1) <= width
    shown = [item.text for line in wrapped for item in line]
    assert len(shown) == len(items)
    for item, text in zip(items, shown, strict=True):
        assert text == item.text or (cells(item.text) > width and text.endswith("…"))


def test_the_cells_of_wide_letters_and_of_marks() -> None:
    assert (cells("abc"), cells("行a"), cells("e\u0301")) == (3, 3, 1)


def test_a_descriptor_that_is_no_terminal_has_a_usual_size() -> None:
    with open("/dev/null") as file:
        assert terminal_size(file.fileno()) == (80, 24)


def test_a_terminal_has_the_size_that_it_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.get_terminal_size", lambda descriptor: os.terminal_size((120, 50)))
    assert terminal_size(2) == (120, 50)
    monkeypatch.setattr("os.get_terminal_size", lambda descriptor: os.terminal_size((0, 0)))
    assert terminal_size(2) == (80, 24)
