"""The state of a running batch as text: a panel for a terminal, one line for a log."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from callgate.batch.display.format import dollars, duration, rate_of
from callgate.batch.display.screen import Item, cells, wrap
from callgate.batch.display.text import one_line, printable
from callgate.batch.progress import EndpointProgress, Progress

__all__ = ["Title", "last_line", "panel", "plain_line"]

_LATE_SECONDS = 10.0
_SHOWN_FAILURES = 3
_SHOWN_ENDPOINTS = 6
_BAR = 30
_MOST_LINES = 3
"""Of an item that is wider than the terminal."""


@dataclass(frozen=True, slots=True)
class Title:
    """What a batch runs: the names of its models (and their addresses), its input and its output."""

    models: Sequence[str]
    input: str
    output: str


def panel(
    progress: Progress,
    title: Title,
    *,
    now: datetime,
    width: int,
    activity: str = "",
    explain: Callable[[BaseException], str] = str,
) -> list[list[Item]]:
    """The lines of the panel, each at most `width` cells wide; items stay whole.

    Args:
        progress: The state.
        title: What is run.
        now: The wall-clock time, to show the end as one.
        width: Cells.
        activity: What is done after the last request, if anything.
        explain: Returns the text of an error.
    """
    source = [Item(title.input, style="dim"), Item(f"→ {title.output}", style="dim")]
    groups = [
        [*(Item(model) for model in title.models), *source],
        [_bar(progress, width), *_pace(progress, now)],
        _rates(progress),
        _counts(progress),
        _cost(progress),
        [Item(_now(progress, activity), style="cyan")],
        _longest(progress),
        *([item] for item in _failures(progress, explain)),
        *_endpoints(progress),
    ]
    return [line for group in groups for line in wrap(_whole(group, width), width)]


def _whole(items: Sequence[Item], width: int) -> Iterator[Item]:
    """The items; one that is wider than a line is broken at words into several."""
    for item in items:
        if cells(item.text) <= width:
            yield item
        else:
            broken = textwrap.wrap(item.text, width, max_lines=_MOST_LINES, placeholder="…")
            yield from (Item(line, style=item.style) for line in broken)


def plain_line(progress: Progress, activity: str = "") -> str:
    """The state as one line, for a log.

    Args:
        progress: The state.
        activity: What is done after the last request, if anything.
    """
    parts = _facts(progress)
    if progress.eta is not None:
        parts.append(f"{duration(progress.eta)} left")
    parts.append(_now(progress, activity))
    return _line(progress, parts)


def last_line(progress: Progress) -> str:
    """The state at the end as one line."""
    return _line(progress, _facts(progress))


def _line(progress: Progress, parts: Sequence[str]) -> str:
    return printable(f"{duration(progress.seconds)}  {', '.join(parts)}")


def _facts(progress: Progress) -> list[str]:
    stats = progress.stats
    share = f" ({_share(progress):.0%})" if progress.total else ""
    parts = [f"{_rows(progress)} rows{share}", f"{progress.rows_per_second:,.1f} rows/s"]
    parts += [
        f"{count:,} {name}"
        for name, count in (
            ("failed", stats.failed),
            ("retries", stats.retries),
            ("x 429", stats.rate_limited),
        )
        if count
    ]
    parts.append(" ".join(item.text for item in _cost(progress)))
    return parts


def _now(progress: Progress, activity: str) -> str:
    return activity or f"waiting for: {progress.waiting_for}"


def _rows(progress: Progress) -> str:
    total = "?" if progress.total is None else f"{progress.total:,}"
    return f"{_ended(progress):,}/{total}"


def _ended(progress: Progress) -> int:
    return progress.skipped + progress.stats.ended


def _share(progress: Progress) -> float:
    return min(1.0, _ended(progress) / progress.total) if progress.total else 0.0


def _bar(progress: Progress, width: int) -> Item:
    if progress.total is None:
        return Item("counting rows", style="dim")
    cells = min(_BAR, max(8, width // 3))
    filled = int(_share(progress) * cells)
    return Item(f"{'━' * filled}{'─' * (cells - filled)} {_share(progress):.0%}", style="cyan")


def _pace(progress: Progress, now: datetime) -> list[Item]:
    items = [
        Item(f"{_rows(progress)} rows"),
        Item(f"{progress.rows_per_second:,.1f} rows/s"),
        Item(duration(progress.seconds), "elapsed"),
    ]
    if progress.eta is not None:
        end = now + timedelta(seconds=progress.eta)
        clock = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%a %d %b %H:%M}"
        items += [Item(duration(progress.eta), "left"), Item(clock, "ends")]
    return items


def _rates(progress: Progress) -> list[Item]:
    limiter = progress.limiter
    items = [
        Item(rate_of(progress.requests_per_minute, limiter.requests), "requests"),
        Item(rate_of(progress.tokens_per_minute, limiter.tokens), "tokens"),
    ]
    latency = progress.stats.latency()
    if latency is not None:
        items.append(Item(f"{latency[0]:.2f} s, p95 {latency[1]:.2f} s", "latency"))
    return items


def _counts(progress: Progress) -> list[Item]:
    stats, limiter = progress.stats, progress.limiter
    counts = {
        "in flight": limiter.in_flight,
        "queued": limiter.waiting,
        "retries": stats.retries,
        **({"moved": stats.moves} if stats.moves else {}),
        "429s": stats.rate_limited,
        "cached": stats.cached,
        "failed": stats.failed,
    }
    alarming = ("429s", "failed")
    return [
        Item(f"{count:,}", name, "red" if count and name in alarming else "")
        for name, count in counts.items()
    ]


def _cost(progress: Progress) -> list[Item]:
    stats = progress.stats
    paid = stats.done - stats.cached
    items = [Item("unknown" if paid and stats.unpriced >= paid else dollars(stats.cost), "cost")]
    if progress.projected_cost is not None and progress.left:
        items.append(Item(dollars(progress.projected_cost), "of about"))
    if progress.budget is not None:
        items.append(Item(dollars(progress.budget), "at most"))
    return items


def _longest(progress: Progress) -> list[Item]:
    """The rows in flight for longest, where any is late."""
    late = [
        Item(f"{name} {duration(seconds)}") for name, seconds in progress.longest if seconds >= _LATE_SECONDS
    ]
    return [Item("slowest rows:", style="dim"), *late] if late else []


def _failures(progress: Progress, explain: Callable[[BaseException], str]) -> list[Item]:
    groups = progress.stats.error_groups()
    faults = ", ".join(f"{count:,} x {fault}" for fault, count in progress.stats.faults.items())
    attempts = [Item(faults, "failed attempts:")] if faults else []
    shown = [
        Item(
            f"{group.count:,} x {one_line(group.example if group.error is None else explain(group.error))}",
            style="red",
        )
        for group in groups[:_SHOWN_FAILURES]
    ]
    if len(groups) > _SHOWN_FAILURES:
        shown.append(Item(f"and {len(groups) - _SHOWN_FAILURES} other kinds of errors", style="red"))
    return [*attempts, *shown]


def _endpoints(progress: Progress) -> list[list[Item]]:
    """Rows and share, quotas, latency and failed attempts of each endpoint."""
    endpoints = progress.endpoints
    total = sum(each.stats.answered for each in endpoints) or 1
    names = _distinct_parts([each.name for each in endpoints])
    shown = [
        _endpoint(name, each, each.stats.answered / total)
        for name, each in list(zip(names, endpoints, strict=True))[:_SHOWN_ENDPOINTS]
    ]
    if len(endpoints) > _SHOWN_ENDPOINTS:
        shown.append([Item(f"and {len(endpoints) - _SHOWN_ENDPOINTS} other endpoints", style="dim")])
    return shown


def _endpoint(name: str, endpoint: EndpointProgress, share: float) -> list[Item]:
    stats, limiter = endpoint.stats, endpoint.limiter
    items = [Item(f"{stats.answered:,} rows ({share:.0%})", f"{name}:", "red" if endpoint.ejected else "")]
    for unit, rate in (("requests", limiter.requests), ("tokens", limiter.tokens)):
        if rate is not None:
            items.append(Item(rate_of(0.0, rate), unit))
    latency = stats.latency()
    if latency is not None:
        items.append(Item(f"{latency[0]:.2f} s", "latency"))
    if endpoint.ejected:
        items.append(Item("ejected for now", style="red"))
    return items


def _distinct_parts(names: Sequence[str]) -> list[str]:
    """The names without the words that all of them begin with.

    >>> _distinct_parts(["openai/m at http://h #1", "openai/m at http://h #2"])
    ['#1', '#2']
    """
    words = [name.split(" ") for name in names]
    while all(len(each) > 1 for each in words) and len({each[0] for each in words}) == 1:
        words = [each[1:] for each in words]
    return [" ".join(each) for each in words]
