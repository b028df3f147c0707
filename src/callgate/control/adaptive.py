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
# ... until so many clean rounds up there have shown that the service bears more than it did.
CLEAN_ROUNDS_TO_BELIEVE: Final = 10
# A round tells of the limit only if most of its answers came while the limit was (nearly) reached.
NEARLY: Final = 0.9
# Twice the calls at once should bring nearly twice the answers per second. Less than this, two rounds in
# turn, and they only queue inside the server; its first bytes, where they are known, must be slower, too.
LEAST_GAIN: Final = 1.2
SLOWER: Final = 1.3


class AdaptiveConcurrency:
    """How many calls at once: additive increase, multiplicative decrease. No I/O, no clock of its own.

    A *round* is as many answers as the limit. Until the first push-back a clean round doubles the limit;
    after it, a clean round adds a little, and goes at most 10 % above the limit that was too much. A
    push-back (429, 529, a timeout) takes a quarter away, once per cascade. A server that never says 429 is
    found out by its throughput: when doubling the calls at once has not brought more answers per second (and
    their first bytes come later), the limit goes back to where it was.

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
        "_busy",
        "_ceiling",
        "_clean_rounds",
        "_count",
        "_cut_at",
        "_doubts",
        "_first_bytes",
        "_floor",
        "_former",
        "_known",
        "_since",
        "_step",
        "_timed",
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
        self._known: int | None = None  # a limit that was too much
        self._cut_at = -math.inf
        self._clean_rounds = 0  # since the limit stands as high as it may be tried
        # While doubling: the limit before, its answers per second, its mean seconds to the first byte.
        self._former: tuple[int, float, float | None] | None = None
        self._doubts = 0  # rounds in turn that have brought nothing more than the former limit
        self.limit = min(start, int(top)) if top < math.inf else start
        self._begin(None)

    def on_success(self, now: float, first_byte: float | None, in_flight: int) -> None:
        """An answer has come.

        Args:
            now: Monotonic seconds.
            first_byte: Seconds from sending to the first byte of the answer, where it is known.
            in_flight: Calls at once at this moment, this one included.
        """
        if self._since is None:
            self._begin(now)
            return  # a round is timed from one answer to another
        self._count += 1
        if in_flight >= NEARLY * self.limit:
            self._busy += 1
        if first_byte is not None:
            self._timed += 1
            self._first_bytes += first_byte
        if self._count >= self.limit:
            if self._busy * 2 > self._count:
                self._end_round(now)
            self._begin(now)

    def on_push_back(self, now: float, sent_at: float | None = None, in_flight: int | None = None) -> None:
        """The service is overloaded: 429, 529, a timeout.

        Args:
            now: Monotonic seconds.
            sent_at: When the call was sent; one from before the last cut belongs to the same cascade.
            in_flight: Calls at once, if known: fewer than the limit were too much, then.
        """
        self._begin(None)
        self._clean_rounds = 0
        if now - self._cut_at < CASCADE_SECONDS or (sent_at is not None and sent_at < self._cut_at):
            return
        self._cut_at = now
        too_much = self.limit if in_flight is None else min(self.limit, max(in_flight, 1))
        self._settle_at(max(self._floor, int(too_much * CUT)), too_much)

    def __repr__(self) -> str:
        known = "none known" if self._known is None else f"{self._known} was too much"
        return f"<AdaptiveConcurrency: {self.limit} at once, {known}>"

    def _begin(self, now: float | None) -> None:
        self._since = now
        self._count = 0
        self._busy = 0
        self._timed = 0
        self._first_bytes = 0.0

    def _end_round(self, now: float) -> None:
        if self._known is None:
            self._end_doubling_round(now)
            return
        top = min(self._ceiling, max(int(self._known * PROBE), self._known + 1))
        if self.limit < top:
            self.limit = int(min(self.limit + self._step, top))
            return
        self._clean_rounds += 1
        if self._clean_rounds >= CLEAN_ROUNDS_TO_BELIEVE:
            self._known = self.limit
            self._clean_rounds = 0

    def _end_doubling_round(self, now: float) -> None:
        elapsed = now - self._since if self._since is not None else 0.0
        rate = self._count / elapsed if elapsed > 0.0 else math.inf
        first_byte = self._first_bytes / self._timed if self._timed else None
        if self._former is not None and self._brought_nothing(rate, first_byte, *self._former):
            self._doubts += 1
            if self._doubts > 1:
                self._settle_at(self._former[0], self.limit)
            return
        self._doubts = 0
        self._former = (self.limit, rate, first_byte)
        self.limit = int(min(self.limit * 2, self._ceiling))

    @staticmethod
    def _brought_nothing(
        rate: float, first_byte: float | None, limit: int, former_rate: float, former_first_byte: float | None
    ) -> bool:
        if rate >= LEAST_GAIN * former_rate:
            return False
        if first_byte is None or former_first_byte is None:
            return True
        return first_byte > SLOWER * former_first_byte

    def _settle_at(self, limit: int, too_much: int) -> None:
        self.limit = limit
        self._known = too_much
        self._former = None
        self._doubts = 0
