"""The panel in a notebook."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from callgate.batch.display import live
from callgate.batch.display.notebook import NotebookScreen, in_notebook
from callgate.batch.display.screen import Item


class Handle:
    """An output of a cell, as IPython's display handle updates it."""

    shown: ClassVar[list[dict[str, str]]] = []
    outputs = 0

    def display(self, data: dict[str, str], *, raw: bool) -> None:
        Handle.outputs += 1
        self.update(data, raw=raw)

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        Handle.shown.append(data)


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    Handle.shown, Handle.outputs = [], 0
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(DisplayHandle=Handle))


def test_one_output_is_updated_and_the_printed_lines_stay() -> None:
    screen = NotebookScreen()
    for number in range(4):
        screen.draw([[Item(f"{number} rows"), Item("2", "failed", "red")], [Item("<b>")]])
    screen.print(Item("ejected", style="yellow"))
    screen.draw([[Item("4 rows")]])
    screen.finish(Item("done"))
    assert Handle.outputs == 1
    assert [data["text/plain"] for data in Handle.shown] == [
        "0 rows   failed 2\n<b>",
        "2 rows   failed 2\n<b>",
        "ejected\n4 rows",
        "ejected\ndone",
    ]
    assert "&lt;b&gt;" in Handle.shown[0]["text/html"]
    assert "color:#c62828" in Handle.shown[0]["text/html"]


def test_nothing_is_cleared_that_was_not_shown() -> None:
    NotebookScreen().finish(Item("done"))
    assert Handle.shown == []


@pytest.mark.parametrize(
    ("ipython", "is_one"),
    [
        (None, False),
        (SimpleNamespace(get_ipython=lambda: None), False),
        (SimpleNamespace(get_ipython=lambda: SimpleNamespace()), False),
        (SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)), True),
    ],
)
def test_a_notebook_is_a_shell_with_a_kernel(
    monkeypatch: pytest.MonkeyPatch, ipython: Any, is_one: bool
) -> None:
    if ipython is None:
        monkeypatch.delitem(sys.modules, "IPython")
    else:
        monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert in_notebook() == is_one


def test_the_display_of_a_notebook_is_its_output() -> None:
    assert isinstance(live._surface(), NotebookScreen)
