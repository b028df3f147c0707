"""What `callgate run` prints when a batch has ended: the summary, why it stopped, how to resume."""

from __future__ import annotations

import re
import shlex
import sys

from callgate.batch.cost.budget import dollars
from callgate.batch.cost.ledger import read_account
from callgate.batch.input.files import describe, format_of
from callgate.batch.job import Outcome
from callgate.batch.options import RunOptions
from callgate.batch.output.journal import STDOUT
from callgate.batch.output.paths import (
    errors_path,
    is_compressed_lines,
    is_own_journal,
    journal_path,
    ledger_path,
)
from callgate.batch.run import Summary
from callgate.cli.summary import print_summary, reason_of, summary_to_dict
from callgate.cli.terminal import write_json, write_line

__all__ = ["print_ending"]

_PASSWORD = re.compile(r"//[^/@\s]*@")


def print_ending(options: RunOptions, outcome: Outcome) -> None:
    """Print the summary on stdout, and on stderr what the user may want to do next."""
    summary = outcome.summary
    if options.json:
        write_json(summary_to_dict(summary, options.output, outcome.endpoints))
    elif not options.quiet:
        print_summary(summary, options.output, outcome.endpoints)
    for line in _notes(options, summary, outcome.path):
        write_line(line, err=True)


def _notes(options: RunOptions, summary: Summary, path: str) -> list[str]:
    notes = []
    if summary.message is not None:
        notes.append(f"callgate: {'stopped after ' * (summary.ending == 'stopped')}{reason_of(summary)}")
    if summary.progress.total == 0 and options.limit != 0:
        notes.append(f"callgate: there are no rows in {describe(options.input)}")
    if options.output == STDOUT:
        return notes
    if summary.ending == "budget" and (carried := read_account(options.output).charged_usd) > 0:
        notes.append(
            f"{dollars(carried)} of it is on no line of the output: rows that failed in earlier runs, answers"
            " that were moved aside to be asked again, and requests that were cancelled and may have been"
            f" billed. See {ledger_path(options.output)}"
        )
    if summary.ending not in ("done", "failures"):
        notes.append(_how_to_resume(options, summary, path))
    elif not (options.quiet or options.json):
        notes += _next_steps(options, summary)
    return notes


def _how_to_resume(options: RunOptions, summary: Summary, path: str) -> str:
    left = summary.progress.left
    rows = f"{summary.progress.finished:,} rows are answered in {path}"
    if left is not None:
        rows += f", {left + summary.progress.stats.failed:,} are not"
    command = _command(without_budget=summary.ending == "budget")
    if summary.ending == "budget":
        return f"{rows}. To resume with a larger --budget than {options.budget:g}: {command}"
    if summary.ending == "input":
        return f"{rows}. To resume after correcting that: {command}"
    return f"{rows}. To resume: {command}"


def _next_steps(options: RunOptions, summary: Summary) -> list[str]:
    if summary.ending == "failures":
        return [f"Failed rows: {errors_path(options.output)}. To try them again: {_command()}"]
    notes = []
    if summary.progress.skipped and not summary.progress.stats.ended:
        notes.append("All rows were answered before. To ask them again, use another -o, or --overwrite.")
    # A program that reads such a file as one JSON document fails.
    form = " (one JSON object per line)" if options.output.lower().endswith(".json") else ""
    notes.append(f"Answers: {options.output}{form}. Next: {_ways_to_read(options.output)}")
    return notes


def _ways_to_read(output: str) -> str:
    name = shlex.quote(output)
    report = f"callgate report {name}"
    if is_own_journal(output):
        return f"{report}, or jq -r .text {name}"
    if is_compressed_lines(output):
        unpack = "gzip" if format_of(output)[1] == "gzip" else "zstd"
        return f"{report}, or {unpack} -dc {name} | jq -r .text"
    # Without the journal, the next run pays for all rows again.
    return f"{report} (keep {shlex.quote(journal_path(output))}: the report and the next run read it)"


def _command(*, without_budget: bool = False) -> str:
    """This command again, without --overwrite and passwords, and with a gap where a spent budget was."""
    words = [_PASSWORD.sub("//...@", word) for word in sys.argv[1:] if word != "--overwrite"]
    if without_budget:
        for index, word in enumerate(words):
            if word == "--budget" and index + 1 < len(words):
                words[index + 1] = "..."
            elif word.startswith("--budget="):
                words[index] = "--budget=..."
    return shlex.join(["callgate", *words])
