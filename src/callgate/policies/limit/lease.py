"""What a limiter hands out: one place among the calls at once, and what was debited for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callgate.policies.limit.quota import Resource
from callgate.policies.limit.window import Charge, RateWindow

if TYPE_CHECKING:
    from callgate.policies.limit.limiter import Limiter

__all__ = ["Lease"]


class Lease:
    """A permit for one call. Settle it with what the call has cost, and release it when the call has ended.

    Attributes:
        tokens: What is charged for the call at present: the estimate, later what it was settled with.
        granted_at: When it was granted, in seconds of the loop's clock.
        order: Its number among all grants of its limiter, from 1.

    Example::

        lease = await limiter.acquire(tokens=500)
        try:
            answer = await send()
            lease.settle(answer.usage.total_tokens)
        finally:
            lease.release()
    """

    __slots__ = ("_held", "_limiter", "granted_at", "order", "request_charges", "token_charges", "tokens")

    def __init__(self, limiter: Limiter, tokens: float, granted_at: float, order: int) -> None:
        self._limiter = limiter
        self._held = True
        self.tokens = tokens
        self.granted_at = granted_at
        self.order = order
        # The windows it was debited from are those that it settles with, whatever has become of the limiter.
        self.request_charges: tuple[Charge, ...] = ()
        self.token_charges: tuple[Charge, ...] = ()

    def settle(self, tokens: float) -> None:
        """Put the actual tokens in the estimate's place; more than estimated makes a debt.

        May be called again with a better figure. A figure that is none (negative, infinite, not a number) is
        ignored, and the estimate stays charged.
        """
        self._limiter._settle(self, tokens)

    def refund(self) -> None:
        """Give back the request and the tokens: only for a call that was surely never sent."""
        self._limiter._refund(self)

    def release(self) -> None:
        """Give the place among the calls at once to the next in line. Further calls do nothing."""
        if self._held:
            self._held = False
            self._limiter._give_back()

    def marks(self, resource: Resource, window: RateWindow) -> tuple[float, float]:
        """The window's running charges, and what it held, when this was granted; zeros if it is younger."""
        charges = self.request_charges if resource == "requests" else self.token_charges
        for charged_window, _, charged, used in charges:
            if charged_window is window:
                return charged, used
        return 0.0, 0.0

    def __repr__(self) -> str:
        state = "held" if self._held else "released"
        return f"<Lease {self.order} of {self._limiter.name!r}: {self.tokens:g} tokens, {state}>"
