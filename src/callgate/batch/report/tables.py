"""The tables of a report's page."""

from __future__ import annotations

import os
import shlex
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from callgate.batch.cost.budget import dollars
from callgate.batch.input.files import STDIN
from callgate.batch.options import flags_for, specifications
from callgate.batch.report.axes import span
from callgate.batch.report.examples import Example
from callgate.batch.report.figures import Report, Run, quantile
from callgate.batch.report.markup import Cell, section, table

__all__ = [
    "endpoints", "errors", "examples", "finishes", "labels", "models", "moment_of", "money", "runs",
    "settings", "tokens", "waits",
]  # fmt: skip

_ENDINGS = {
    "done": "done",
    "failures": "done, some rows failed",
    "stopped": "stopped: all failed",
    "budget": "budget spent",
    "input": "stopped: input",
    "output": "stopped: output",
    "interrupted": "interrupted",
}


def moment_of(seconds: float, now: datetime) -> str:
    """A time in the zone of `now`.

    >>> from datetime import UTC
    >>> moment_of(0.0, datetime(2026, 12, 1, tzinfo=UTC))
    '1970-01-01 00:00 UTC'
    """
    return f"{datetime.fromtimestamp(seconds, now.tzinfo):%Y-%m-%d %H:%M %Z}".strip()


def money(amount: float | None) -> str:
    """US dollars, or that they are unknown."""
    return "unknown" if amount is None else dollars(amount)


def errors(report: Report) -> str:
    """The failures, those that are the same together."""
    if not report.errors:
        return ""
    rows = [
        (each.type, each.example, f"{each.count:,}", "" if each.line is None else f"{each.line:,}")
        for each in report.errors
    ]
    return section("Rows that failed", table(["error", "for example", "rows", "line"], rows, texts=2))


def runs(report: Report, now: datetime) -> str:
    """The runs on the output; times are in the zone of `now`."""
    columns = ["began", "ended", "how", "running time", "answered", "failed", "rows a second", "cost"]
    rows = [_run_cells(run, now) for run in report.runs]
    return section("Runs", table(columns, rows, texts=3)) if rows else ""


def _run_cells(run: Run, now: datetime) -> tuple[str, ...]:
    rate = f"{run.answered / run.seconds:,.1f}" if run.seconds > 0 else "-"
    began, ended = moment_of(run.began, now), moment_of(run.ended, now)
    rows = f"{run.answered:,}", f"{run.failed:,}"
    return began, ended, _ending(run), span(run.seconds), *rows, rate, dollars(run.cost)


def _ending(run: Run) -> str:
    if run.record is None:
        return ""
    return "killed" if run.record.ending is None else _ENDINGS[run.record.ending]


def models(report: Report) -> str:
    """The models that answered."""
    if not report.models:
        return ""
    columns = ["model", "answered", "cut off", "tokens in", "tokens out", "cost", "median", "95th percentile"]
    rows = [
        (
            each.name,
            f"{each.answered:,}",
            f"{each.truncated:,}",
            f"{each.input_tokens:,}",
            f"{each.output_tokens:,}",
            money(each.known_cost),
            *(f"{quantile(each.latencies, share):.2f} s" if each.latencies else "-" for share in (50, 95)),
        )
        for each in report.models
    ]
    return section("Models", table(columns, rows))


def endpoints(report: Report) -> str:
    """Each endpoint and key; nothing without a run that was logged."""
    endpoints = report.endpoints
    if not endpoints:
        return ""
    total = sum(each.answered for each in endpoints) or 1
    rows: list[tuple[Cell, ...]] = [
        (
            each.name,
            ", ".join(f"{count:,} x {fault}" for fault, count in each.faults.most_common()),
            f"{each.answered:,}",
            f"{each.answered / total:.0%}",
            f"{each.calls:,}",
            dollars(each.cost),
            *(f"{seconds:.2f} s" for seconds in each.latency or ()),
            *("-" for _ in range(0 if each.latency else 2)),
        )
        for each in endpoints
    ]
    columns = [
        "endpoint",
        "failed attempts",
        "answered",
        "share",
        "calls",
        "cost",
        "median",
        "95th percentile",
    ]
    return section("Endpoints and keys", table(columns, rows, texts=2))


