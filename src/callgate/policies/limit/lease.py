"""A permit for one call: a place among the concurrent calls, and what was debited for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from callgate.policies.limit.quota import Resource
from callgate.policies.limit.window import Charge, RateWindow

__all__ = ["Grantor", "Lease"]


class Grantor(Protocol):
    """The gate that a lease came from."""

    name: str
    clock: Callable[[], float]
    in_flight: int
    listeners: tuple[Callable[[Any], None], ...]

    def admitted(self) -> None:
        """A call was admitted."""
        ...

    def changed(self) -> None:
        """Room may have come back."""
        ...


class Lease:
    """A permit for one call. Settle it with what the call has cost, and release it when the call has ended.

    Attributes:
        gate: Where it was granted.
        tokens: Tokens charged for the call at present: the estimate, later what it was settled with.
        granted_at: When it was granted, in seconds of the loop's clock.
        order: Its number among all grants of its gate, from 1.

    Example::

        lease = await limiter.acquire(tokens=500)
        try:
            answer = await send()
            lease.settle(answer.usage.total_tokens)
        finally:
            lease.release()
    """

    __slots__ = ("_held", "gate", "granted_at", "order", "request_charges", "token_charges", "tokens")

    def __init__(self, gate: Grantor, tokens: float, granted_at: float, order: int) -> None:
        self.gate = gate
        self._held = True
        self.tokens = tokens
        self.granted_at = granted_at
        self.order = order
        # It settles with the windows that it was debited from, also when the gate has others by now.
        self.request_charges: tuple[Charge, ...] = ()
        self.token_charges: tuple[Charge, ...] = ()

    def settle(self, tokens: float) -> None:
        """Replace the estimate by the actual tokens; more than estimated leaves a debt.

        May be called again with a better figure. A figure that is negative, infinite or not a number is
        ignored, and the estimate stays charged.
        """
        if not 0.0 <= tokens < math.inf:
            return
        gate = self.gate
        now = gate.clock()
        for window, slot, *_ in self.token_charges:
            window.settle(slot, self.tokens, tokens, now)
        self.tokens = tokens
        if gate.listeners:
            gate.changed()

    def refund(self) -> None:
        """Give back the request and the tokens: only for a call that was certainly never sent."""
        now = self.gate.clock()
        for window, slot, *_ in self.request_charges:
            window.settle(slot, 1.0, 0.0, now)
        self.request_charges = ()
        self.settle(0.0)

    def release(self) -> None:
        """Free the place among the concurrent calls. Further calls have no effect."""
        if self._held:
            self._held = False
            gate = self.gate
            gate.in_flight -= 1
            if gate.listeners:
                gate.changed()

    def marks(self, resource: Resource, window: RateWindow) -> tuple[float, float]:
        """The window's running charges, and what it held, at the grant; zeros for a younger window."""
        charges = self.request_charges if resource == "requests" else self.token_charges
        for charged_window, _, charged, used in charges:
            if charged_window is window:
                return charged, used
        return 0.0, 0.0

    def __repr__(self) -> str:
        state = "held" if self._held else "released"
        return f"<Lease {self.order} of {self.gate.name!r}: {self.tokens:g} tokens, {state}>"
