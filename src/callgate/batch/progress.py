"""How a batch is going: rates, what is left, and what the batch is waiting for."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from callgate.batch.stats import EndpointStats, Stats
from callgate.policies.limit.snapshot import LimiterSnapshot, RateSnapshot

__all__ = ["EndpointProgress", "Progress", "ProgressSampler", "RowStates", "seconds_left", "waiting_for"]

_WINDOW = 30.0
_KEPT_REASONS = 10


@dataclass(frozen=True, slots=True)
class EndpointProgress:
    """One of several endpoints of a batch at one moment.

    Attributes:
        name: Its name.
        stats: What it has done in this run; it goes on counting.
        limiter: The state of its own limits.
        ejected: True while it gets no requests.
    """

    name: str
    stats: EndpointStats
    limiter: LimiterSnapshot
    ejected: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a batch at one moment, for displays.

    Attributes:
        total: Rows of the input; None while they are not counted.
        skipped: Rows that an earlier run had answered.
        stats: What this run has done; it goes on counting.
        seconds: Seconds since the run began.
        rows_per_second: Rows that ended, over the last half minute.
        requests_per_minute, tokens_per_minute: Attempts and tokens of these rows, over the last half minute.
        limiter: The limiter's state.
        in_flight: Rows begun and not ended.
        waiting_for: What the batch waits for most of the time, in words.
        eta: Seconds until the end, by recent pace and remaining quota; None: unknown.
        projected_cost: US dollars for all rows; None: unknown.
        budget: US dollars that may be spent at most; None: no budget.
        longest: The rows that have been in flight for longest, as (name, seconds).
        endpoints: The endpoints, where there are several.

    Example::

        progress = batch.progress()
        print(f"{progress.finished} of {progress.total} rows; waiting for: {progress.waiting_for}")
    """

    total: int | None
    skipped: int
    stats: Stats
    seconds: float
    rows_per_second: float
    requests_per_minute: float
    tokens_per_minute: float
    limiter: LimiterSnapshot
    in_flight: int
    waiting_for: str
    eta: float | None
    projected_cost: float | None
    budget: float | None
    longest: list[tuple[str, float]]
    endpoints: Sequence[EndpointProgress] = ()

    @property
    def finished(self) -> int:
        """Rows answered, in this run or before."""
        return self.skipped + self.stats.done

    @property
    def left(self) -> int | None:
        """Rows that have not ended; None while they are not counted."""
        return None if self.total is None else max(0, self.total - self.skipped - self.stats.ended)


@dataclass(frozen=True, slots=True)
class RowStates:
    """How many of the rows that have begun are in which state.

    Attributes:
        calling: Rows whose call has begun and not ended.
        backing_off: Of these, rows that wait before a retry.
        sharing: Of these, rows that wait on an identical request in flight (single-flight).
        loading: Further rows, whose images and other files are being read.

    >>> RowStates(calling=5, backing_off=2).sharing
    0
    """

    calling: int = 0
    backing_off: int = 0
    sharing: int = 0
    loading: int = 0


def waiting_for(limiter: LimiterSnapshot, rows: RowStates, *, idle: bool, draining: bool) -> str:
    """What keeps a batch from going faster at this moment, in words; figures stand in brackets.

    Args:
        limiter: Its limiter.
        rows: The states of its rows.
        idle: True while the workers wait for rows that are still to come.
        draining: True when no more rows are begun.
    """
    if limiter.bottleneck == "paused" or (limiter.paused_for > 0 and limiter.in_flight == 0):
        return f"the end of the provider's pause ({limiter.paused_for:.0f} s)"
    if draining:
        return f"the rows in flight ({rows.calling})"
    if limiter.bottleneck == "requests":
        return f"requests per {_period(limiter.requests)}"
    if limiter.bottleneck == "tokens":
        return f"tokens per {_period(limiter.tokens)}"
    if limiter.bottleneck == "concurrency":
        return f"concurrency ({limiter.concurrency} at once)"
    if limiter.in_flight == 0:
        return _before_sending(rows, idle=idle)
    if rows.loading > limiter.in_flight:
        return "files to be read"
    return "input" if idle else "provider"


def _before_sending(rows: RowStates, *, idle: bool) -> str:
    """What keeps a batch from going on while none of its requests is on the wire."""
    if rows.backing_off:
        return f"retries ({rows.backing_off} backing off)"
    if rows.sharing:
        return "identical requests of another run"
    if rows.loading:
        return "files to be read"
    if rows.calling:
        return "requests to be prepared"
    return "input" if idle else "nothing"


def _period(rate: RateSnapshot | None) -> str:
    seconds = 60.0 if rate is None else rate.quota.period
    named = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}
    return named.get(seconds, f"{seconds:g} s")


def seconds_left(rows: int, pace: float, stats: Stats, limiter: LimiterSnapshot) -> float | None:
    """How long the rest takes: by the recent pace, but no less than the quota allows; None: unknown.

    After a burst the pace is above the quota, which then sets the time.

    Args:
        rows: Rows that have not ended.
        pace: Rows per second, recently.
        stats: What the rows so far took of the quota.
        limiter: The quotas.
    """
    if pace <= 0:
        return None
    seconds = rows / pace
    for rate, used in ((limiter.requests, stats.calls), (limiter.tokens, stats.tokens)):
        if rate is not None and stats.ended:
            needed = rows * used / stats.ended - rate.level
            seconds = max(seconds, needed / rate.quota.per_second)
    return seconds


class ProgressSampler:
    """Rates over the last half minute, from samples taken a few times a second.

    Args:
        now: The time of the loop's clock when the batch began, in seconds.

    >>> sampler = ProgressSampler(0.0)
    >>> sampler.sample(10.0, Stats(done=50, calls=50, input_tokens=500), "provider")
    >>> sampler.rows_per_second, sampler.requests_per_minute, sampler.tokens_per_minute
    (5.0, 300.0, 3000.0)
    """

    def __init__(self, now: float) -> None:
        self.began = now
        self._samples: deque[tuple[float, int, int, int]] = deque([(now, 0, 0, 0)])
        self._reasons: deque[str] = deque(maxlen=_KEPT_REASONS)

    def sample(self, now: float, stats: Stats, reason: str) -> None:
        """Take one sample; `reason` is what `waiting_for` returned."""
        samples = self._samples
        samples.append((now, stats.ended, stats.calls, stats.tokens))
        while len(samples) > 2 and samples[1][0] <= now - _WINDOW:
            samples.popleft()
        self._reasons.append(reason)

    @property
    def reason(self) -> str:
        """The most frequent of the latest reasons: that of one moment flickers."""
        if not self._reasons:
            return "nothing"
        # Reasons that differ in their figures are the same; the newest has the figures of now.
        kinds = Counter(_kind(reason) for reason in self._reasons)
        kind = kinds.most_common(1)[0][0]
        return next(reason for reason in reversed(self._reasons) if _kind(reason) == kind)

    @property
    def rows_per_second(self) -> float:
        """Rows that ended, over the last half minute."""
        return self._rate(1)

    @property
    def requests_per_minute(self) -> float:
        """Attempts of rows that ended, over the last half minute."""
        return self._rate(2) * 60

    @property
    def tokens_per_minute(self) -> float:
        """Tokens of rows that ended, over the last half minute."""
        return self._rate(3) * 60

    def _rate(self, place: int) -> float:
        first, last = self._samples[0], self._samples[-1]
        seconds = last[0] - first[0]
        return (last[place] - first[place]) / seconds if seconds > 0 else 0.0


def _kind(reason: str) -> str:
    return reason.partition(" (")[0]
