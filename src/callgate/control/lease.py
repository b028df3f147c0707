"""What a limiter hands out: one place among the calls at once, and what was debited for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callgate.control.window import Slot

if TYPE_CHECKING:
    from callgate.control.limiter import Limiter

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

    __slots__ = (
        "_held",
        "_limiter",
        "_request_slot",
        "_requests",
        "_requests_mark",
        "_token_slot",
        "_tokens_mark",
        "granted_at",
        "order",
        "tokens",
    )

    def __init__(self, limiter: Limiter, tokens: float, granted_at: float, order: int) -> None:
        self._limiter = limiter
        self.tokens = tokens
        self.granted_at = granted_at
        self.order = order
        self._held = True
        self._requests = 1.0
        self._request_slot: Slot | None = None
        self._token_slot: Slot | None = None
        # The windows' running charges at the grant: what was reserved since is the difference to these.
        self._requests_mark = 0.0
        self._tokens_mark = 0.0

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

    def __repr__(self) -> str:
        state = "held" if self._held else "released"
        return f"<Lease {self.order} of {self._limiter.name!r}: {self.tokens:g} tokens, {state}>"
