"""`callgate report`: what a batch came to, from its output file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from callgate.cli.terminal import printable, write_json, write_line

if TYPE_CHECKING:
    from callgate.batch.output.report import Report

__all__ = ["report"]


def report(
    output: str = typer.Argument(
        ..., metavar="OUTPUT", help="What `callgate run` wrote: answers.jsonl, answers.csv, ..."
    ),
    json: bool = typer.Option(False, "--json", help="Print the figures as JSON."),
    html: str | None = typer.Option(
        None,
        "--html",
        metavar="FILE",
        help="Write a page with plots there (- for stdout): --html report.html",
    ),
) -> None:
    """Say what a batch came to: cost, tokens, latency, errors by kind.

    Example: callgate report answers.jsonl --html report.html
    """
    # Not at the top: `callgate --help` must not wait for them.
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
        write_line(f"The page: {html}")


def _print_page(facts: Report, json: bool) -> None:
    from callgate.batch.output.report_page import render_page
    from callgate.errors import InputError

    if json:
        raise InputError("--json and --html - both want standard output; name a file for the page")
    write_line(render_page(facts))


def _write_page(facts: Report, path: str) -> None:
    from callgate.batch.output.report_page import render_page
    from callgate.errors import InputError

    try:
        Path(path).write_text(render_page(facts), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=path) from None


def _print_table(facts: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from callgate.cli.format import dollars, duration

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    cost = "unknown: no price is known" if facts.unpriced and not facts.cost else dollars(facts.cost)
    if facts.unpriced and facts.cost:
        cost += f" without {facts.unpriced:,} answers whose price is not known"
    rate = f", {facts.answered / facts.seconds:,.1f} rows/s" if facts.seconds > 0 else ""
    failed = f"{facts.failed:,} failed"
    if facts.refused:
        failed += f" ({facts.refused:,} of them refused by the provider for what they are)"
    lines = [
        ("rows", f"{facts.answered:,} answered, {failed}, {facts.cached:,} from the cache"),
        ("calls", f"{facts.attempts:,}"),
        ("tokens", f"{facts.usage.input_tokens:,} in, {facts.usage.output_tokens:,} out"),
        ("cost", cost),
        ("time", duration(facts.seconds) + rate),
        (
            "latency",
            "  ".join(f"p{share} {value:.2f} s" for share, value in facts.percentiles().items()) or "-",
        ),
        (
            "ended by",
            ", ".join(f"{name} {count:,}" for name, count in facts.finish_reasons.most_common(6)) or "-",
        ),
    ]
    for name, figure in lines:
        table.add_row(name, printable(figure))
    console = Console(highlight=False)
    console.print(table)
    for each in facts.errors:
        where = f" (for example line {each.line})" if each.line is not None else ""
        console.print(Text(printable(f"{each.count:,} x {each.type}: {each.example}{where}"), style="red"))
