"""The runs on an output as they were logged: settings, counts, quotas and ending of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from callgate.batch.output.paths import runs_path

__all__ = ["EndpointFigures", "QuotaUse", "RunRecord", "endpoints_of", "read_run_records"]


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """How much of the quotas is in use at one moment.

    Attributes:
        at: Seconds since 1970.
        requests, tokens: In percent; None without such a quota.
    """

    at: float
    requests: float | None
    tokens: float | None


@dataclass(slots=True)
class EndpointFigures:
    """One endpoint: a model at an address with a key.

    Attributes:
        name: Its name.
        calls: Attempts that were sent to it.
        answered: Rows that it answered.
        cost: US dollars of these, where the price is known.
        faults: Its failed attempts by HTTP status or error.
        latency: Median and 95th percentile of its latest answers, in seconds; None without an answer.
    """

    name: str
    calls: int = 0
    answered: int = 0
    cost: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    latency: Sequence[float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        latency = dict(zip(("p50", "p95"), self.latency or (), strict=False))
        return {
            "name": self.name,
            "calls": self.calls,
            "answered": self.answered,
            "cost_usd": self.cost,
            "faults": dict(self.faults.most_common()),
            "latency_s": latency,
        }


@dataclass(slots=True)
class RunRecord:
    """What was logged of one run.

    Attributes:
        began, ended: Seconds since 1970; of a killed run, `ended` is when it was last heard of.
        version: Of callgate; None if unknown.
        models: Their names.
        settings: The options that differ from their defaults.
        ending: How it ended, as `Summary.ending`; None: it was killed.
        retries, moves, hedges, rate_limited: As of `Stats`.
        uses: The use of the quotas over time.
        waits: Seconds by what was waited for.
        endpoints: The endpoints that were called.
    """

    began: float
    ended: float
    version: str | None = None
    models: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    ending: str | None = None
    retries: int = 0
    moves: int = 0
    hedges: int = 0
    rate_limited: int = 0
    uses: list[QuotaUse] = field(default_factory=list)
    waits: dict[str, float] = field(default_factory=dict)
    endpoints: list[EndpointFigures] = field(default_factory=list)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take up a later line of the run."""
        at = float(line["at"])
        wait = str(line["waiting_for"]).partition(" (")[0]
        self.waits[wait] = self.waits.get(wait, 0.0) + at - self.ended
        self.ended = at
        self.ending = line.get("ending")
        for name in ("retries", "moves", "hedges", "rate_limited"):
            setattr(self, name, int(line[name]))
        self.uses.append(QuotaUse(at, _percent(line.get("requests")), _percent(line.get("tokens"))))
        self.endpoints = [_endpoint(each) for each in line["endpoints"]]


def read_run_records(output: str) -> list[RunRecord]:
    """The runs that were logged beside an output, oldest first.

    What cannot be read is passed over: the answers are what counts, and these lines add to them.
    """
    records: list[RunRecord] = []
    try:
        with open(runs_path(output), "rb") as lines:
            for line in lines:
                _take(line, records)
    except OSError:
        return records
    return sorted(records, key=lambda record: record.began)


def endpoints_of(records: Sequence[RunRecord]) -> list[EndpointFigures]:
    """The endpoints of all runs, most answers first."""
    total: dict[str, EndpointFigures] = {}
    for each in (endpoint for record in records for endpoint in record.endpoints):
        found = total.setdefault(each.name, EndpointFigures(each.name))
        found.calls += each.calls
        found.answered += each.answered
        found.cost += each.cost
        found.faults.update(each.faults)
        found.latency = each.latency or found.latency
    return sorted(total.values(), key=lambda endpoint: -endpoint.answered)


def _take(line: bytes, records: list[RunRecord]) -> None:
    try:
        facts = orjson.loads(line)
        if "began_at" in facts:
            began = float(facts["began_at"])
            more = {name: facts[name] for name in ("version", "models", "settings") if name in facts}
            records.append(RunRecord(began, began, **more))
        elif records:
            records[-1].add(facts)
    except (ValueError, TypeError, KeyError):
        return  # torn, or not written by callgate


def _endpoint(facts: Mapping[str, Any]) -> EndpointFigures:
    return EndpointFigures(
        str(facts["name"]),
        facts["calls"],
        facts["answered"],
        facts["cost_usd"],
        Counter(facts["faults"]),
        facts["latency_s"],
    )


def _percent(quota: Sequence[float] | None) -> float | None:
    """Of used, allowed, and the seconds of the window."""
    return None if quota is None or quota[1] <= 0 else 100 * quota[0] / quota[1]
