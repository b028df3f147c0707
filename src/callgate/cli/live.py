"""Shows a batch while it runs: a panel that is redrawn on a terminal, else a line now and then."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from callgate.batch.progress import Progress
from callgate.cli.format import rate_of
from callgate.cli.panel import Endpoint, Title, panel, plain_line
from callgate.cli.terminal import write_line
from callgate.model.spread import Spread

if TYPE_CHECKING:
    from callgate.batch.run import BatchRun
    from callgate.cli.screen import Screen

__all__ = ["Display", "open_display"]

_TICK_SECONDS = 0.25
# Seconds between two plain lines, by the seconds that the batch has run: a log of a day stays readable.
_PLAIN_SECONDS = ((60.0, 10.0), (600.0, 30.0), (3600.0, 60.0), (float("inf"), 300.0))


class Display:
    """Shows one batch on stderr until it is closed.

    Args:
        batch: What to show.
        title: Its models, input and output.
        screen: Where to draw the panel; None for plain lines.
        quiet: Show only notes.
    """

    def __init__(self, batch: BatchRun, title: Title, *, screen: Screen | None, quiet: bool) -> None:
        self._batch = batch
        self._title = title
        self._screen = screen
        self._quiet = quiet
        self._activity = ""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._next_line = plain_interval(0.0)
        self._tick()

    def note(self, text: str) -> None:
        """Print a line above the panel."""
        with self._without_terminal():
            if self._screen is None:
                write_line(text, err=True)
            else:
                from callgate.cli.screen import Item

                self._screen.print(Item(text, style="yellow"))
                self._draw(self._batch.progress())

    def show_activity(self, activity: str) -> None:
        """Show what is done after the last request has ended."""
        self._activity = activity
        self._draw(self._batch.progress())

    def close(self) -> None:
        """Remove the panel and stop."""
        if self._timer is not None:
            self._timer.cancel()
        # The summary's rates come from samples, and the last one has to be taken at the end.
        self._batch.progress()
        with self._without_terminal():
            if self._screen is not None:
                self._screen.clear()

    def _tick(self) -> None:
        # Progress is sampled also when nothing is shown: the summary's rates come from the samples.
        progress = self._batch.progress()
        if self._screen is not None:
            self._draw(progress)
        elif not self._quiet and progress.seconds >= self._next_line:
            self._next_line = progress.seconds + plain_interval(progress.seconds)
            with self._without_terminal():
                write_line(plain_line(progress, self._activity), err=True)
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _draw(self, progress: Progress) -> None:
        if self._screen is None:
            return
        with self._without_terminal():
            lines = panel(
                progress,
                self._title,
                self._endpoints(),
                now=datetime.now().astimezone(),
                width=self._screen.width,
                activity=self._activity,
            )
            self._screen.draw(lines)

    def _endpoints(self) -> list[Endpoint]:
        model = self._batch.engine.model
        if not isinstance(model, Spread):
            return []
        endpoints = []
        for each, standing in zip(model.models, model.health, strict=True):
            requests = each.limiter.snapshot().requests
            quota = "" if requests is None else rate_of(0.0, requests)
            endpoints.append(Endpoint(each.name, standing.answered, quota, standing.error is not None))
        return endpoints

    @contextmanager
    def _without_terminal(self) -> Iterator[None]:
        """Show nothing more once the terminal is gone (a lost connection); the rows are finished anyway."""
        try:
            yield
        except OSError:
            self._screen, self._quiet = None, True


def plain_interval(seconds: float) -> float:
    """Seconds until the next plain line, after so many seconds of the batch.

    >>> [plain_interval(seconds) for seconds in (0.0, 60.0, 7200.0)]
    [10.0, 30.0, 300.0]
    """
    return next(interval for until, interval in _PLAIN_SECONDS if seconds < until)


@contextmanager
def open_display(batch: BatchRun, title: Title, *, quiet: bool) -> Iterator[Display]:
    """A display that suits where stderr goes."""
    display = Display(batch, title, screen=None if quiet else _screen(), quiet=quiet)
    try:
        yield display
    finally:
        display.close()


def _screen() -> Screen | None:
    """A screen on stderr, if that is a terminal that can move its cursor."""
    stream = sys.stderr
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from callgate.cli.screen import Screen, terminal_size

    return Screen(stream, lambda: terminal_size(stream.fileno()), color="NO_COLOR" not in os.environ)
