"""`callgate report`: cost, tokens, latency and errors of a batch, from its output."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from callgate.cli.terminal import write_json, write_line

if TYPE_CHECKING:
    from callgate.batch.report.figures import Report

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
    from callgate.batch.report.reader import read_report

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
    from callgate.batch.report.page import render_page
    from callgate.errors import InputError

    if json:
        raise InputError("--json and --html - both write to standard output; write the page to a file")
    write_line(render_page(facts, now=datetime.now().astimezone()))


def _write_page(facts: Report, path: str) -> None:
    from callgate.batch.report.page import render_page
    from callgate.errors import InputError

    try:
        Path(path).write_text(render_page(facts, now=datetime.now().astimezone()), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=path) from None


def _print_table(facts: Report) -> None:
    from callgate.batch.display.format import in_columns
    from callgate.batch.report.text import error_lines, report_lines

    for line in in_columns(report_lines(facts)):
        write_line(line)
    for line in error_lines(facts):
        write_line(line, color="red")
