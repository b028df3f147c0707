"""A permit for one call: a place among the concurrent calls, and what was debited for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Protocol

from callgate.policies.limit.pushback import Hold
from callgate.policies.limit.quota import Resource
from callgate.policies.limit.window import Charge, RateWindow

__all__ = ["Grantor", "Lease"]

# A delay below this (seconds) between the grant and the send is within the guard of every window.
_AT_ONCE: Final = 0.001


class Grantor(Protocol):
    """The gate that a lease came from."""

    name: str
    clock: Callable[[], float]
    hold: Hold
    in_flight: int
    listeners: tuple[Callable[[Any], None], ...]

    def admitted(self) -> None:
        """A call was admitted."""
        ...

    def changed(self) -> None:
        """Room may have come back."""
        ...

    def settled(self) -> None:
        """A call in flight has cost less than estimated."""
        ...


class Lease:
    """A permit for one call. Settle it with what the call has cost, and release it when the call has ended.

    Attributes:
        gate: Where it was granted.
        tokens: Tokens charged for the call at present: the estimate, later what it was settled with.
        granted_at: When it was granted, in seconds of the loop's clock.
        in_use: Whether it is not released yet.
        sent_at: When the call was sent, as far as it is known; until then when it was granted.
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
        # It settles with the windows that it was debited from, also when the gate has others by now.
        self.request_charges: tuple[Charge, ...] = ()
        self.token_charges: tuple[Charge, ...] = ()

    def hold(self) -> None:
        """Report that the call cannot be sent yet, as while a connection is opened.

        It counts in every window until `sent` is called. Released before, it is given back: it was not sent.
        """
        self._on_hold = True
        now = self.gate.clock()
        self.request_charges = tuple(
            (window, window.hold(slot, 1.0, now), charged, used)
            for window, slot, charged, used in self.request_charges
        )
        self.token_charges = tuple(
            (window, window.hold(slot, self.tokens, now), charged, used)
            for window, slot, charged, used in self.token_charges
        )

    def sent(self) -> None:
        """Report that the call is sent now: its windows begin now, and not when it was granted."""
        now = self.gate.clock()
        if not self._on_hold and now - self.sent_at < _AT_ONCE:
            return
        self._on_hold = False
        self.sent_at = now
        self.request_charges = tuple(
            (window, window.sent(slot, 1.0, now), charged, used)
            for window, slot, charged, used in self.request_charges
        )
        self.token_charges = tuple(
            (window, window.sent(slot, self.tokens, now), charged, used)
            for window, slot, charged, used in self.token_charges
        )

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
            gate.settled()

    def refund(self) -> None:
        """Give back the request and the tokens: only for a call that was certainly never sent."""
        now = self.gate.clock()
        for window, slot, *_ in self.request_charges:
            window.settle(slot, 1.0, 0.0, now)
        self.request_charges = ()
        self.settle(0.0)

    def release(self) -> None:
        """Free the place among the concurrent calls. Further calls have no effect."""
        if self.in_use:
            self.in_use = False
            if self._on_hold:
                self.refund()
            gate = self.gate
            gate.in_flight -= 1
            if gate.hold.held:
                gate.hold.inconclusive(self.order)  # unless its outcome was reported before
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
        state = "held" if self.in_use else "released"
        return f"<Lease {self.order} of {self.gate.name!r}: {self.tokens:g} tokens, {state}>"
