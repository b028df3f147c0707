"""`--dry-run`: what a batch will come to, from its whole input and without a call.

It learns from the answers that are already in the output: how many tokens the model makes of a character,
how long its answers are and how long they take. So a run of the first fifty rows makes the forecast for the
rest a good one; without any answers it is a range.

Of several models, any may come to answer any row: what the cheapest and what the dearest would take for all
of them bounds the cost. What is probable assumes that nobody fails and that all are alike in what they make
of a text, in the length of their answers and in their speed; then the rows are shared in proportion to what
the limits of each let through, and equally where one has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import orjson

from callgate.batch.cost.input_totals import AlikeRows, IsCached, WholeInput
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
# So many rows tell what a model makes of a character; more would only fill the memory.
_COMPARED_ROWS = 10_000


@dataclass(slots=True)
class Sample:
    """What earlier answers tell.

    Attributes:
        completed: Which rows have been answered.
        answers: How many answers told their usage, those from the cache included.
        usage: Of these answers.
        timed: How many of them were not from the cache.
        seconds: The time of those on the wire, together.
        inputs: Input tokens by the row's key, of the first ten thousand.
    """

    completed: CompletedKeys
    answers: int = 0
    usage: Usage = field(default_factory=Usage)
    timed: int = 0
    seconds: float = 0.0
    inputs: dict[int, int] = field(default_factory=dict)

    @property
    def latency(self) -> float:
        """Seconds that an answer took; 0.0 when none tells."""
        return self.seconds / self.timed if self.timed else 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rows that are left will come to.

    Attributes:
        rows: Rows to be called.
        answered_before: Rows that an earlier run has answered.
        learned_from: Answers that the figures were learned from; 0: none, so they are rough.
        input_tokens: What the model will read.
        output_tokens: What it will probably write.
        output_tokens_most: What it can write at most; None: nothing bounds it.
        cost_usd: What that probably costs, without retries; None: the price is not known.
        cost_least_usd, cost_most_usd: The same with no output at all, and with all that is possible; of
            several models at the cheapest, and at the dearest.
        seconds: How long it takes under the limits that are known; None: none is.
        bottleneck: In words, what it will wait for.
        cached: Rows that a cache answers; they are none of `rows`, and cost nothing.
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
    """Learn from an output; one that is not there teaches nothing. The file is not touched.

    Raises:
        InputError: when it is something else than the output of a batch.
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
        return  # blank, or torn by a kill
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
    """What answering a number of rows comes to, in tokens and US dollars.

    What nothing bounds is infinite, what is not known is not a number; sums keep both.
    """

    input: float
    output: float
    output_most: float
    charged: float
    """Tokens that are taken from a quota."""
    cost: float
    cost_least: float
    cost_most: float


class _Bound(NamedTuple):
    """What lets rows through at a certain pace."""

    name: str
    seconds_a_row: float
    head_start: float
    """Seconds' worth of rows that go at once."""


class _Member(NamedTuple):
    """One of the models: what all rows come to if it answers them, and what holds it back."""

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
    """Read the whole input and foretell the rest of the batch.

    Args:
        model: What would be called; its limits, prices and defaults count. It is not called.
        source: Where the rows come from; read to its end.
        sample: What is known from earlier answers.
        concurrency: Calls at once (of several models, of each), where that is fixed; one that adapts itself
            is no limit.
        is_cached: Whether a cache answers a row, so that it costs nothing; None: there is none.
        fingerprints, renamed, asks_again: As of `WholeInput.read`.

    Raises:
        InputError: naming the file and the line, when a row cannot be used.
    """
    told = WholeInput()
    await told.read(
        source,
        sample.completed,
        sample.inputs,
        is_cached,
        fingerprints=fingerprints,
        renamed=renamed,
        asks_again=asks_again,
    )
    if not told.rows:
        nothing = 0, 0, 0, 0.0, 0.0, 0.0, 0.0, "nothing"
        return Forecast(0, told.skipped, sample.answers, *nothing, cached=told.cached, changed=told.changed)
    members = await _members(model, told, sample, concurrency)
    shares = _shares(members)
    works = [member.work for member in members]
    probable = _Work(*(_weighted(shares, figures) for figures in zip(*works, strict=True)))
    times = [
        _time(member.bounds, share * told.rows, sample.latency, concurrency)
        for share, member in zip(shares, members, strict=True)
    ]
    seconds, bottleneck = max(times, key=lambda time: time[0])
    most = _finite(max, [work.output_most for work in works])
    return Forecast(
        rows=told.rows,
        answered_before=told.skipped,
        learned_from=sample.answers,
        input_tokens=round(probable.input),
        output_tokens=round(probable.output),
        output_tokens_most=None if most is None else round(most),
        cost_usd=_finite(sum, [probable.cost]),
        cost_least_usd=_finite(min, [work.cost_least for work in works]),
        cost_most_usd=_finite(max, [work.cost_most for work in works]),
        seconds=_finite(sum, [seconds]),
        bottleneck=bottleneck,
        cached=told.cached,
        changed=told.changed,
    )


