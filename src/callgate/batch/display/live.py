"""Shows a batch while it runs: a panel that is redrawn in place, else a line now and then."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from callgate.batch.display.notebook import NotebookScreen, in_notebook
from callgate.batch.display.panel import Title, last_line, panel, plain_line
from callgate.batch.display.screen import Item, Screen, terminal_size
from callgate.batch.display.text import printable
from callgate.batch.progress import Progress
from callgate.batch.run import BatchRun

__all__ = ["Display", "open_display", "plain_interval"]

_TICK_SECONDS = 0.25
# Seconds between two plain lines, by the seconds that the batch has run: a log of a day stays readable.
_PLAIN_SECONDS = ((60.0, 10.0), (600.0, 30.0), (3600.0, 60.0), (float("inf"), 300.0))


class Surface(Protocol):
    """Where the panel is drawn."""

    @property
    def width(self) -> int:
        """Cells that a line may take."""
        ...

    def draw(self, lines: Sequence[Sequence[Item]]) -> None:
        """Replace what is drawn."""
        ...

    def print(self, item: Item) -> None:
        """Write a line that stays."""
        ...

    def finish(self, item: Item) -> None:
        """Remove what is drawn. Where no summary follows, `item` takes its place."""
        ...


class Display:
    """Shows one batch until it is closed.

    Args:
        batch: What to show.
        title: Its models, input and output.
        surface: Where to draw the panel; None for plain lines on stderr.
        quiet: Show only notes.
        explain: Returns the text of an error.
    """

    def __init__(
        self,
        batch: BatchRun,
        title: Title,
        *,
        surface: Surface | None,
        quiet: bool,
        explain: Callable[[BaseException], str] = str,
    ) -> None:
        self._batch = batch
        self._title = title
        self._surface = surface
        self._quiet = quiet
        self._explain = explain
        self._activity = ""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle
        self._next_line = plain_interval(0.0)
        self._tick()

    def note(self, text: str) -> None:
        """Print a line above the panel."""
        with self._without_terminal():
            if self._surface is None:
                _write_line(text)
            else:
                self._surface.print(Item(text, style="yellow"))
                self._draw(self._batch.progress())

    def show_activity(self, activity: str) -> None:
        """Show what is done after the last request has ended."""
        self._activity = activity
        self._draw(self._batch.progress())

    def close(self) -> None:
        """Remove the panel and stop."""
        self._timer.cancel()
        # The summary's rates come from samples, and the last one has to be taken at the end.
        progress = self._batch.progress()
        with self._without_terminal():
            if self._surface is not None:
                self._surface.finish(Item(last_line(progress)))

    def _tick(self) -> None:
        # Progress is sampled also when nothing is shown: the summary's rates come from the samples.
        progress = self._batch.progress()
        if self._surface is not None:
            self._draw(progress)
        elif not self._quiet and progress.seconds >= self._next_line:
            self._next_line = progress.seconds + plain_interval(progress.seconds)
            with self._without_terminal():
                _write_line(plain_line(progress, self._activity))
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _draw(self, progress: Progress) -> None:
        if self._surface is None:
            return
        with self._without_terminal():
            lines = panel(
                progress,
                self._title,
                now=datetime.now().astimezone(),
                width=self._surface.width,
                activity=self._activity,
                explain=self._explain,
            )
            self._surface.draw(lines)

    @contextmanager
    def _without_terminal(self) -> Iterator[None]:
        """Show nothing more once the terminal is gone (a lost connection); the rows are finished anyway."""
        try:
            yield
        except OSError:
            self._surface, self._quiet = None, True


def plain_interval(seconds: float) -> float:
    """Seconds until the next plain line, after so many seconds of the batch.

    >>> [plain_interval(seconds) for seconds in (0.0, 60.0, 7200.0)]
    [10.0, 30.0, 300.0]
    """
    return next(interval for until, interval in _PLAIN_SECONDS if seconds < until)


@contextmanager
def open_display(
    batch: BatchRun, title: Title, *, quiet: bool, explain: Callable[[BaseException], str] = str
) -> Iterator[Display]:
    """A display that suits where stderr goes: a notebook, a terminal, or a log."""
    display = Display(batch, title, surface=None if quiet else _surface(), quiet=quiet, explain=explain)
    try:
        yield display
    finally:
        display.close()


def _surface() -> Surface | None:
    """A notebook's output, or a terminal that can move its cursor.

    What a notebook runs with `!` has a terminal, but its cell appends all that is written there.
    """
    if in_notebook():
        return NotebookScreen()
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return None
    if os.environ.get("TERM") == "dumb" or "JPY_PARENT_PID" in os.environ:
        return None
    return Screen(stream, lambda: terminal_size(stream.fileno()), color="NO_COLOR" not in os.environ)


def _write_line(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()
