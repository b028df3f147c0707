"""`callgate report`: cost, tokens, latency and errors of a batch, from its output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from callgate.cli.terminal import write_json, write_line

if TYPE_CHECKING:
    from callgate.batch.output.report import Report

__all__ = ["report"]


def report(
    output: str = typer.Argument(
        ..., metavar="OUTPUT", help="The output of callgate run: answers.jsonl, answers.csv, ..."
    ),
    json: bool = typer.Option(False, "--json", help="Print the report as JSON.", metavar=" "),
    html: str | None = typer.Option(
        None,
        "--html",
        metavar="FILE",
        help="Write a page with charts: --html report.html (- writes it to stdout).",
    ),
) -> None:
    """Report cost, tokens, latency and errors of a batch.

    Example: callgate report answers.jsonl --html report.html
    """
    # Imported late, so that `callgate --help` does not wait for it.
    from callgate.batch.output.report import read_report

    facts = read_report(output)
    if html == "-":
        _print_page(facts, json)
        return
    if html is not None:
        _write_page(facts, html)
    if json:
        write_json(facts.to_dict())
    elif html is None:
        _print_table(facts)
    else:
        write_line(f"Report: {html}")


def _print_page(facts: Report, json: bool) -> None:
    from callgate.batch.output.report_page import render_page
    from callgate.errors import InputError

    if json:
        raise InputError("--json and --html - both write to standard output; write the page to a file")
    write_line(render_page(facts))


def _write_page(facts: Report, path: str) -> None:
    from callgate.batch.output.report_page import render_page
    from callgate.errors import InputError

    try:
        Path(path).write_text(render_page(facts), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=path) from None


def _print_table(facts: Report) -> None:
    from callgate.batch.display.format import dollars, duration, in_columns

    cost = "unknown: the price of this model is not known"
    if facts.cost or not facts.unpriced:
        cost = dollars(facts.cost)
        if facts.unpriced:
            cost += f" without {facts.unpriced:,} answers of unknown price"
    rate = f", {facts.answered / facts.seconds:,.1f} rows/s" if facts.seconds > 0 else ""
    failed = f"{facts.failed:,} failed"
    if facts.refused:
        failed += f" ({facts.refused:,} rejected by the provider for their content or length)"
    percentiles = (f"p{share} {value:.2f} s" for share, value in facts.percentiles().items())
    reasons = (f"{name} {count:,}" for name, count in facts.finish_reasons.most_common(6))
    lines = [
        ("rows", f"{facts.answered:,} answered, {failed}, {facts.cached:,} from the cache"),
        ("calls", f"{facts.attempts:,}"),
        ("tokens", f"{facts.usage.input_tokens:,} in, {facts.usage.output_tokens:,} out"),
        ("cost", cost),
        ("time", duration(facts.seconds) + rate),
        ("latency", "  ".join(percentiles) or "-"),
        ("finish reasons", ", ".join(reasons) or "-"),
    ]
    for line in in_columns(lines):
        write_line(line)
    for each in facts.errors:
        where = f" (for example line {each.line})" if each.line is not None else ""
        write_line(f"{each.count:,} x {each.type}: {each.example}{where}", color="red")
