"""The panel as one output of a Jupyter cell that is updated in place."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from callgate.batch.display.screen import Item

__all__ = ["NotebookScreen", "in_notebook"]

_GAP = "   "
_COLORS = {
    "": "",
    "dim": "opacity:.6",
    "red": "color:#c62828",
    "cyan": "color:#00838f",
    "yellow": "color:#b26a00",
}
_WIDTH = 100
# The kernel sends every update to the browser, so only every other one is shown.
_EVERY = 2


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, and not in a terminal."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class NotebookScreen:
    """Draws the panel into one output of the cell that is running."""

    width = _WIDTH

    def __init__(self) -> None:
        # Not a dependency: a notebook's kernel has it.
        self._handle: Any = import_module("IPython.display").DisplayHandle()
        self._printed: list[Item] = []
        self._shown = False
        self._drawings = 0

    def draw(self, lines: Sequence[Sequence[Item]]) -> None:
        """Replace what is drawn."""
        self._drawings += 1
        if self._drawings % _EVERY:
            self._show([[item] for item in self._printed] + [list(line) for line in lines])

    def print(self, item: Item) -> None:
        """Keep a line above the panel."""
        self._printed.append(item)

    def finish(self, item: Item) -> None:
        """Leave the lines that were printed, and `item`."""
        if self._shown:
            self._show([[each] for each in (*self._printed, item)])

    def _show(self, lines: list[list[Item]]) -> None:
        text = "\n".join(_GAP.join(item.text for item in line) for line in lines)
        body = "\n".join(_GAP.join(_to_html(item) for item in line) for line in lines)
        data = {"text/plain": text, "text/html": f'<pre style="line-height:1.4">{body}</pre>'}
        publish = self._handle.update if self._shown else self._handle.display
        publish(data, raw=True)
        self._shown = True


def _to_html(item: Item) -> str:
    value = f'<span style="{_COLORS[item.style]}">{html.escape(item.cut(10_000).value)}</span>'
    return f'<span style="opacity:.6">{html.escape(item.name)}</span> {value}' if item.name else value