async def _members(model: Caller, told: WholeInput, sample: Sample, concurrency: int | None) -> list[_Member]:
    """What all rows come to for each of the models that share them."""
    limits: list[LimiterSnapshot] = []
    parts: list[list[_Work]] = []
    for name, rows in told.groups.items():
        calling = await model.create_calling(request_payload={} if name is None else {"model": name})
        targets = model.targets()  # those that answer while nothing fails
        limits = [target.gate.snapshot() for target in targets]
        parts.append([_work(turned(calling, target), rows, told.ratio, sample) for target in targets])
    works = [_Work(*map(sum, zip(*each, strict=True))) for each in zip(*parts, strict=True)]
    return [
        _Member(work, _bounds(each, concurrency, work.charged / told.rows, sample.latency))
        for work, each in zip(works, limits, strict=True)
    ]


def _work(calling: Calling, rows: AlikeRows, ratio: float, sample: Sample) -> _Work:
    """What it comes to for these rows; `calling` stands for each of them."""
    read = rows.characters * ratio
    # The model may have a bound of its own for the rows that bring none.
    usual = longest_answer(calling.payload)
    unbounded = rows.unbounded if usual is None else 0
    bound = rows.bound + (rows.unbounded - unbounded) * (usual or 0)
    most = math.inf if unbounded else float(bound)
    if sample.answers:
        written = min(most, rows.count * sample.usage.output_tokens / sample.answers)
    else:
        # Nobody knows: in the middle between nothing and all that is allowed.
        written = bound / 2 + unbounded * _UNBOUNDED_OUTPUT
    # A provider that reserves all of max_tokens takes them from the quota, however little is written.
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
    """Whether the provider counts what was written, and not what might have been."""
    host = getattr(calling.backend, "host", None)
    return host is None or host.reservation == "input_output"


def _cost(calling: Calling, rows: int, read: float, written: float, usual: Usage) -> float:
    """What all rows cost, at the prices of an average one: some models ask more for long requests."""
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
    # Whole tokens were priced, and the average was rounded up to them.
    reading = cost.input * read / one.input_tokens if read else 0.0
    return reading + (cost.output * written / one.output_tokens if written else 0.0)


def _bounds(limits: LimiterSnapshot, concurrency: int | None, tokens: float, latency: float) -> list[_Bound]:
    """What holds a model back whose rows take so many tokens and seconds each."""
    bounds = []
    if limits.requests is not None:
        bounds.append(_quota("requests", limits.requests.quota, 1.0))
    if limits.tokens is not None:
        bounds.append(_quota("tokens", limits.tokens.quota, tokens))
    if latency and concurrency is not None:
        bounds.append(_Bound(f"concurrency, {concurrency} at once", latency / concurrency, latency))
    return bounds


def _quota(unit: str, quota: Quota, units: float) -> _Bound:
    """A quota of which a row takes so many units; it begins with all that may come at once."""
    period = "minute" if quota.period == 60.0 else f"{quota.period:g} s"
    burst = RateWindow(quota, now=0.0).level(now=0.0)
    return _Bound(f"{unit} per {period}", units / quota.per_second, burst / quota.per_second)


def _shares(members: list[_Member]) -> list[float]:
    """The share of each in the rows: by the rows a second that it takes; equal where one takes any number."""
    seconds = [max((bound.seconds_a_row for bound in member.bounds), default=0.0) for member in members]
    if not all(seconds):
        return [1.0 / len(members)] * len(members)
    together = sum(1.0 / each for each in seconds)
    return [1.0 / each / together for each in seconds]


def _time(bounds: list[_Bound], rows: float, latency: float, concurrency: int | None) -> tuple[float, str]:
    """Seconds until so many rows are answered, and what is waited for most."""
    if not bounds:
        missing = (
            "no limits are given" if concurrency is None else "nobody knows yet how long an answer takes"
        )
        return math.inf, f"not known: {missing}"
    waits = [max(0.0, rows * bound.seconds_a_row - bound.head_start) for bound in bounds]
    wait = max(waits)
    # The first few rows go ahead alone, and the last one takes its time too.
    return wait + 2 * latency, bounds[waits.index(wait)].name


def _weighted(shares: list[float], figures: Iterable[float]) -> float:
    return sum(share * figure for share, figure in zip(shares, figures, strict=True))


def _finite(choose: Callable[[list[float]], float], figures: list[float]) -> float | None:
    """The one that is chosen; None when one of them is not known, or the one has no bound."""
    chosen = math.nan if any(map(math.isnan, figures)) else choose(figures)
    return chosen if math.isfinite(chosen) else None
