"""What a queue asks a call that waits in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from callgate.policies.limit.errors import not_a_cost
from callgate.policies.limit.gate import Gate
from callgate.policies.limit.lease import Lease

__all__ = ["Candidate", "FirstWithRoom", "check_fits"]


class Candidate(Protocol):
    """A call that is to be admitted: which gates it may pass, and which it passes now.

    Its gates must not change while it waits.
    """

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates that it may pass, of those that the queue was made for."""
        ...

    @property
    def tokens(self) -> float:
        """What it costs (at the cheapest of its gates), by which waits are predicted."""
        ...

    def admit(self, gates: Sequence[Gate], now: float) -> Lease | float:
        """Take a lease from one of `gates` if one suits now.

        Called when the call comes, and while it waits whenever that may have changed.

        Args:
            gates: Its own gates, without those that a call before it waits for.
            now: Seconds of the loop's clock.

        Returns:
            The lease, or the seconds until it is to be asked again; infinity: not before one of its gates
            reports a change.

        Raises:
            Exception: It waits no longer; `acquire` raises the same.
        """
        ...


class FirstWithRoom:
    """A candidate that takes the first of its gates with room for it.

    Args:
        gates: At least one, in the order of preference.
        tokens: What the call costs at any of them.

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
            QuotaTooSmallError: None of its gates can ever admit it.
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
    """Check that one of its gates could ever admit the candidate.

    Raises:
        QuotaTooSmallError: Each of them admits less in a whole window.
    """
    for gate in candidate.gates:
        if gate.refusal(candidate.tokens) is None:
            return
    candidate.gates[0].check_fits(candidate.tokens)
