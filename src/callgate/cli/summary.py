"""What is said at the end of a batch: a table for people, JSON for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from callgate.batch.cost.forecast import Forecast
from callgate.batch.output.journal import STDOUT
from callgate.batch.output.paths import errors_path
from callgate.batch.run import Summary
from callgate.batch.stats import ErrorGroup
from callgate.cli.format import dollars, duration
from callgate.cli.messages import explain, one_line
from callgate.cli.terminal import write_json, write_line
from callgate.errors import RetryAfterTooLongError
from callgate.policies.route.health import Standing

__all__ = ["print_forecast", "print_summary", "reason_of", "summary_to_dict"]

_SHOWN_ERRORS = 5


def summary_to_dict(summary: Summary, output: str, standing: Sequence[Standing] = ()) -> dict[str, Any]:
    """The summary, ready for JSON.

    `cost_usd` is null when no price is known, and the sum of the known ones otherwise; `unpriced` counts the
    answers without one. `endpoints` tells of each how it has been doing, when there were several.
    """
    progress, stats = summary.progress, summary.progress.stats
    paid = stats.done - stats.cached
    per_second = stats.ended / progress.seconds if progress.seconds > 0 else 0.0
    return {
        "ending": summary.ending,
        "message": reason_of(summary),
        "output": output,
        "errors_file": errors_path(output) if stats.failed and output != STDOUT else None,
        "total": progress.total,
        "answered_before": progress.skipped,
        "answered": stats.done,
        "failed": stats.failed,
        "refused": stats.refused,
        "left": progress.left,
        "abandoned": summary.abandoned,
        "cached": stats.cached,
        "calls": stats.calls,
        "retries": stats.retries,
        "hedges": stats.hedges,
        "rate_limited": stats.rate_limited,
        "input_tokens": stats.input_tokens,
        "output_tokens": stats.output_tokens,
        "cost_usd": None if paid and stats.unpriced == paid else stats.cost,
        "unpriced": stats.unpriced,
        "seconds": round(progress.seconds, 3),
        "rows_per_second": round(per_second, 3),
        "errors": [group.to_dict() for group in stats.error_groups()],
        "endpoints": [
            {
                "name": each.name,
                "answered": each.answered,
                "times_left_out": each.times_out,
                "left_out_for": None if each.error is None else one_line(each.error),
            }
            for each in standing
        ],
    }


def reason_of(summary: Summary) -> str | None:
    """Why a run ended early, in the words of the command line; None when it did not."""
    return summary.message if summary.error is None else explain(summary.error)


def print_summary(summary: Summary, output: str, standing: Sequence[Standing] = ()) -> None:
    """Print what came of it: on stdout, or on stderr when the answers go to stdout."""
    facts = summary_to_dict(summary, output, standing)
    on_stderr = output == STDOUT
    for line in _in_columns(_lines(facts, summary)):
        write_line(line, err=on_stderr)
    groups = summary.progress.stats.error_groups()
    for group in groups[:_SHOWN_ERRORS]:
        example = group.example if group.error is None else explain(group.error)
        text = f"{group.count:,} x {example} (line {group.line}; {_again(group)})"
        write_line(text, color="red", err=on_stderr)
    if len(groups) > _SHOWN_ERRORS:
        write_line(f"and {len(groups) - _SHOWN_ERRORS} other kinds of errors", err=on_stderr)


def _again(group: ErrorGroup) -> str:
    """What to expect of another run on the same rows."""
    if group.kind == RetryAfterTooLongError.__name__:
        return "worth another try, by then"
    return "worth another try" if group.retryable else "will fail again unless something is changed"


def _in_columns(lines: list[tuple[str, str]]) -> Iterator[str]:
    # By hand: a table of rich's fills every line up with blanks.
    width = max(len(name) for name, _ in lines) + 2
    return (f"{name:<{width}}{figure}" for name, figure in lines)


def print_forecast(told: Forecast, *, json: bool, budget: float | None = None) -> None:
    """Print what a dry run found, on stdout: a table for people, or JSON for machines.

    Args:
        told: What it found.
        json: For machines.
        budget: US dollars that may still be spent; None: there is no budget.
    """
    enough = _is_enough(told, budget)
    if json:
        facts = told.to_dict() | ({} if budget is None else {"budget_left_usd": budget, "enough": enough})
        write_json(facts)
        return
    lines = _forecast_lines(told)
    if budget is not None:
        lines.append(("budget", f"{dollars(budget)} left: {enough or 'nobody knows whether that is enough'}"))
    for line in _in_columns(lines):
        write_line(line)
    if not told.learned_from:
        write_line("Nothing was answered before, so this is rough: run with --limit 50 first.")


def _is_enough(told: Forecast, budget: float | None) -> str | None:
    """Whether a budget suffices, in words; None: nobody knows."""
    if budget is None or told.cost_usd is None:
        return None
    if told.cost_most_usd is not None and told.cost_most_usd <= budget:
        return "enough, without retries"
    return "probably enough" if told.cost_usd <= budget else "not enough"


def _forecast_lines(told: Forecast) -> list[tuple[str, str]]:
    rows = f"{told.rows:,} to call"
    if told.answered_before:
        rows += f", {told.answered_before:,} answered before"
    if told.cached:
        rows += f", {told.cached:,} answered by the cache"
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
    calls = f"{facts['calls']:,}, {facts['retries']:,} of them retries, {facts['rate_limited']:,} x 429"
    if facts["hedges"]:
        calls += f", {facts['hedges']:,} second ones beside slow ones"
    if facts["cached"]:
        calls += f"; {facts['cached']:,} rows from the cache"
    return [
        ("rows", rows),
        ("calls", calls),
        ("tokens", f"{facts['input_tokens']:,} in, {facts['output_tokens']:,} out"),
        ("cost", cost),
        ("time", f"{duration(summary.progress.seconds)}, {facts['rows_per_second']:,.1f} rows/s"),
        *(("endpoint", _endpoint_line(each)) for each in facts["endpoints"]),
    ]


def _endpoint_line(facts: dict[str, Any]) -> str:
    line = f"{facts['name']}: {facts['answered']:,} answered"
    if facts["left_out_for"] is None:
        return line
    times = facts["times_left_out"]
    return f"{line}, ejected{f' {times} times' * (times > 1)}: {facts['left_out_for']}"
