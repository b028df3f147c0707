"""A report and a comparison as lines for a terminal."""

from __future__ import annotations

from callgate.batch.display.format import dollars, duration
from callgate.batch.report.comparison import Comparison
from callgate.batch.report.comparison_page import names_of
from callgate.batch.report.figures import Report, quantile

__all__ = ["comparison_lines", "error_lines", "report_lines"]

_MOST_NAMES = 6


def report_lines(report: Report) -> list[tuple[str, str]]:
    """The figures as (name, text)."""
    percentiles = (f"p{share} {value:.2f} s" for share, value in report.percentiles().items())
    rate = "" if report.rows_per_second is None else f", {report.rows_per_second:,.1f} rows/s"
    runs = f" in {len(report.runs)} runs" if len(report.runs) > 1 else ""
    calls = f"{report.attempts:,}"
    if report.repeated:
        calls += f", {report.repeated:,} of them repeated"
    return [
        ("rows", _rows(report)),
        ("calls", calls),
        ("tokens", f"{report.usage.input_tokens:,} in, {report.usage.output_tokens:,} out{_per_row(report)}"),
        ("cost", _cost(report)),
        ("time", f"{duration(report.seconds)}{runs}{rate}"),
        ("latency", "  ".join(percentiles) or "-"),
        ("finish reasons", _counts(dict(report.finish_reasons.most_common())) or "-"),
        *_models(report),
        *((f"{name}:", _counts(counts)) for name, counts in report.labels.to_dict().items()),
    ]


def error_lines(report: Report) -> list[str]:
    """The failures, one kind a line."""
    return [
        f"{each.count:,} x {each.type}: {each.example}"
        + ("" if each.line is None else f" (for example line {each.line})")
        for each in report.errors
    ]


def comparison_lines(comparison: Comparison) -> list[str]:
    """The figures of both in columns, then how far they agree."""
    cells = [("", *names_of(comparison), "change")]
    cells += [(each.name, each.first, each.second, each.change) for each in comparison.metrics()]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells
    ]
    lines.append(
        f"{comparison.common:,} rows are answered in both, {comparison.same_text:,} with the same text"
    )
    for each in comparison.agreements:
        kappa = "" if each.kappa is None else f", kappa {each.kappa:.2f}"
        lines.append(f"{each.name}: {each.share:.1%} of {each.rows:,} rows agree{kappa}")
        lines += [
            f"  {first} -> {second}: {count:,} (for example {each.example[first, second]})"
            for (first, second), count in each.different.most_common(_MOST_NAMES)
        ]
    return lines


def _models(report: Report) -> list[tuple[str, str]]:
    if len(report.models) < 2:
        return []
    return [("model", f"{each.name}: {each.answered:,} answered") for each in report.models]


def _rows(report: Report) -> str:
    text = f"{report.answered:,} answered, {report.failed:,} failed"
    if report.refused:
        text += f" ({report.refused:,} rejected by the provider for their content or length)"
    text += f", {report.cached:,} from the cache"
    if report.truncated:
        text += f", {report.truncated:,} answers cut off (length)"
    return text


def _cost(report: Report) -> str:
    if report.known_cost is None:
        return "unknown: the price of this model is not known"
    text = dollars(report.known_cost)
    if report.unpriced:
        return f"{text} without {report.unpriced:,} answers of unknown price"
    each = report.cost_per_1000_rows
    return f"{text}, {dollars(each)} per 1,000 rows" if each else text


def _per_row(report: Report) -> str:
    if not report.input_tokens:
        return ""
    return (
        f" (median row {quantile(report.input_tokens, 50):,} in, {quantile(report.output_tokens, 50):,} out)"
    )


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:_MOST_NAMES]]
    if len(counts) > _MOST_NAMES:
        shown.append(f"{len(counts) - _MOST_NAMES} others")
    return ", ".join(shown)
