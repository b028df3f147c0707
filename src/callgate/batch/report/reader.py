"""Reads the report of a finished (or unfinished) batch from its output files alone."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from callgate.batch.guard import fingerprint_of
from callgate.batch.input.files import READ_ERRORS
from callgate.batch.output.paths import errors_path, open_answers
from callgate.batch.report.examples import ExamplePicker
from callgate.batch.report.figures import ErrorKind, ModelFigures, Report
from callgate.batch.report.run_records import read_run_records
from callgate.batch.report.timeline import Timeline
from callgate.errors import InputError
from callgate.response import Usage

__all__ = ["read_report"]

_MOST_KINDS = 200


def read_report(output: str | Path) -> Report:
    """Read OUTPUT, and OUTPUT.errors.jsonl if there is one. Memory: some 60 bytes an answer.

    Of a table, the journal beside it is read. A torn last line, as a killed run leaves it, is passed over.

    Raises:
        InputError: when the file is missing, cannot be read, or holds a line that callgate did not write.
    """
    path = os.fspath(output)
    reader = _Reader(Report(path))
    stream, name = open_answers(path)
    with stream:
        reader.take_all(stream, name)
    failures = errors_path(path)
    if os.path.exists(failures):
        with open(failures, "rb") as stream:
            reader.take_all(stream, failures)
    return reader.finish()


class _Reader:
    """Adds lines up."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._kinds: dict[str, ErrorKind] = {}
        self._models: dict[str, ModelFigures] = {}
        self._timeline = Timeline()
        self._examples = ExamplePicker()
        self._usage = [0] * len(Usage.COUNTS)

    def take_all(self, stream: BinaryIO, source: str) -> None:
        try:
            for number, line in enumerate(stream, 1):
                if line.endswith(b"\n") and line.strip():
                    self._take(line, source, number)
        except READ_ERRORS as error:
            raise InputError(f"cannot be read to its end ({error}); is it damaged?", source=source) from None

    def _take(self, line: bytes, source: str, number: int) -> None:
        try:
            row = orjson.loads(line)
        except ValueError:
            raise InputError("is no JSON", source=source, line=number) from None
        if not isinstance(row, dict) or "attempts" not in row or "finished_at" not in row:
            raise InputError("was not written by `callgate run`", source=source, line=number)
        report = self._report
        report.attempts += row["attempts"]
        report.repeated += max(0, row["attempts"] - 1)
        cost = row.get("cost_usd")
        report.cost += cost or 0.0
        self._take_usage(row)
        ended = float(row["finished_at"])
        if row.get("error") is not None:
            self._timeline.add_failure(ended, cost or 0.0)
            self._take_failure(row)
        else:
            latency = 0.0 if row.get("cached") else float(row.get("latency_s") or 0.0)
            self._timeline.add_answer(ended, cost or 0.0, latency)
            self._take_answer(row, cost, latency)

    def _take_usage(self, row: dict[str, Any]) -> None:
        usage = row.get("usage")
        if isinstance(usage, dict) and not row.get("cached"):
            for index, name in enumerate(Usage.COUNTS):
                self._usage[index] += usage.get(name) or 0

    def _take_answer(self, row: dict[str, Any], cost: float | None, latency: float) -> None:
        report, body = self._report, (row.get("response") or {}).get("body")
        reason = _finish_reason(body)
        truncated = row.get("finish_reason", reason) == "length"
        report.answered += 1
        report.truncated += truncated
        report.finish_reasons[reason] += 1
        report.labels.add(row.get("parsed"), row.get("text"))
        model = self._model(row, body)
        model.answered += 1
        model.truncated += truncated
        output_tokens = 0
        if row.get("cached"):
            report.cached += 1
        else:
            usage = row.get("usage") or {}
            output_tokens = usage.get("output_tokens") or 0
            report.latencies.append(latency)
            report.input_tokens.append(usage.get("input_tokens") or 0)
            report.output_tokens.append(output_tokens)
            report.unpriced += cost is None
            model.paid += 1
            model.unpriced += cost is None
            model.cost += cost or 0.0
            model.input_tokens += report.input_tokens[-1]
            model.output_tokens += output_tokens
            model.latencies.append(latency)
        self._examples.see(row, output_tokens=output_tokens, latency=latency)

    def _model(self, row: dict[str, Any], body: Any) -> ModelFigures:
        name = row.get("model") or (body.get("model") if isinstance(body, dict) else None)
        name = name if isinstance(name, str) else "unknown"
        if name not in self._models:
            self._models[name] = ModelFigures(name)
        return self._models[name]

    def _take_failure(self, row: dict[str, Any]) -> None:
        report, error = self._report, row["error"]
        refused = bool(error.get("refused"))
        report.failed += 1
        report.refused += refused
        kind, code = str(error.get("type") or error.get("code") or "unknown"), error.get("code")
        status, message = (row.get("response") or {}).get("status_code"), str(error.get("message"))
        mark = fingerprint_of(kind, status, code, message)
        if mark not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            # Texts that never repeat must not fill the memory: the rest goes by its type alone.
            mark = kind
        found = self._kinds.get(mark)
        if found is None:
            self._kinds[mark] = ErrorKind(kind, 1, message, row.get("line"), refused)
        else:
            found.count += 1

    def finish(self) -> Report:
        report, examples = self._report, self._examples
        counts: dict[str, Any] = dict(zip(Usage.COUNTS, self._usage, strict=True))
        report.usage = Usage(**counts)
        report.latencies = array("d", sorted(report.latencies))
        report.input_tokens = array("q", sorted(report.input_tokens))
        report.output_tokens = array("q", sorted(report.output_tokens))
        report.errors = sorted(self._kinds.values(), key=lambda kind: -kind.count)
        report.models = sorted(self._models.values(), key=lambda model: -model.answered)
        for model in report.models:
            model.latencies = array("d", sorted(model.latencies))
        report.samples, report.slowest, report.longest = examples.samples, examples.slowest, examples.longest
        report.runs, report.moments = self._timeline.split(read_run_records(report.output))
        report.seconds = sum(run.seconds for run in report.runs)
        return report


def _finish_reason(body: Any) -> str:
    """How the answer ended, in whichever of the providers' words it says so."""
    if not isinstance(body, dict):
        return "unknown"
    for name in ("choices", "candidates"):
        choices = body.get(name)
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return str(choices[0].get("finish_reason") or choices[0].get("finishReason") or "unknown")
    return str(body.get("stop_reason") or body.get("stopReason") or body.get("status") or "unknown")
