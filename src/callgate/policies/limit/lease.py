"""`Lease`: a permit for one call: a concurrency slot, and the units charged to the quotas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Protocol

from callgate.policies.limit.log import Slot
from callgate.policies.limit.pushback import Hold
from callgate.policies.limit.quota import Resource
from callgate.policies.limit.window import Charge, RateWindow

__all__ = ["Grantor", "Lease"]

# Seconds. A shorter delay between grant and send is within the guard of every window.
_AT_ONCE: Final = 0.001


class Grantor(Protocol):
    """The part of a gate that its leases use."""

    name: str
    clock: Callable[[], float]
    hold: Hold
    in_flight: int
    listeners: tuple[Callable[[Any], None], ...]

    def admitted(self) -> None:
        """A call was admitted."""
        ...

    def changed(self) -> None:
        """There may be room."""
        ...

    def settled(self) -> None:
        """A call in flight has cost less than estimated."""
        ...


class Lease:
    """A permit for one call. Settle it with the actual tokens, and release it when the call has ended.

    Attributes:
        gate: The gate that granted it.
        tokens: Tokens charged for the call: the estimate, after `settle` the actual number.
        granted_at: When it was granted, in seconds of the loop's clock.
        in_use: False once it is released.
        sent_at: When the call was sent; before `sent`, when it was granted.
        order: Its number among all grants of its gate, from 1.

    Example::

        lease = await limiter.acquire(tokens=500)
        try:
            answer = await send()
            lease.settle(answer.usage.total_tokens)
        finally:
            lease.release()
    """

    __slots__ = (
        "_on_hold", "gate", "granted_at", "in_use", "order", "request_charges", "sent_at", "token_charges",
        "tokens",
    )  # fmt: skip

    def __init__(self, gate: Grantor, tokens: float, granted_at: float, order: int) -> None:
        self.gate = gate
        self.in_use = True
        self._on_hold = False
        self.tokens = tokens
        self.granted_at = granted_at
        self.sent_at = granted_at
        self.order = order
        # The lease is settled with the windows that were charged, also if the gate has others now.
        self.request_charges: tuple[Charge, ...] = ()
        self.token_charges: tuple[Charge, ...] = ()

    def hold(self) -> None:
        """Report that the call waits to be sent, for example for a connection.

        It counts in every window until `sent` is called. A release before that refunds it.
        """
        self._on_hold = True
        now = self.gate.clock()
        self._move(RateWindow.hold, now)

    def sent(self) -> None:
        """Report that the call is sent now. It then counts from now on, not from the grant."""
        now = self.gate.clock()
        if not self._on_hold and now - self.sent_at < _AT_ONCE:
            return
        self._on_hold = False
        self.sent_at = now
        self._move(RateWindow.sent, now)

    def _move(self, move: Callable[[RateWindow, Slot | None, float, float], Slot | None], now: float) -> None:
        """Move what was charged to another slot of each window's log."""
        self.request_charges = tuple(
            (window, move(window, slot, 1.0, now), charged, used)
            for window, slot, charged, used in self.request_charges
        )
        self.token_charges = tuple(
            (window, move(window, slot, self.tokens, now), charged, used)
            for window, slot, charged, used in self.token_charges
        )

    def settle(self, tokens: float) -> None:
        """Replace the estimate by the actual tokens, which may be more.

        May be called again. A number that is negative, infinite or NaN is ignored, and the estimate stays
        charged.
        """
        if not 0.0 <= tokens < math.inf:
            return
        gate = self.gate
        now = gate.clock()
        for window, slot, *_ in self.token_charges:
            window.settle(slot, self.tokens, tokens, now)
        self.tokens = tokens
        if gate.listeners:
            gate.settled()

    def refund(self) -> None:
        """Return the request and the tokens to the quotas. Only for a call that was certainly not sent."""
        now = self.gate.clock()
        for window, slot, *_ in self.request_charges:
            window.settle(slot, 1.0, 0.0, now)
        self.request_charges = ()
        self.settle(0.0)

    def release(self) -> None:
        """Free the concurrency slot. Idempotent."""
        if self.in_use:
            self.in_use = False
            if self._on_hold:
                self.refund()
            gate = self.gate
            gate.in_flight -= 1
            if gate.hold.held:
                gate.hold.inconclusive(self.order)  # has no effect if its outcome was reported before
            if gate.listeners:
                gate.changed()

    def marks(self, resource: Resource, window: RateWindow) -> tuple[float, float]:
        """The window's total charges and the units it held at the grant; zeros for a window created later."""
        charges = self.request_charges if resource == "requests" else self.token_charges
        for charged_window, _, charged, used in charges:
            if charged_window is window:
                return charged, used
        return 0.0, 0.0

    def __repr__(self) -> str:
        state = "held" if self.in_use else "released"
        return f"<Lease {self.order} of {self.gate.name!r}: {self.tokens:g} tokens, {state}>"
