"""`AdaptiveConcurrency`: finds a safe number of concurrent calls by trial, where the quota is not known."""

from __future__ import annotations

import math
from typing import Final

from callgate.errors import ConfigurationError

__all__ = ["AdaptiveConcurrency"]

# One overload causes many 429s or timeouts: those within this time count as one.
CASCADE_SECONDS: Final = 15.0
CUT: Final = 0.75
# The limit goes this far above one that was too high ...
PROBE: Final = 1.10
# ... until so many clean rounds have shown that the service now allows more. If the limit was found by
# throughput, they must also have brought this share of the gain that more concurrent calls should bring.
CLEAN_ROUNDS_TO_BELIEVE: Final = 10
LEAST_SHARE_OF_GAIN: Final = 0.5
# A round is evaluated only if most of its responses came while this share of the limit was in flight, and if
# there were enough of them for a mean.
NEARLY: Final = 0.9
SMALLEST_ROUND: Final = 10
# Twice the concurrent calls should bring nearly twice the throughput. With less than LEAST_GAIN in two rounds
# in turn, calls queue inside the server; the time to the first byte, if known, must also have grown by
# SLOWER.
LEAST_GAIN: Final = 1.2
SLOWER: Final = 1.3
# If the quota is known, the limit follows it. Slots are added at PLACES_PER_UNIT times the rate of its
# refill, at most those of BURST_SECONDS together; up to ROOM times the calls that the quota keeps in flight,
# so that unused quota is caught up with; and up to MOST_AHEAD times the limit that has been tested before.
PLACES_PER_UNIT: Final = 2.0
BURST_SECONDS: Final = 0.05
ROOM: Final = 1.5
MOST_AHEAD: Final = 8
# While the limit follows the quota, a round that takes longer than this many latencies is too slow.
TOO_LATE: Final = 3.0
MOST_SAMPLES: Final = 50


