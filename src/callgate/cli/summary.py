"""What is said at the end of a batch: a table for people, JSON for machines."""

from __future__ import annotations

import sys
from typing import Any

import orjson

from callgate.batch.forecast import Forecast
from callgate.batch.journal import STDOUT
from callgate.batch.places import errors_path
from callgate.batch.run import Summary
from callgate.cli.figures import dollars, duration

__all__ = ["print_forecast", "print_summary", "summary_to_dict"]

_SHOWN_ERRORS = 5


def summary_to_dict(summary: Summary, output: str) -> dict[str, Any]:
    """The summary, ready for JSON.

    `cost_usd` is null when no price is known, and the sum of the known ones otherwise; `unpriced` counts the
    answers without one.
    """
    progress, tally = summary.progress, summary.progress.tally
    paid = tally.done - tally.cached
    per_second = tally.ended / progress.seconds if progress.seconds > 0 else 0.0
    return {
        "ending": summary.ending,
        "message": summary.message,
        "output": output,
        "errors_file": errors_path(output) if tally.failed and output != STDOUT else None,
        "total": progress.total,
        "answered_before": progress.skipped,
        "answered": tally.done,
        "failed": tally.failed,
        "refused": tally.refused,
        "left": progress.left,
        "abandoned": summary.abandoned,
        "cached": tally.cached,
        "calls": tally.calls,
        "retries": tally.retries,
        "rate_limited": tally.rate_limited,
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "cost_usd": None if paid and tally.unpriced == paid else tally.cost,
        "unpriced": tally.unpriced,
        "seconds": round(progress.seconds, 3),
        "rows_per_second": round(per_second, 3),
        "errors": [group.to_dict() for group in tally.error_groups()],
    }


def print_summary(summary: Summary, output: str) -> None:
    """Print the table: on stdout, or on stderr when the answers go to stdout."""
    # Not at the top: with --json and --quiet it is not needed.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    facts = summary_to_dict(summary, output)
    console = Console(file=sys.stderr if output == STDOUT else sys.stdout, highlight=False)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, figure in _lines(facts, summary):
        table.add_row(name, figure)
    console.print(table)
    for group in summary.progress.tally.error_groups()[:_SHOWN_ERRORS]:
        again = "worth another try" if group.retryable else "will fail again unless something is changed"
        console.print(Text(f"{group.count:,} x {group.example} (line {group.line}; {again})", style="red"))
    more = len(summary.progress.tally.errors) - _SHOWN_ERRORS
    if more > 0:
        console.print(f"and {more} other kinds of errors")


def print_forecast(told: Forecast, *, json: bool) -> None:
    """Print what a dry run found, on stdout: a table for people, or JSON for machines."""
    if json:
        sys.stdout.write(orjson.dumps(told.to_dict(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, figure in _forecast_lines(told):
        table.add_row(name, figure)
    console = Console(file=sys.stdout, highlight=False)
    console.print(table)
    if not told.learned_from:
        console.print("Nothing was answered before, so this is rough: run with --limit 50 first.")


def _forecast_lines(told: Forecast) -> list[tuple[str, str]]:
    rows = f"{told.rows:,} to call"
    if told.answered_before:
        rows += f", {told.answered_before:,} answered before"
    bound = "with no bound" if told.output_tokens_most is None else f"{told.output_tokens_most:,} at most"
    tokens = f"{told.input_tokens:,} in, about {told.output_tokens:,} out ({bound})"
    cost = "unknown: the price of this model is not known"
    if told.cost_usd is not None and told.cost_least_usd is not None:
        most = "no bound" if told.cost_most_usd is None else dollars(told.cost_most_usd)
        cost = f"about {dollars(told.cost_usd)} ({dollars(told.cost_least_usd)} to {most}), without retries"
    time = "unknown" if told.seconds is None else f"about {duration(told.seconds)}"
    return [
        ("rows", rows),
        ("tokens", tokens),
        ("cost", cost),
        ("time", time),
        ("bottleneck", told.bottleneck),
        ("learned from", f"{told.learned_from:,} answers"),
    ]


def _lines(facts: dict[str, Any], summary: Summary) -> list[tuple[str, str]]:
    rows = f"{facts['answered']:,} answered, {facts['failed']:,} failed"
    if facts["refused"]:
        rows += f" ({facts['refused']:,} of them refused by the provider for what they are)"
    if facts["answered_before"]:
        rows += f", {facts['answered_before']:,} were answered before"
    if facts["left"]:
        rows += f", {facts['left']:,} left"
    cost = "unknown" if facts["cost_usd"] is None else dollars(facts["cost_usd"])
    if facts["unpriced"] and facts["cost_usd"] is not None:
        cost += f" without {facts['unpriced']:,} answers whose price is not known"
    elif facts["cost_usd"] is None:
        cost += ": the price of this model is not known"
    calls = f"{facts['calls']:,} calls, {facts['retries']:,} of them retries, {facts['rate_limited']:,} x 429"
    if facts["cached"]:
        calls += f"; {facts['cached']:,} rows from the cache"
    return [
        ("rows", rows),
        ("calls", calls),
        ("tokens", f"{facts['input_tokens']:,} in, {facts['output_tokens']:,} out"),
        ("cost", cost),
        ("time", f"{duration(summary.progress.seconds)}, {facts['rows_per_second']:,.1f} rows/s"),
    ]