def waits(report: Report) -> str:
    """What was waited for, in the runs that were logged."""
    waited: Counter[str] = Counter()
    for record in report.records:
        waited.update({name: round(seconds) for name, seconds in record.waits.items()})
    total = sum(waited.values())
    rows: list[tuple[Cell, ...]] = [
        (name, seconds / total, span(seconds), f"{seconds / total:.0%}")
        for name, seconds in waited.most_common()
        if seconds
    ]
    if not rows:
        return ""
    note = "what kept the runs from going faster"
    return section("Waiting", table(["for", "share", "time", "of all"], rows, texts=2, small=True), note=note)


def settings(report: Report) -> str:
    """Command, settings and version of the last run that was logged."""
    records = report.records
    if not records:
        return ""
    last = records[-1]
    rows = [(name, _setting(value)) for name, value in last.settings.items()]
    rows.append(("models", ", ".join(last.models)))
    rows.append(("version of callgate", last.version or "unknown"))
    command = _command(last.settings)
    if command is not None:
        rows.insert(0, ("command", command))
    note = "of the last run; all others have their defaults"
    return section("Settings", table(["setting", "value"], rows, texts=2), note=note)


def _command(settings: Mapping[str, Any]) -> str | None:
    """The command line that has these settings; None for rows that were in memory.

    >>> _command({"input": "in.jsonl", "model": ["openai/m"], "rpm": 500.0, "quiet": True, "template": "a b"})
    "callgate run in.jsonl -m openai/m --rpm 500 -q --template 'a b'"
    """
    source = str(settings.get("input"))
    if source != STDIN and not os.path.splitext(source)[1]:
        return None
    words = ["callgate", "run", source]
    for name, value in settings.items():
        if name in specifications() and name != "input":
            flag = flags_for(name)[0]
            values = _pairs(value) if isinstance(value, dict) else value
            values = values if isinstance(values, list) else [values]
            words += [flag] if value is True else [word for each in values for word in (flag, _setting(each))]
    return shlex.join(words)


def _pairs(value: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_setting(each)}" for name, each in value.items()]


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def labels(report: Report) -> str:
    """How often each label occurs."""
    parts = []
    for name, counts in report.labels.counts.items():
        answers = report.labels.answers[name]
        rows: list[tuple[Cell, ...]] = [
            (value, count / answers, f"{count:,}", f"{count / answers:.1%}")
            for value, count in counts.most_common()
        ]
        parts.append(table([name, "share", "answers", "of all"], rows, texts=2, small=True))
    return section("Labels", *parts, note="how often each value occurs in the answers") if parts else ""


def tokens(report: Report) -> str:
    """How many tokens a row has."""

    def cells(name: str, counts: array[int]) -> tuple[str, ...]:
        return name, *(f"{quantile(counts, share):,}" for share in (0, 50, 95, 100))

    if not report.input_tokens:
        return ""
    rows = [cells("input", report.input_tokens), cells("output", report.output_tokens)]
    return section("Tokens of a row", table(["tokens", "least", "median", "95th percentile", "most"], rows))


def finishes(report: Report) -> str:
    """How the answers ended."""
    if not report.finish_reasons:
        return ""
    rows = [(reason, f"{count:,}") for reason, count in report.finish_reasons.most_common()]
    return section("How the answers ended", table(["finish reason", "answers"], rows, small=True))


def examples(title: str, rows: Sequence[Example]) -> str:
    """Some answered rows."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for each in rows for name in each.columns))
    cells = [
        (
            each.name,
            *(each.columns.get(name, "") for name in names),
            each.answer,
            f"{each.output_tokens:,}",
            f"{each.latency:.2f} s",
        )
        for each in rows
    ]
    columns = ["row", *names, "answer", "tokens out", "latency"]
    return section(title, table(columns, cells, texts=len(columns) - 2))
