"""The summary at the end of a run and the forecast of a dry run: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from callgate.batch.cost.forecast import Forecast
from callgate.batch.display.format import dollars, duration, in_columns
from callgate.batch.output.journal import STDOUT
from callgate.batch.output.paths import errors_path
from callgate.batch.run import Summary
from callgate.batch.stats import ErrorGroup
from callgate.cli.messages import explain, one_line
from callgate.cli.terminal import write_json, write_line
from callgate.errors import RetryAfterTooLongError
from callgate.policies.route.health import EndpointHealth

__all__ = ["print_forecast", "print_summary", "reason_of", "summary_to_dict"]

_SHOWN_ERRORS = 5


def summary_to_dict(
    summary: Summary, output: str, endpoints: Sequence[EndpointHealth] = ()
) -> dict[str, Any]:
    """The summary, ready for JSON.

    `cost_usd` is null when no price is known, and the sum of the known ones otherwise; `unpriced` counts the
    answers without one. `endpoints` has the counts of each endpoint, when there are several.
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
        "left_out": summary.left_out,
        "answered": stats.done,
        "failed": stats.failed,
        "refused": stats.refused,
        "left": progress.left,
        "abandoned": summary.abandoned,
        "invalid": stats.invalid,
        "cached": stats.cached,
        "truncated": stats.truncated,
        "calls": stats.calls,
        "retries": stats.retries,
        "moves": stats.moves,
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
                "ejections": each.ejections,
                "ejected_for": None if each.error is None else one_line(each.error),
            }
            for each in endpoints
        ],
    }


def reason_of(summary: Summary) -> str | None:
    """Why a run ended early, in the words of the command line; None when it did not."""
    return summary.message if summary.error is None else explain(summary.error)


def print_summary(summary: Summary, output: str, endpoints: Sequence[EndpointHealth] = ()) -> None:
    """Print the summary on stdout, or on stderr when the answers go to stdout."""
    facts = summary_to_dict(summary, output, endpoints)
    on_stderr = output == STDOUT
    for line in in_columns(_lines(facts, summary)):
        write_line(line, err=on_stderr)
    groups = summary.progress.stats.error_groups()
    for group in groups[:_SHOWN_ERRORS]:
        example = group.example if group.error is None else explain(group.error)
        text = f"{group.count:,} x {example} (line {group.line}; {_advice(group)})"
        write_line(text, color="red", err=on_stderr)
    if len(groups) > _SHOWN_ERRORS:
        write_line(f"and {len(groups) - _SHOWN_ERRORS} other kinds of errors", err=on_stderr)


def _advice(group: ErrorGroup) -> str:
    """What to do before another run on the same rows."""
    if group.kind == RetryAfterTooLongError.__name__:
        return "run again after that time"
    return "run again to retry" if group.retryable else "change the row or the options before another run"


def _lines(facts: dict[str, Any], summary: Summary) -> list[tuple[str, str]]:
    rows = f"{facts['answered']:,} answered, {facts['failed']:,} failed"
    if facts["refused"]:
        rows += f" ({facts['refused']:,} rejected by the provider for their content or length)"
    if facts["invalid"]:
        rows += f" ({facts['invalid']:,} of them unusable)"
    if facts["truncated"]:
        rows += f", {facts['truncated']:,} answers cut off (length)"
    if facts["answered_before"]:
        rows += f", {facts['answered_before']:,} answered before"
    if facts["left_out"]:
        rows += f", {facts['left_out']:,} answers of rows that the input does not have left out"
    if facts["left"]:
        rows += f", {facts['left']:,} left"
    cost = "unknown: the price of this model is not known"
    if facts["cost_usd"] is not None:
        cost = dollars(facts["cost_usd"])
        if facts["unpriced"]:
            cost += f" without {facts['unpriced']:,} answers of unknown price"
    calls = f"{facts['calls']:,}: {facts['retries']:,} retries, {facts['rate_limited']:,} x 429"
    if facts["moves"]:
        calls += f", {facts['moves']:,} at another endpoint"
    if facts["hedges"]:
        calls += f", {facts['hedges']:,} hedges"
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
    if facts["ejected_for"] is None:
        return line
    times = facts["ejections"]
    return f"{line}, ejected{f' {times} times' * (times > 1)}: {facts['ejected_for']}"


def print_forecast(forecast: Forecast, *, json: bool, budget: float | None = None) -> None:
    """Print the forecast of a dry run on stdout.

    Args:
        forecast: The forecast.
        json: As JSON.
        budget: US dollars that may still be spent; None without a budget.
    """
    enough = _is_enough(forecast, budget)
    if json:
        write_json(
            forecast.to_dict() | ({} if budget is None else {"budget_left_usd": budget, "enough": enough})
        )
        return
    lines = _forecast_lines(forecast)
    if budget is not None:
        lines.append(("budget", f"{dollars(budget)} left: {enough or 'cannot be compared with the cost'}"))
    for line in in_columns(lines):
        write_line(line)
    if forecast.rows and not forecast.learned_from:
        write_line("A rough estimate, without earlier answers to learn from: run with --limit 50 first.")


def _is_enough(forecast: Forecast, budget: float | None) -> str | None:
    """Whether a budget suffices, in words; None when that is unknown."""
    if budget is None or forecast.cost_usd is None:
        return None
    if forecast.cost_most_usd is not None and forecast.cost_most_usd <= budget:
        return "enough, without retries"
    return "probably enough" if forecast.cost_usd <= budget else "not enough"


def _forecast_lines(forecast: Forecast) -> list[tuple[str, str]]:
    rows = f"{forecast.rows:,} to call"
    if forecast.answered_before:
        rows += f", {forecast.answered_before:,} answered before"
    if forecast.changed:
        rows += f" ({forecast.changed:,} would be asked differently now: --on-change keep|reask)"
    if forecast.cached:
        rows += f", {forecast.cached:,} in the cache"
    most = forecast.output_tokens_most
    bound = "no upper bound" if most is None else f"{most:,} at most"
    tokens = f"{forecast.input_tokens:,} in, about {forecast.output_tokens:,} out ({bound})"
    cost = "unknown: the price of this model is not known"
    if forecast.cost_usd is not None and forecast.cost_least_usd is not None:
        highest = "no upper bound" if forecast.cost_most_usd is None else dollars(forecast.cost_most_usd)
        cost = f"about {dollars(forecast.cost_usd)} ({dollars(forecast.cost_least_usd)} to {highest})"
        cost += ", without retries"
    time = "unknown" if forecast.seconds is None else f"about {duration(forecast.seconds)}"
    return [
        ("rows", rows),
        ("tokens", tokens),
        ("cost", cost),
        ("time", time),
        ("bottleneck", forecast.bottleneck),
        ("based on", f"{forecast.learned_from:,} answers"),
    ]
