"""`callgate report`: cost, tokens, latency and errors of a batch from its output, or of two side by side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callgate.cli.terminal import write_json, write_line

if TYPE_CHECKING:
    from callgate.batch.report.comparison import Comparison
    from callgate.batch.report.figures import Report

__all__ = ["report"]


def report(
    outputs: Annotated[
        list[str],
        typer.Argument(
            metavar="OUTPUT [OUTPUT]",
            help="The output of callgate run: answers.jsonl, answers.csv, ...; two are compared.",
        ),
    ],
    json: bool = typer.Option(False, "--json", help="Print the report as JSON.", metavar=" "),
    html: str | None = typer.Option(
        None,
        "--html",
        metavar="FILE",
        help="Write a page with charts: --html report.html (- writes it to stdout).",
    ),
) -> None:
    """Report cost, tokens, latency and errors of a batch; of two outputs, how they differ.

    Examples:

        callgate report answers.jsonl --html report.html

        callgate report mini.jsonl large.jsonl
    """
    from callgate.errors import InputError

    if len(outputs) > 2:
        raise InputError(f"report takes one output, or two to compare, got {len(outputs)}")
    # Imported late, so that `callgate --help` does not wait for it.
    from callgate.batch.report.comparison import compare
    from callgate.batch.report.comparison_page import render_comparison
    from callgate.batch.report.page import render_page
    from callgate.batch.report.reader import read_report

    now = datetime.now().astimezone()
    if len(outputs) == 2:
        both = compare(*outputs)
        _show(
            both.to_dict,
            lambda: render_comparison(both, now=now),
            lambda: _print_comparison(both),
            json,
            html,
        )
    else:
        facts = read_report(outputs[0])
        _show(facts.to_dict, lambda: render_page(facts, now=now), lambda: _print_report(facts), json, html)


def _show(
    to_dict: Callable[[], dict[str, Any]],
    to_page: Callable[[], str],
    print_lines: Callable[[], None],
    json: bool,
    html: str | None,
) -> None:
    from callgate.errors import InputError

    if html == "-":
        if json:
            raise InputError("--json and --html - both write to standard output; write the page to a file")
        write_line(to_page())
        return
    if html is not None:
        try:
            Path(html).write_text(to_page(), encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=html) from None
    if json:
        write_json(to_dict())
    elif html is None:
        print_lines()
    else:
        write_line(f"Report: {html}")


def _print_report(facts: Report) -> None:
    from callgate.batch.display.format import in_columns
    from callgate.batch.report.text import error_lines, report_lines

    for line in in_columns(report_lines(facts)):
        write_line(line)
    for line in error_lines(facts):
        write_line(line, color="red")


def _print_comparison(both: Comparison) -> None:
    from callgate.batch.report.text import comparison_lines

    for line in comparison_lines(both):
        write_line(line)
