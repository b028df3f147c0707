"""What a finished (or unfinished) batch came to, read from its output files alone."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from callgate.batch.guard import fingerprint_of
from callgate.batch.input.files import READ_ERRORS
from callgate.batch.output.paths import errors_path, open_answers
from callgate.errors import InputError
from callgate.response import Usage

__all__ = ["ErrorKind", "Moment", "Report", "read_report"]

_MOMENTS = 120
_BARS = 40
_QUANTILES = (50, 90, 95, 99)
_MOST_KINDS = 200


@dataclass(slots=True)
class ErrorKind:
    """Rows that failed in the same way: how many, and one of them in words."""

    type: str
    count: int
    example: str
    line: int | None
    refused: bool = False
    """Whether the provider refused them for what they are: their content, or their length."""


@dataclass(slots=True)
class Moment:
    """A slice of the run: when it began (seconds from the first answer), and what ended in it."""

    at: float
    rows: int = 0
    failed: int = 0
    cost: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class Report:
    """The figures of a batch.

    Attributes:
        output: The file it was read from.
        answered, failed, cached: Rows.
        refused: Of those that failed, the rows that the provider refused for their content or their length.
        attempts: Calls that went out.
        usage: Tokens of all answers, those too that failed rows were given and did not keep.
        cost: US dollars of these, where the price is known.
        unpriced: Answers whose price is not.
        seconds: From the first answer's beginning to the last one's end.
        latencies: Seconds on the wire, of every answer that was not cached, ascending.
        finish_reasons: How the answers ended, in the provider's words.
        errors: Failures, those that are the same together, most frequent first.
        moments: The run in slices of equal length.
        slice_seconds: How long a slice is.

    Example::

        report = read_report("answers.jsonl")
        print(report.answered, report.percentiles()[95], report.cost)
    """

    output: str
    answered: int = 0
    failed: int = 0
    cached: int = 0
    refused: int = 0
    attempts: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    finish_reasons: Counter[str] = field(default_factory=Counter)
    errors: list[ErrorKind] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    slice_seconds: float = 1.0

    def percentiles(self) -> dict[int, float]:
        """Latency percentiles in seconds, by the nearest rank; empty when nothing was called."""
        return {share: quantile(self.latencies, share) for share in _QUANTILES} if self.latencies else {}

    def histogram(self) -> list[tuple[float, float, int]]:
        """The latencies up to the 99th percentile in bars of equal width: (from, to, count).

        The last bar also holds what is above.
        """
        if not self.latencies:
            return []
        top = quantile(self.latencies, 99) or self.latencies[-1] or 1.0
        width = top / _BARS
        counts = [0] * _BARS
        for latency in self.latencies:
            counts[min(_BARS - 1, int(latency / width))] += 1
        return [(i * width, (i + 1) * width, count) for i, count in enumerate(counts)]

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return {
            "output": self.output,
            "answered": self.answered,
            "failed": self.failed,
            "refused": self.refused,
            "cached": self.cached,
            "calls": self.attempts,
            "usage": self.usage.to_dict(),
            "cost_usd": self.cost if self.unpriced == 0 or self.cost else None,
            "unpriced": self.unpriced,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.answered / self.seconds, 3) if self.seconds > 0 else None,
            "latency_s": {f"p{share}": round(value, 6) for share, value in self.percentiles().items()},
            "latency_max_s": round(self.latencies[-1], 6) if self.latencies else None,
            "finish_reasons": dict(self.finish_reasons.most_common()),
            "errors": [
                {
                    "type": each.type,
                    "count": each.count,
                    "example": each.example,
                    "line": each.line,
                    "refused": each.refused,
                }
                for each in self.errors
            ],
        }


def quantile(ascending: array[float], share: float) -> float:
    """The value at a percentage of an ascending array, by the nearest rank.

    >>> quantile(array("d", [1.0, 2.0, 3.0, 4.0]), 50)
    2.0
    """
    rank = -(-len(ascending) * share // 100)
    return ascending[max(0, min(len(ascending), int(rank)) - 1)]


def read_report(output: str | Path) -> Report:
    """Read OUTPUT, and OUTPUT.errors.jsonl if there is one. Memory: some 24 bytes an answer.

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
        # What a slice of time needs of a row, kept flat: when it ended, how long it took, what it cost.
        self._ends = array("d")
        self._took = array("d")
        self._costs = array("d")
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
        latency, cost = float(row.get("latency_s") or 0.0), row.get("cost_usd")
        self._ends.append(float(row["finished_at"]))
        self._costs.append(cost or 0.0)
        report.cost += cost or 0.0
        self._take_usage(row)
        if row.get("error") is not None:
            self._took.append(-1.0)
            self._take_failure(row)
            return
        report.answered += 1
        if row.get("cached"):
            report.cached += 1
            self._took.append(0.0)
        else:
            report.latencies.append(latency)
            self._took.append(latency)
            report.unpriced += cost is None
        body = (row.get("response") or {}).get("body")
        report.finish_reasons[_finish_reason(body)] += 1

    def _take_usage(self, row: dict[str, Any]) -> None:
        usage = row.get("usage")
        if isinstance(usage, dict) and not row.get("cached"):
            for index, name in enumerate(Usage.COUNTS):
                self._usage[index] += usage.get(name) or 0

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
        report = self._report
        counts: dict[str, Any] = dict(zip(Usage.COUNTS, self._usage, strict=True))
        report.usage = Usage(**counts)
        report.latencies = array("d", sorted(report.latencies))
        report.errors = sorted(self._kinds.values(), key=lambda kind: -kind.count)
        if self._ends:
            start = min(end - max(0.0, took) for end, took in zip(self._ends, self._took, strict=True))
            report.seconds = max(self._ends) - start
            self._slice(start)
        return report

    def _slice(self, start: float) -> None:
        report = self._report
        width = report.slice_seconds = max(report.seconds / _MOMENTS, 1e-3)
        moments = [Moment(index * width) for index in range(_MOMENTS)]
        for end, took, cost in zip(self._ends, self._took, self._costs, strict=True):
            moment = moments[min(_MOMENTS - 1, int((end - start) / width))]
            moment.cost += cost
            if took < 0:
                moment.failed += 1
                continue
            moment.rows += 1
            if took > 0:
                moment.latencies.append(took)
        for moment in moments:
            moment.latencies = array("d", sorted(moment.latencies))
        report.moments = moments


def _finish_reason(body: Any) -> str:
    """How the answer ended, in whichever of the providers' words it says so."""
    if not isinstance(body, dict):
        return "unknown"
    for name in ("choices", "candidates"):
        choices = body.get(name)
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return str(choices[0].get("finish_reason") or choices[0].get("finishReason") or "unknown")
    return str(body.get("stop_reason") or body.get("stopReason") or body.get("status") or "unknown")
