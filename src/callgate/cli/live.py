"""What is shown while a batch runs: a live panel on a terminal, else a plain line every ten seconds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from callgate.batch.progress import Progress
from callgate.cli.format import dollars, duration, rate_of
from callgate.cli.terminal import printable, write_line

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from callgate.batch.run import BatchRun

__all__ = ["Display", "open_display", "plain_line", "render"]

_LIVE_SECONDS = 0.25
_PLAIN_SECONDS = 10.0
_BAR = 30
_LATE_SECONDS = 10.0


class Display:
    """Shows one batch on stderr until it is closed.

    Args:
        batch: What to show.
        live: rich's live region, or None for plain lines.
        quiet: Show nothing but what is said.
    """

    def __init__(self, batch: BatchRun, *, live: Live | None, quiet: bool) -> None:
        self._batch = batch
        self._live = live
        self._quiet = quiet
        self._doing = ""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._next_line = self._loop.time() + _PLAIN_SECONDS
        self._tick()

    def say(self, text: str) -> None:
        """A line of text above the live region, on stderr."""
        with self._while_there_is_a_terminal():
            if self._live is not None:
                from rich.text import Text

                self._live.console.print(Text(printable(text), style="bold yellow"))
            else:
                write_line(text, err=True)

    def show_activity(self, doing: str) -> None:
        """Show what is done after the last call has ended."""
        self._doing = doing
        self._show(self._batch.progress())

    def close(self) -> None:
        """Show the last state and stop."""
        if self._timer is not None:
            self._timer.cancel()
        self._show(self._batch.progress())

    def _tick(self) -> None:
        # Samples are taken also when nobody looks: the summary's rates come from them.
        progress = self._batch.progress()
        now = self._loop.time()
        if self._live is not None:
            self._show(progress)
        elif not self._quiet and now >= self._next_line:
            self._next_line = now + _PLAIN_SECONDS
            with self._while_there_is_a_terminal():
                write_line(plain_line(progress, self._doing), err=True)
        self._timer = self._loop.call_later(_LIVE_SECONDS, self._tick)

    def _show(self, progress: Progress) -> None:
        if self._live is not None:
            with self._while_there_is_a_terminal():
                self._live.update(render(progress, self._doing), refresh=True)

    @contextmanager
    def _while_there_is_a_terminal(self) -> Iterator[None]:
        """Where the terminal has gone (a connection that broke), rows are finished all the same."""
        try:
            yield
        except OSError:
            self._live, self._quiet = None, True


@contextmanager
def open_display(batch: BatchRun, *, quiet: bool) -> Iterator[Display]:
    """A display that suits where stderr goes."""
    if quiet or not sys.stderr.isatty():
        display = Display(batch, live=None, quiet=quiet)
        try:
            yield display
        finally:
            display.close()
        return
    # Only for a terminal: rich takes a while to load.
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        display = Display(batch, live=live, quiet=False)
        try:
            yield display
        finally:
            display.close()


def _parts(progress: Progress) -> list[tuple[str, str]]:
    """What there is to say, as (name, figure)."""
    stats, limiter = progress.stats, progress.limiter
    total = "?" if progress.total is None else f"{progress.total:,}"
    cost = (
        dollars(stats.cost)
        if stats.done == stats.cached or stats.unpriced < stats.done - stats.cached
        else "unknown"
    )
    if progress.projected_cost is not None and progress.left:
        cost += f" of about {dollars(progress.projected_cost)}"
    if progress.budget is not None:
        cost += f", at most {dollars(progress.budget)}"
    return [
        ("rows", f"{progress.skipped + stats.ended:,}/{total}"),
        ("rate", f"{progress.rows_per_second:,.1f} rows/s"),
        ("requests", rate_of(progress.requests_per_minute, limiter.requests)),
        ("tokens", rate_of(progress.tokens_per_minute, limiter.tokens)),
        ("in flight", f"{limiter.in_flight:,}"),
        ("queued", f"{limiter.waiting:,}"),
        ("retries", f"{stats.retries:,}"),
        ("429s", f"{stats.rate_limited:,}"),
        ("cached", f"{stats.cached:,}"),
        ("failed", f"{stats.failed:,}"),
        ("cost", cost),
        ("left", "?" if progress.eta is None else duration(progress.eta)),
    ]


def _waited_for(progress: Progress) -> str:
    """The rows that keep the others waiting, when there are such."""
    late = [f"{name} ({duration(seconds)})" for name, seconds in progress.longest if seconds >= _LATE_SECONDS]
    return printable(f"waited for longest: {', '.join(late)}") if late else ""


def plain_line(progress: Progress, doing: str = "") -> str:
    """The state in one line, for logs.

    Args:
        progress: The state.
        doing: What is done instead of calling, if anything.
    """
    figures = dict(_parts(progress))
    rows = figures.pop("rows")
    rest = ", ".join(f"{name} {figure}" for name, figure in figures.items())
    now = doing or f"waiting for: {progress.waiting_for}"
    line = f"{duration(progress.seconds)} {rows} rows, {rest}; {now}"
    late = _waited_for(progress)
    return f"{line}; {late}" if late else line


def render(progress: Progress, doing: str = "") -> Table:
    """The state as a small table that fits a terminal; otherwise as `plain_line`."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    figures = dict(_parts(progress))
    ended = progress.skipped + progress.stats.ended
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=progress.total, completed=ended, width=_BAR, pulse=progress.total is None)
    share = "" if not progress.total else f"{ended / progress.total:.0%}"
    head.add_row(bar, share, f"{figures['rows']} rows", figures["rate"], f"left {figures['left']}")
    body = Table.grid(padding=(0, 3))
    emphasis: Callable[[str], str] = lambda name: "red" if name in ("failed", "429s") else ""  # noqa: E731
    for names in (
        ("requests", "tokens"),
        ("in flight", "queued", "retries", "429s", "cached", "failed"),
        ("cost",),
    ):
        cells = [
            Text.assemble(
                (f"{name} ", "dim"), (figures[name], emphasis(name) if figures[name] != "0" else "")
            )
            for name in names
        ]
        line = Table.grid(padding=(0, 3))
        line.add_row(*cells)
        body.add_row(line)
    whole = Table.grid()
    whole.add_row(head)
    whole.add_row(body)
    if doing:
        whole.add_row(Text(doing, style="cyan"))
    else:
        whole.add_row(Text.assemble(("waiting for: ", "dim"), (progress.waiting_for, "cyan")))
    late = _waited_for(progress)
    if late:
        whole.add_row(Text(late, style="dim"))
    return whole
