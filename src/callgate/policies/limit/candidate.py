"""`Candidate`: a call that waits in a queue, and the gates that it may pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from callgate.policies.limit.errors import not_a_cost
from callgate.policies.limit.gate import Gate
from callgate.policies.limit.lease import Lease

__all__ = ["Candidate", "FirstWithRoom", "check_fits"]


class Candidate(Protocol):
    """A call in a queue. It decides which of its gates it passes; `gates` must not change while it waits."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates that it may pass, a subset of the gates of the queue."""
        ...

    @property
    def tokens(self) -> float:
        """Its cost in tokens at the cheapest of its gates; used to predict waits."""
        ...

    def admit(self, gates: Sequence[Gate], now: float) -> Lease | float:
        """Take a lease from one of `gates`, if one has room.

        Called when the call joins the queue, and while it waits whenever there may be room.

        Args:
            gates: Its gates, without those that a call before it waits for.
            now: Seconds of the loop's clock.

        Returns:
            The lease, or the seconds until the next attempt; infinity: not before a gate reports a change.

        Raises:
            Exception: The call leaves the queue, and `acquire` raises this error.
        """
        ...


class FirstWithRoom:
    """A candidate that takes the first of its gates with room for it.

    Args:
        gates: At least one, in the order of preference.
        tokens: The cost of the call in tokens, the same at all gates.

    Raises:
        ConfigurationError: `tokens` is negative or not a number.
    """

    __slots__ = ("gates", "tokens")

    def __init__(self, gates: tuple[Gate, ...], tokens: float) -> None:
        if not tokens >= 0.0:
            raise not_a_cost(tokens)
        self.gates = gates
        self.tokens = tokens

    def admit(self, gates: Sequence[Gate], now: float) -> Lease | float:
        """A lease of the first gate with room, or the seconds until one may have room.

        Raises:
            QuotaTooSmallError: The call is larger than a whole window of each gate.
        """
        soonest = math.inf
        for gate in gates:
            wait = gate.wait(self.tokens, now)
            if wait <= 0.0:
                return gate.grant(self.tokens, now)
            soonest = min(soonest, wait)
        if soonest == math.inf:
            check_fits(self)
        return soonest


def check_fits(candidate: Candidate) -> None:
    """Check that at least one gate can admit the candidate at some time.

    Raises:
        QuotaTooSmallError: The call is larger than a whole window of each gate.
    """
    for gate in candidate.gates:
        if gate.refusal(candidate.tokens) is None:
            return
    candidate.gates[0].check_fits(candidate.tokens)
