"""Find the number of calls at once that a service bears, where nobody has told its quota."""

from __future__ import annotations

import math
from typing import Final

from callgate.errors import ConfigurationError

__all__ = ["AdaptiveConcurrency"]

# One overload answers many calls with a push-back each; together they are one piece of news.
CASCADE_SECONDS: Final = 15.0
CUT: Final = 0.75
# Above a limit that was once too much, only this much is tried ...
PROBE: Final = 1.10
# ... until so many clean rounds up there have shown that the service bears more than it did. Where it was
# found out by its throughput, they must also have brought half of the gain that more calls at once should.
CLEAN_ROUNDS_TO_BELIEVE: Final = 10
LEAST_SHARE_OF_GAIN: Final = 0.5
# A round tells of the limit only if most of its answers came while the limit was (nearly) reached, and if
# there were enough of them to make a mean.
NEARLY: Final = 0.9
SMALLEST_ROUND: Final = 10
# Twice the calls at once should bring nearly twice the answers per second. Less than this, two rounds in
# turn, and they only queue inside the server; its first bytes, where they are known, must be slower, too.
LEAST_GAIN: Final = 1.2
SLOWER: Final = 1.3
# Where the quota is known, the limit follows it: places are added twice as fast as it refills, and at once no
# more than in so many seconds; up to half as many again as it keeps busy, to catch up with what it has saved;
# and never more than so many times what has been borne before.
PLACES_PER_UNIT: Final = 2.0
BURST_SECONDS: Final = 0.05
ROOM: Final = 1.5
MOST_AHEAD: Final = 8
# A round under a limit that grew with the quota is too late when it took so many times as long as an answer.
TOO_LATE: Final = 3.0
MOST_HEARD: Final = 50


class AdaptiveConcurrency:
    """How many calls at once: additive increase, multiplicative decrease. No I/O, no clock of its own.

    A *round* is as many answers as the limit, to calls that were sent since it began. Until the first
    push-back a clean round doubles the limit; after it, a clean round adds a little, and goes at most 10 %
    above the limit that was too much. A push-back (429, 529, a timeout) takes a quarter away, once per
    cascade. A server that never says 429 is found out by its throughput: when doubling the calls at once has
    not brought more answers per second (and their first bytes come later), the limit goes back to where it
    was.

    Where a quota is known, doubling once in the time of an answer would leave most of it unused for long.
    `follow_quota` then adds places as fast as the quota asks for them, up to eight times what has been borne;
    a push-back, or a round whose answers do not come in time, takes them back, and it is doubled instead.

    Args:
        start: Calls at once to begin with; no more than the ceiling.
        ceiling: Never more than this; None: no such bound.
        floor: Never fewer than this.
        step: What a clean round adds once a limit is known.

    Raises:
        ConfigurationError: Bounds below 1 or in the wrong order.

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
        "_heard",
        "_known",
        "_latencies",
        "_may_follow",
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
        self._known: int | None = None  # the limit to stay near: it was pushed back, or more brought nothing
        self._baseline: tuple[int, float] | None = None  # in the latter case: it, and its answers per second
        self._cut_at = self._cascade_until = -math.inf
        # While doubling: the limit before, its answers per second, its mean seconds to the first byte.
        self._former: tuple[int, float, float | None] | None = None
        self._doubts = 0  # rounds in turn that have brought nothing more than the former limit
        self._trial: list[float] = []  # answers per second of the clean rounds at the highest limit tried
        self._may_follow = True  # whether it may follow a quota; not after that was too much
        self._base: int | None = None  # what had been borne before the limit grew with the quota
        self._followed_at = -math.inf
        self._usual = 0.0  # seconds until an answer comes: the mean of about as many of the latest as this
        self._heard = 0
        self.limit = int(min(start, top))
        self._begin(-math.inf)

    def expect(self, calls: int) -> None:
        """Begin with this many calls at once, if that is more; nothing changes after the first answer."""
        if self._heard == 0 and self._cut_at == -math.inf:
            self.limit = int(max(self.limit, min(calls, self._ceiling)))

    def on_success(self, now: float, latency: float, in_flight: int, first_byte: float | None = None) -> None:
        """An answer has come.

        Args:
            now: Monotonic seconds.
            latency: Seconds since the call was sent.
            in_flight: Calls at once at this moment, this one included.
            first_byte: Seconds from sending to the first byte of the answer, where it is known.
        """
        sent_under_another = now - latency < self._since
        if self._base is None or sent_under_another:
            self._heard = min(self._heard + 1, MOST_HEARD)
            self._usual += (latency - self._usual) / self._heard
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
        """Whether a known quota may add places: there are answers, and no sign of too much."""
        return self._may_follow and self._known is None and self._heard > 0

    def follow_quota(self, now: float, seconds_per_call: float) -> float:
        """The known quota would admit a call that the limit does not: see whether it may have a place.

        Nothing is added before the first answer, where the limit is known to be too much, or where the quota
        keeps no more calls busy than it allows.

        Args:
            now: Monotonic seconds.
            seconds_per_call: In which the quota refills what such a call costs.

        Returns:
            When the next place can be added, by itself; infinity: not by the quota.
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
        """The service is overloaded: 429, 529, a timeout.

        Args:
            now: Monotonic seconds.
            sent_at: When the call was sent; one from before the last cut belongs to the same cascade.
            in_flight: Calls at once, if known: fewer than the limit were too much, then.
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
        # By Little's law. Counting answers over time would not do: calls that start together end together.
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
        # Here the round itself is timed: while the number at once grows, Little's law does not tell the
        # answers per second. Calls that begin together need the time of one answer, those that begin as
        # others end up to twice that.
        if now - self._since > TOO_LATE * self._usual:
            self._stop_following()
            return
        self._base = self.limit
        self._usual = (self._usual + self._latencies / self._count) / 2.0

    def _stop_following(self) -> None:
        """The places that the quota asked for were too many: back to what had been borne, and double that."""
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
