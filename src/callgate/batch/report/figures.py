"""`Report`: the figures of a batch."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from callgate.batch.report.examples import Example
from callgate.batch.report.labels import Labels
from callgate.batch.report.run_records import EndpointFigures, RunRecord, endpoints_of
from callgate.response import Usage

__all__ = ["ErrorKind", "ModelFigures", "Moment", "Report", "Run", "quantile"]

Number = TypeVar("Number", int, float)

_BARS = 40
_QUANTILES = (50, 90, 95, 99)


@dataclass(slots=True)
class ErrorKind:
    """Rows that failed in the same way: how many, and the message of one of them.

    `refused` is true if the provider refused them for their content or their length.
    """

    type: str
    count: int
    example: str
    line: int | None
    refused: bool = False


@dataclass(slots=True)
class Run:
    """One run on the output.

    Attributes:
        began, ended: Seconds since 1970.
        answered, failed: Rows that ended in it.
        cost: US dollars of these rows, where the price is known.
        record: What was logged of it; None: nothing, and it is known by its rows alone.
    """

    began: float
    ended: float
    answered: int = 0
    failed: int = 0
    cost: float = 0.0
    record: RunRecord | None = None

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return self.ended - self.began

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        record = self.record
        logged = {"version", "models", "settings", "ending", "retries", "moves", "hedges", "rate_limited"}
        return {
            "began_at": round(self.began, 3),
            "ended_at": round(self.ended, 3),
            "seconds": round(self.seconds, 3),
            "answered": self.answered,
            "failed": self.failed,
            "cost_usd": self.cost,
            **({} if record is None else {name: getattr(record, name) for name in sorted(logged)}),
        }


@dataclass(slots=True)
class Moment:
    """A slice of the running time.

    Attributes:
        at: When it begins, in seconds of running time: pauses between runs count nothing.
        seconds: How long it is.
        run: The place of its run in `Report.runs`.
        rows, failed: Rows that ended in it.
        cost: US dollars of these rows.
        latencies: Seconds on the wire of its answers, ascending.
    """

    at: float
    seconds: float
    run: int
    rows: int = 0
    failed: int = 0
    cost: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class ModelFigures:
    """The answers of one model.

    Attributes:
        name: As the provider wrote it in its answers.
        answered: Rows; those from the cache are among them.
        truncated: Answers that were cut off at the largest number of tokens (finish reason "length").
        input_tokens, output_tokens: Tokens of all answers that were paid for.
        cost: US dollars of these, where the price is known.
        paid, unpriced: How many were paid for, and how many of these have no known price.
        latencies: Seconds on the wire; ascending once the report is read.
    """

    name: str
    answered: int = 0
    truncated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    paid: int = 0
    unpriced: int = 0
    latencies: array[float] = field(default_factory=lambda: array("d"))

    @property
    def known_cost(self) -> float | None:
        """US dollars; None when no price is known."""
        return None if self.paid and self.unpriced == self.paid else self.cost

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return {
            "model": self.name,
            "answered": self.answered,
            "truncated": self.truncated,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.known_cost,
            "latency_s": {f"p{share}": round(quantile(self.latencies, share), 6) for share in (50, 95)}
            if self.latencies
            else {},
        }


@dataclass(slots=True)
class Report:
    """The figures of a batch.

    Attributes:
        output: The file it was read from.
        answered, failed, cached: Rows.
        refused: Of those that failed, the rows that the provider refused for their content or their length.
        truncated: Answers that were cut off at the largest number of tokens (finish reason "length").
        attempts: Calls that went out.
        repeated: Of these, further attempts for the same row: retries, moves to another endpoint, hedges.
        usage: Tokens of all answers, those too that failed rows were given and did not keep.
        cost: US dollars of these, where the price is known.
        unpriced: Answers whose price is not.
        seconds: The running time of all runs, each from its first call to its last answer; no pauses.
        latencies: Seconds on the wire, of every answer that was not cached, ascending.
        input_tokens, output_tokens: Of each row that was paid for, ascending.
        finish_reasons: How the answers ended, in the provider's words.
        errors: Failures, those that are the same together, most frequent first.
        runs: The runs on this output, oldest first.
        moments: Their time in slices.
        models: The models that answered, most answers first.
        labels: How often each value occurs in `parsed`.
        samples, slowest, longest: Rows to look at: some at random, those with the highest latency, and those
            with the most output tokens.

    Example::

        report = read_report("answers.jsonl")
        print(report.answered, report.percentiles()[95], report.cost)
    """

    output: str
    answered: int = 0
    failed: int = 0
    cached: int = 0
    refused: int = 0
    truncated: int = 0
    attempts: int = 0
    repeated: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    finish_reasons: Counter[str] = field(default_factory=Counter)
    errors: list[ErrorKind] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    models: list[ModelFigures] = field(default_factory=list)
    labels: Labels = field(default_factory=Labels)
    samples: list[Example] = field(default_factory=list)
    slowest: list[Example] = field(default_factory=list)
    longest: list[Example] = field(default_factory=list)

    @property
    def known_cost(self) -> float | None:
        """US dollars; None when no price is known."""
        return None if self.unpriced and not self.cost else self.cost

    @property
    def cost_per_1000_rows(self) -> float | None:
        """US dollars for a thousand answered rows; None when a price is unknown or nothing was answered."""
        return None if self.unpriced or not self.answered else 1000 * self.cost / self.answered

    @property
    def rows_per_second(self) -> float | None:
        """Answered rows by running time; None when no time has passed."""
        return self.answered / self.seconds if self.seconds > 0 else None

    @property
    def records(self) -> list[RunRecord]:
        """What was logged of the runs; earlier versions of callgate logged nothing."""
        return [run.record for run in self.runs if run.record is not None]

    @property
    def endpoints(self) -> list[EndpointFigures]:
        """The endpoints that were called in the runs that were logged, most answers first."""
        return endpoints_of(self.records)

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
        rate = self.rows_per_second
        return {
            "output": self.output,
            "answered": self.answered,
            "failed": self.failed,
            "refused": self.refused,
            "cached": self.cached,
            "truncated": self.truncated,
            "calls": self.attempts,
            "repeated_calls": self.repeated,
            "usage": self.usage.to_dict(),
            "tokens_per_row": {
                name: {f"p{share}": quantile(counts, share) for share in (50, 95)} if counts else {}
                for name, counts in (("input", self.input_tokens), ("output", self.output_tokens))
            },
            "cost_usd": self.known_cost,
            "cost_per_1000_rows_usd": self.cost_per_1000_rows,
            "unpriced": self.unpriced,
            "seconds": round(self.seconds, 3),
            "rows_per_second": None if rate is None else round(rate, 3),
            "latency_s": {f"p{share}": round(value, 6) for share, value in self.percentiles().items()},
            "latency_max_s": round(self.latencies[-1], 6) if self.latencies else None,
            "finish_reasons": dict(self.finish_reasons.most_common()),
            "labels": self.labels.to_dict(),
            "models": [model.to_dict() for model in self.models],
            "endpoints": [endpoint.to_dict() for endpoint in self.endpoints],
            "runs": [run.to_dict() for run in self.runs],
            "errors": [asdict(error) for error in self.errors],
        }


def quantile(ascending: array[Number], share: float) -> Number:
    """The value at a percentage of an ascending array, by the nearest rank.

    >>> quantile(array("d", [1.0, 2.0, 3.0, 4.0]), 50)
    2.0
    """
    rank = -(-len(ascending) * share // 100)
    return ascending[max(0, min(len(ascending), int(rank)) - 1)]
