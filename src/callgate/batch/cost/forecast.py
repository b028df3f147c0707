"""`--dry-run`: estimates tokens, cost and time of a batch from its whole input, without a call.

The answers already in the output give the tokens per character, the length and the latency of answers. So
after a run of the first fifty rows the forecast for the rest is good; without any answers it is a range.

With several models, the cost is bounded by the cheapest and the dearest model for all rows. The probable
figures assume that no model fails and that all have the same tokens per character, length of answers and
latency; the rows are then divided in proportion to the models' limits, or equally if one has no limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import orjson

from callgate.batch.cost.input_totals import AlikeRows, InputTotals, IsCached
from callgate.batch.cost.worst_case import longest_answer, turned
from callgate.batch.input.fingerprint import Fingerprints
from callgate.batch.input.renamed import RenamedRows
from callgate.batch.input.sources import Source
from callgate.batch.output.completed_keys import CompletedKeys, read_completed_keys
from callgate.call.calling import Calling
from callgate.model.base import Caller
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.snapshot import LimiterSnapshot
from callgate.policies.limit.window import RateWindow
from callgate.response import Response, Usage

__all__ = ["Forecast", "Sample", "forecast", "read_sample"]

_UNBOUNDED_OUTPUT = 256
# The number of rows whose characters and tokens are compared; more would only use memory.
_COMPARED_ROWS = 10_000


@dataclass(slots=True)
class Sample:
    """Figures of earlier answers.

    Attributes:
        completed: The keys of answered rows.
        answers: The number of answers with a usage, including those from a cache.
        usage: The sum of these usages.
        timed: The number of these answers that are not from a cache.
        seconds: The sum of their latencies.
        inputs: Input tokens by the row's key, of the first ten thousand rows.
    """

    completed: CompletedKeys
    answers: int = 0
    usage: Usage = field(default_factory=Usage)
    timed: int = 0
    seconds: float = 0.0
    inputs: dict[int, int] = field(default_factory=dict)

    @property
    def latency(self) -> float:
        """The mean latency in seconds; 0.0 if it is not known."""
        return self.seconds / self.timed if self.timed else 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """The estimate for the remaining rows.

    Attributes:
        rows: The number of rows to be called.
        answered_before: Rows that an earlier run has answered.
        learned_from: The number of answers that the figures are based on; with 0 they are rough.
        input_tokens: Input tokens.
        output_tokens: Probable output tokens.
        output_tokens_most: The most output tokens; None: no bound.
        cost_usd: Probable cost without retries; None: the price is not known.
        cost_least_usd, cost_most_usd: The cost without any output, and with the most; of several models at
            the cheapest and at the dearest.
        seconds: The time under the known limits; None: no limit is known.
        bottleneck: The limit that determines the time, as text.
        cached: Rows that a cache answers. They are not part of `rows`, and cost nothing.
        changed: Rows that an earlier run has answered, and that would be asked differently now.
    """

    rows: int
    answered_before: int
    learned_from: int
    input_tokens: int
    output_tokens: int
    output_tokens_most: int | None
    cost_usd: float | None
    cost_least_usd: float | None
    cost_most_usd: float | None
    seconds: float | None
    bottleneck: str
    cached: int = 0
    changed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        return asdict(self)


def read_sample(output: str) -> Sample:
    """Read the figures of an output; empty if it does not exist. The file is not changed.

    Raises:
        InputError: the file is not the output of a batch.
    """
    try:
        with open(output, "rb") as stream:
            sample = Sample(read_completed_keys(stream, output)[0])
            stream.seek(0)
            for line in stream:
                _learn(sample, line)
    except FileNotFoundError:
        return Sample(CompletedKeys())
    return sample


def _learn(sample: Sample, line: bytes) -> None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return  # blank, or torn
    usage = record.get("usage")
    if record.get("error") is not None or not isinstance(usage, dict):
        return
    counts: dict[str, Any] = {name: usage.get(name) or 0 for name in Usage.COUNTS}
    used = Usage(**counts)
    sample.answers += 1
    sample.usage += used
    if not record.get("cached"):
        sample.timed += 1
        sample.seconds += record.get("latency_s", 0.0)
    key = record.get("key")
    if isinstance(key, str) and len(sample.inputs) < _COMPARED_ROWS:
        sample.inputs[int(key, 16)] = used.input_tokens


class _Work(NamedTuple):
    """Tokens and US dollars of a number of rows.

    A figure without a bound is infinite, an unknown one is NaN; sums keep both.
    """

    input: float
    output: float
    output_most: float
    charged: float
    """Tokens charged to a quota."""
    cost: float
    cost_least: float
    cost_most: float


class _Bound(NamedTuple):
    """A limit that admits rows at a rate."""

    name: str
    seconds_a_row: float
    head_start: float
    """The initial burst, in seconds of the rate."""


class _Member(NamedTuple):
    """One of the models: the figures of all rows if it answers them, and its limits."""

    work: _Work
    bounds: list[_Bound]


async def forecast(
    model: Caller,
    source: Source,
    sample: Sample,
    *,
    concurrency: int | None = None,
    is_cached: IsCached | None = None,
    fingerprints: Fingerprints | None = None,
    renamed: RenamedRows | None = None,
    asks_again: bool = False,
) -> Forecast:
    """Read the whole input and estimate the rest of the batch.

    Args:
        model: The model, with its limits, prices and defaults. It is not called.
        source: The rows; read to its end.
        sample: Figures of earlier answers.
        concurrency: Concurrent calls (of each of several models), if that number is fixed; None: no limit.
        is_cached: Returns True if a cache answers a row; None: no cache.
        fingerprints, renamed, asks_again: As of `InputTotals.read`.

    Raises:
        InputError: a row cannot be used; the message has the file and the line.
    """
    totals = InputTotals()
    await totals.read(
        source,
        sample.completed,
        sample.inputs,
        is_cached,
        fingerprints=fingerprints,
        renamed=renamed,
        asks_again=asks_again,
    )
    if not totals.rows:
        nothing = 0, 0, 0, 0.0, 0.0, 0.0, 0.0, "nothing"
        return Forecast(
            0, totals.skipped, sample.answers, *nothing, cached=totals.cached, changed=totals.changed
        )
    members = await _members(model, totals, sample, concurrency)
    return _estimate(members, totals, sample, concurrency)


def _estimate(
    members: list[_Member], totals: InputTotals, sample: Sample, concurrency: int | None
) -> Forecast:
    """The forecast for rows that are divided among the models."""
    shares = _shares(members)
    works = [member.work for member in members]
    probable = _Work(*(_weighted(shares, figures) for figures in zip(*works, strict=True)))
    times = [
        _time(member.bounds, share * totals.rows, sample.latency, concurrency)
        for share, member in zip(shares, members, strict=True)
    ]
    seconds, bottleneck = max(times, key=lambda time: time[0])
    most = _finite(max, [work.output_most for work in works])
    return Forecast(
        rows=totals.rows,
        answered_before=totals.skipped,
        learned_from=sample.answers,
        input_tokens=round(probable.input),
        output_tokens=round(probable.output),
        output_tokens_most=None if most is None else round(most),
        cost_usd=_finite(sum, [probable.cost]),
        cost_least_usd=_finite(min, [work.cost_least for work in works]),
        cost_most_usd=_finite(max, [work.cost_most for work in works]),
        seconds=_finite(sum, [seconds]),
        bottleneck=bottleneck,
        cached=totals.cached,
        changed=totals.changed,
    )


async def _members(
    model: Caller, totals: InputTotals, sample: Sample, concurrency: int | None
) -> list[_Member]:
    """The figures of all rows for each model."""
    limits: list[LimiterSnapshot] = []
    parts: list[list[_Work]] = []
    for name, rows in totals.groups.items():
        calling = await model.create_calling(request_payload={} if name is None else {"model": name})
        targets = model.targets()  # without fallbacks
        limits = [target.gate.snapshot() for target in targets]
        parts.append([_work(turned(calling, target), rows, totals.ratio, sample) for target in targets])
    works = [_Work(*map(sum, zip(*each, strict=True))) for each in zip(*parts, strict=True)]
    return [
        _Member(work, _bounds(each, concurrency, work.charged / totals.rows, sample.latency))
        for work, each in zip(works, limits, strict=True)
    ]


def _work(calling: Calling, rows: AlikeRows, ratio: float, sample: Sample) -> _Work:
    """The figures of these rows; `calling` is a call for any one of them."""
    read = rows.characters * ratio
    # Rows without a bound have that of the model, if any.
    usual = longest_answer(calling.payload)
    unbounded = rows.unbounded if usual is None else 0
    bound = rows.bound + (rows.unbounded - unbounded) * (usual or 0)
    most = math.inf if unbounded else float(bound)
    if sample.answers:
        written = min(most, rows.count * sample.usage.output_tokens / sample.answers)
    else:
        # Not known: the mean of no output and the most.
        written = bound / 2 + unbounded * _UNBOUNDED_OUTPUT
    # Some providers charge all of max_tokens to the quota, also if less is written.
    kept = written if _settles(calling) else bound + written * unbounded / rows.count
    return _Work(
        input=read,
        output=written,
        output_most=most,
        charged=read + kept,
        cost=_cost(calling, rows.count, read, written, sample.usage),
        cost_least=_cost(calling, rows.count, read, 0.0, sample.usage),
        cost_most=_cost(calling, rows.count, read, most, sample.usage),
    )


def _settles(calling: Calling) -> bool:
    """True if the provider charges the tokens written to its quota, and not all of max_tokens."""
    host = getattr(calling.backend, "host", None)
    return host is None or host.reservation == "input_output"


def _cost(calling: Calling, rows: int, read: float, written: float, usual: Usage) -> float:
    """The cost of all rows at the prices of an average one: some models cost more for long requests."""
    if written == math.inf:
        return math.inf
    one = Usage(math.ceil(read / rows), math.ceil(written / rows))
    if usual.input_tokens:
        one.cache_read_tokens = one.input_tokens * usual.cache_read_tokens // usual.input_tokens
        one.cache_write_tokens = one.input_tokens * usual.cache_write_tokens // usual.input_tokens
    if usual.output_tokens:
        one.reasoning_tokens = one.output_tokens * usual.reasoning_tokens // usual.output_tokens
    cost = None if calling.pricer is None else calling.pricer(Response(usage=one), calling.payload)
    if cost is None:
        return math.nan
    # The price is of whole tokens, to which the average was rounded up.
    reading = cost.input * read / one.input_tokens if read else 0.0
    return reading + (cost.output * written / one.output_tokens if written else 0.0)


def _bounds(limits: LimiterSnapshot, concurrency: int | None, tokens: float, latency: float) -> list[_Bound]:
    """The limits of a model whose rows take `tokens` and `latency` seconds each."""
    bounds = []
    if limits.requests is not None:
        bounds.append(_quota("requests", limits.requests.quota, 1.0))
    if limits.tokens is not None:
        bounds.append(_quota("tokens", limits.tokens.quota, tokens))
    if latency and concurrency is not None:
        bounds.append(_Bound(f"concurrency, {concurrency} at once", latency / concurrency, latency))
    return bounds


def _quota(unit: str, quota: Quota, units: float) -> _Bound:
    """The limit of a quota of which each row takes `units`, with its initial burst."""
    period = "minute" if quota.period == 60.0 else f"{quota.period:g} s"
    burst = RateWindow(quota, now=0.0).level(now=0.0)
    return _Bound(f"{unit} per {period}", units / quota.per_second, burst / quota.per_second)


def _shares(members: list[_Member]) -> list[float]:
    """The share of rows of each model: in proportion to its rows per second, or equal if one has no limit."""
    seconds = [max((bound.seconds_a_row for bound in member.bounds), default=0.0) for member in members]
    if not all(seconds):
        return [1.0 / len(members)] * len(members)
    together = sum(1.0 / each for each in seconds)
    return [1.0 / each / together for each in seconds]


def _time(bounds: list[_Bound], rows: float, latency: float, concurrency: int | None) -> tuple[float, str]:
    """Seconds until `rows` are answered, and the limit that determines them."""
    if not bounds:
        missing = "no limits are given" if concurrency is None else "no latency has been measured"
        return math.inf, f"not known: {missing}"
    waits = [max(0.0, rows * bound.seconds_a_row - bound.head_start) for bound in bounds]
    wait = max(waits)
    # The first few rows are sent alone, and the last one is still in flight at the end.
    return wait + 2 * latency, bounds[waits.index(wait)].name


def _weighted(shares: list[float], figures: Iterable[float]) -> float:
    return sum(share * figure for share, figure in zip(shares, figures, strict=True))


def _finite(choose: Callable[[list[float]], float], figures: list[float]) -> float | None:
    """The chosen figure; None if a figure is not known, or the chosen one is infinite."""
    chosen = math.nan if any(map(math.isnan, figures)) else choose(figures)
    return chosen if math.isfinite(chosen) else None