class AdaptiveConcurrency:
    """A limit of concurrent calls: additive increase, multiplicative decrease. No I/O; times are passed in.

    A *round* has as many responses as the limit, to calls that were sent since the round began. Until the
    first push-back (429, 529, a timeout) each clean round doubles the limit. A push-back lowers it by a
    quarter, once per cascade; after it a clean round adds `step`, up to 10 % above the limit that was too
    high. If doubling has not raised the throughput (and the first bytes come later), the limit goes back to
    the former value: such a server queues calls instead of sending 429s.

    With a known quota, one doubling per latency would leave most of the quota unused for long. `follow_quota`
    then adds slots at the rate of the quota, up to eight times the limit that has been tested. A push-back or
    a slow round takes them back, and the limit is doubled by rounds instead.

    Args:
        start: The first limit; at most the ceiling.
        ceiling: The highest limit; None: no bound.
        floor: The lowest limit.
        step: The increase after a clean round, once a limit is known.

    Raises:
        ConfigurationError: A bound is below 1, or the bounds are in the wrong order.

    >>> adaptive = AdaptiveConcurrency(start=20)
    >>> adaptive.on_push_back(now=0.0)
    >>> adaptive.limit
    15
    """

    __slots__ = (
        "_base",
        "_baseline",
        "_busy",
        "_cascade_until",
        "_ceiling",
        "_count",
        "_cut_at",
        "_doubts",
        "_first_bytes",
        "_floor",
        "_followed_at",
        "_former",
        "_known",
        "_latencies",
        "_may_follow",
        "_samples",
        "_since",
        "_step",
        "_timed",
        "_trial",
        "_usual",
        "limit",
    )

    def __init__(self, start: int = 20, ceiling: int | None = None, *, floor: int = 1, step: int = 1) -> None:
        top = math.inf if ceiling is None else ceiling
        if not 1 <= floor <= top or start < floor or step < 1:
            raise ConfigurationError(
                "adaptive concurrency needs 1 <= floor <= start, floor <= ceiling and step >= 1, "
                f"not floor={floor!r}, start={start!r}, ceiling={ceiling!r}, step={step!r}"
            )
        self._ceiling = top
        self._floor = floor
        self._step = step
        self._known: int | None = (
            None  # the limit to stay near: it was too high, or throughput stopped growing
        )
        self._baseline: tuple[int, float] | None = None  # in the latter case: this limit and its throughput
        self._cut_at = self._cascade_until = -math.inf
        # While doubling: the former limit, its responses per second, its mean seconds to the first byte.
        self._former: tuple[int, float, float | None] | None = None
        self._doubts = 0  # consecutive rounds without a gain over the former limit
        self._trial: list[float] = []  # throughput of the clean rounds at the highest limit tried
        self._may_follow = True  # False once following the quota has overloaded the service
        self._base: int | None = None  # the tested limit before it grew with the quota
        self._followed_at = -math.inf
        self._usual = 0.0  # mean latency in seconds of the latest responses
        self._samples = 0
        self.limit = int(min(start, top))
        self._begin(-math.inf)

    def expect(self, calls: int) -> None:
        """Raise the limit to this number of concurrent calls. Has no effect after the first response."""
        if self._samples == 0 and self._cut_at == -math.inf:
            self.limit = int(max(self.limit, min(calls, self._ceiling)))

    def on_success(self, now: float, latency: float, in_flight: int, first_byte: float | None = None) -> None:
        """Report a response.

        Args:
            now: Monotonic seconds.
            latency: Seconds since the call was sent.
            in_flight: Calls in flight, this one included.
            first_byte: Seconds from sending to the first byte of the response, if known.
        """
        sent_under_another = now - latency < self._since
        if self._base is None or sent_under_another:
            self._samples = min(self._samples + 1, MOST_SAMPLES)
            self._usual += (latency - self._usual) / self._samples
        if sent_under_another:
            return
        self._count += 1
        self._latencies += latency
        if in_flight >= NEARLY * self.limit:
            self._busy += 1
        if first_byte is not None:
            self._timed += 1
            self._first_bytes += first_byte
        if self._count >= max(self.limit, SMALLEST_ROUND):
            if self._busy * 2 > self._count:
                self._end_round(now)
            self._begin(now)

    @property
    def follows(self) -> bool:
        """True if a known quota may raise the limit: there were responses, and no sign of an overload."""
        return self._may_follow and self._known is None and self._samples > 0

    def follow_quota(self, now: float, seconds_per_call: float) -> float:
        """Raise the limit towards what the quota needs. Called when the quota admits a call and the limit
        does not.

        Does not raise it before the first response, after an overload, or above the calls that the quota
        keeps in flight.

        Args:
            now: Monotonic seconds.
            seconds_per_call: Seconds in which the quota refills the cost of such a call.

        Returns:
            The time of the next increase; infinity if there will be none.
        """
        if not self.follows:
            return math.inf
        base = self.limit if self._base is None else self._base
        top = int(min(self._ceiling, base * MOST_AHEAD, ROOM * self._usual / seconds_per_call))
        if self.limit >= top:
            return math.inf
        step = seconds_per_call / PLACES_PER_UNIT
        if self._base is None:
            self._base = base
            self._followed_at = now
            self._begin(now)
        elif now >= self._followed_at + step:
            due = min(now - self._followed_at, max(step, BURST_SECONDS))
            self.limit = min(top, self.limit + max(1, int(due / step)))
            self._followed_at = now
        return self._followed_at + step

    def on_push_back(self, now: float, sent_at: float | None = None, in_flight: int | None = None) -> None:
        """Report an overload: a 429, a 529 or a timeout.

        Args:
            now: Monotonic seconds.
            sent_at: When the call was sent; a call from before the last decrease belongs to the same cascade.
            in_flight: Calls in flight, if known; the decrease starts from these if they are below the limit.
        """
        self._begin(now)
        self._trial.clear()
        if now < self._cascade_until or (sent_at is not None and sent_at < self._cut_at):
            return
        self._cut_at = now
        if self._base is not None and (in_flight is None or in_flight > self._base):
            self._stop_following()
            return
        self._cascade_until = now + CASCADE_SECONDS
        too_much = self.limit if in_flight is None else min(self.limit, max(in_flight, 1))
        self.limit = max(self._floor, int(too_much * CUT))
        self._base = None
        self._stay_near(too_much, None)

    def __repr__(self) -> str:
        bound = "no bound found" if self._known is None else f"bound at about {self._known}"
        return f"<AdaptiveConcurrency: {self.limit} at once, {bound}>"

    def _begin(self, now: float) -> None:
        self._since = now
        self._count = 0
        self._busy = 0
        self._latencies = 0.0
        self._timed = 0
        self._first_bytes = 0.0

    def _end_round(self, now: float) -> None:
        if self._base is not None:
            self._end_following_round(now)
            return
        # Throughput by Little's law. Responses cannot be counted over time, because calls that start together
        # end together.
        latency = self._latencies / self._count
        rate = self.limit / latency if latency > 0.0 else math.inf
        if self._known is None:
            self._end_doubling_round(rate)
            return
        top = int(min(self._ceiling, max(int(self._known * PROBE), self._known + 1)))
        if self.limit < top:
            self.limit = min(self.limit + self._step, top)
            return
        self._trial.append(rate)
        if len(self._trial) >= CLEAN_ROUNDS_TO_BELIEVE:
            self._end_trial(sum(self._trial) / len(self._trial))
            self._trial.clear()

    def _end_following_round(self, now: float) -> None:
        # The duration of the round is compared, because Little's law does not hold while the number in flight
        # grows. A round takes one latency if its calls begin together, and up to two if they begin one by
        # one.
        if now - self._since > TOO_LATE * self._usual:
            self._stop_following()
            return
        self._base = self.limit
        self._usual = (self._usual + self._latencies / self._count) / 2.0

    def _stop_following(self) -> None:
        """Return to the limit before it followed the quota, and double that by rounds instead."""
        assert self._base is not None
        self.limit = self._base
        self._base = self._former = None
        self._may_follow = False

    def _end_trial(self, rate: float) -> None:
        if self._baseline is None:
            self._known = self.limit
            return
        limit, former_rate = self._baseline
        gain = self.limit / limit - 1.0
        if rate >= former_rate * (1.0 + LEAST_SHARE_OF_GAIN * gain):
            self._stay_near(self.limit, rate)

    def _end_doubling_round(self, rate: float) -> None:
        first_byte = self._first_bytes / self._timed if self._timed else None
        if self._former is None or not _brought_nothing(rate, first_byte, *self._former[1:]):
            self._doubts = 0
            self._former = (self.limit, rate, first_byte)
            self.limit = int(min(self.limit * 2, self._ceiling))
            return
        self._doubts += 1
        if self._doubts > 1:
            self.limit, former_rate, _ = self._former
            self._stay_near(self.limit, former_rate)

    def _stay_near(self, limit: int, rate: float | None) -> None:
        self._known = limit
        self._baseline = None if rate is None else (limit, rate)
        self._former = None
        self._doubts = 0


def _brought_nothing(
    rate: float, first_byte: float | None, former_rate: float, former_first_byte: float | None
) -> bool:
    if rate >= LEAST_GAIN * former_rate:
        return False
    if first_byte is None or former_first_byte is None:
        return True
    return first_byte > SLOWER * former_first_byte
