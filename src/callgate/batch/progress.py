"""How a batch is going: rates, what is left, and in words what holds it back now."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from callgate.batch.stats import Tally
from callgate.policies.limit.snapshot import LimiterSnapshot, RateSnapshot

__all__ = ["Meter", "Progress", "Waits", "holding_back"]

_WINDOW = 30.0
_MEMORY = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch at one moment, for displays.

    Attributes:
        total: Rows of the input, or None while they are not counted.
        skipped: Rows that an earlier run had answered.
        tally: What this run has done; it goes on counting.
        seconds: Since the run began.
        rows_per_second: Over the last half minute.
        requests_per_minute, tokens_per_minute: The same, of what went on the wire.
        limiter: The limiter's state.
        in_flight: Rows begun and not ended.
        holding_back: What it waits for most, in words.
        eta: Seconds until the end at this speed, or None.
        projected_cost: US dollars for all rows, or None when it cannot be told.
        budget: US dollars that may be spent at most, or None.
        longest: The rows that have been in flight for longest, by name, with their seconds.

    Example::

        progress = batch.progress()
        print(f"{progress.finished} of {progress.total} rows; {progress.holding_back}")
    """

    total: int | None
    skipped: int
    tally: Tally
    seconds: float
    rows_per_second: float
    requests_per_minute: float
    tokens_per_minute: float
    limiter: LimiterSnapshot
    in_flight: int
    holding_back: str
    eta: float | None
    projected_cost: float | None
    budget: float | None
    longest: list[tuple[str, float]]

    @property
    def finished(self) -> int:
        """Rows answered, in this run or before."""
        return self.skipped + self.tally.done

    @property
    def left(self) -> int | None:
        """Rows that have not ended, or None while they are not counted."""
        return None if self.total is None else max(0, self.total - self.skipped - self.tally.ended)


@dataclass(frozen=True, slots=True)
class Waits:
    """What the rows that have been begun are at.

    Attributes:
        calling: Those whose calls are made and have not ended.
        backing_off: Of these, those that wait before they try again.
        sharing: Of these, those that wait for the answer to an equal request of somebody else.
        loading: Further ones, whose images are read.

    >>> Waits(calling=5, backing_off=2).sharing
    0
    """

    calling: int = 0
    backing_off: int = 0
    sharing: int = 0
    loading: int = 0


def holding_back(limiter: LimiterSnapshot, rows: Waits, *, idle: bool, draining: bool) -> str:
    """What keeps a batch from going faster at this moment, in words.

    Args:
        limiter: Its limiter.
        rows: What the rows are at.
        idle: Whether the workers wait for rows that are still to come.
        draining: Whether no more rows are begun.
    """
    if limiter.bottleneck == "paused" or (limiter.paused_for > 0 and limiter.in_flight == 0):
        return f"the provider asked to pause, {limiter.paused_for:.0f} s left"
    if draining:
        return f"finishing the {rows.calling} rows in flight"
    if limiter.bottleneck == "requests":
        return f"waiting for requests per {_period(limiter.requests)}"
    if limiter.bottleneck == "tokens":
        return f"waiting for tokens per {_period(limiter.tokens)}"
    if limiter.bottleneck == "concurrency":
        return f"concurrency, {limiter.concurrency} at once"
    if limiter.in_flight == 0:
        return _before_sending(rows, idle=idle)
    if rows.loading > limiter.in_flight:
        return "reading images"
    return "waiting for input" if idle else "the provider is slow"


def _before_sending(rows: Waits, *, idle: bool) -> str:
    """What keeps a batch from going on while nothing of it is on its way."""
    if rows.backing_off:
        return f"backing off before {rows.backing_off} {'retry' if rows.backing_off == 1 else 'retries'}"
    if rows.sharing:
        return "another run asks for the same rows"
    if rows.loading:
        return "reading images"
    if rows.calling:
        return "preparing requests"
    return "waiting for input" if idle else "nothing"


def _period(rate: RateSnapshot | None) -> str:
    seconds = 60.0 if rate is None else rate.quota.period
    named = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}
    return named.get(seconds, f"{seconds:g} s")


class Meter:
    """Rates from samples that somebody takes now and then.

    Args:
        now: The time of the loop's clock when the batch began, in seconds.

    >>> meter = Meter(0.0)
    >>> meter.sample(10.0, Tally(done=50, calls=50, input_tokens=500), "the provider is slow")
    >>> meter.rows_per_second, meter.requests_per_minute, meter.tokens_per_minute
    (5.0, 300.0, 3000.0)
    """

    def __init__(self, now: float) -> None:
        self.began = now
        self._samples: deque[tuple[float, int, int, int]] = deque([(now, 0, 0, 0)])
        self._reasons: deque[str] = deque(maxlen=_MEMORY)

    def sample(self, now: float, tally: Tally, reason: str) -> None:
        """Take one; a few a second are enough."""
        samples = self._samples
        samples.append((now, tally.ended, tally.calls, tally.tokens))
        while len(samples) > 2 and samples[1][0] <= now - _WINDOW:
            samples.popleft()
        self._reasons.append(reason)

    @property
    def reason(self) -> str:
        """What held it back most often of late: what is true this instant flickers."""
        if not self._reasons:
            return "nothing"
        # The newest of equal kinds, as figures in the words change.
        kinds = Counter(reason.split(",", 1)[0] for reason in self._reasons)
        kind = kinds.most_common(1)[0][0]
        return next(reason for reason in reversed(self._reasons) if reason.split(",", 1)[0] == kind)

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
