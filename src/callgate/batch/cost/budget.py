"""`--budget`: a hard cap on what a batch can cost.

Before a row is called, the most that it could cost is reserved: its bytes as input tokens, its `max_tokens`
as output (see `worst_case`), for every attempt that may be made (see `candidates`). When it has ended, what
it really cost is charged instead; an attempt of which nobody can say whether it was billed (a timeout, a
broken connection, a server error) is charged in full. So spent plus reserved is never above the limit, and
the bill never above what was spent.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

from callgate.batch.cost.ledger import Ledger
from callgate.call.calling import Calling
from callgate.errors import (
    APIClientError,
    BudgetExceededError,
    ContentFilterError,
    ContextLengthError,
    InputError,
    InvalidRequestError,
    SDKError,
)

__all__ = ["Budget", "charge", "dollars"]

_REFUSED_AT_THE_DOOR = frozenset({401, 402, 403, 404, 405, 413, 429})


class Budget:
    """An amount of US dollars that calls reserve from and are charged to.

    Rows are served in the order in which they ask. The budget is exhausted when the next row does not fit and
    none is in flight any more whose reservation could come back.

    Args:
        limit: US dollars.
        spent: What was spent before, of the same limit.
        ledger: Where what may be spent is written before it is; None: nowhere, so that a killed process loses
            the knowledge of it.

    Raises:
        InputError: when the limit is not above 0.

    Example::

        budget = Budget(5.00)
        async for result in Engine(model).run(rows, budget=budget):
            print(budget.spent, budget.reserved)
    """

    def __init__(
        self,
        limit: float,
        *,
        spent: float = 0.0,
        ledger: Ledger | None = None,
    ) -> None:
        if not 0.0 < limit < float("inf"):
            raise InputError(f"a budget is an amount of US dollars above 0, not {limit:g}")
        self.limit = limit
        self.spent = spent
        self.reserved = 0.0
        self.ledger = ledger
        self.refusal: BudgetExceededError | None = None
        """Why no more rows are called, once it is exhausted."""
        self._open = 0
        self._waiting: deque[tuple[float, asyncio.Future[bool]]] = deque()

    @property
    def waiting(self) -> int:
        """Rows that wait for their share."""
        return len(self._waiting)

    async def reserve(self, amount: float) -> bool:
        """Wait until `amount` US dollars are free and reserve them; False when they never will be."""
        if self.refusal is not None:
            return False
        if not self._waiting and self._fits(amount):
            self._take(amount)
            return True
        if not self._waiting and not self._open:
            self._exhaust(amount)
            return False
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, place))
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.result():
                self.settle(amount, 0.0)
            raise

    def settle(self, reserved: float, charged: float) -> None:
        """Give a reservation back and charge what it came to."""
        self.spent += charged
        self._open -= 1
        # Sums of floats drift: with the last reservation back, nothing at all is reserved.
        self.reserved = max(0.0, self.reserved - reserved) if self._open else 0.0
        self._serve()

    def _take(self, amount: float) -> None:
        self.reserved += amount
        self._open += 1

    def _fits(self, amount: float) -> bool:
        return self.spent + self.reserved + amount <= self.limit

    def _serve(self) -> None:
        while self._waiting:
            amount, place = self._waiting[0]
            if place.done():
                self._waiting.popleft()
            elif self._fits(amount):
                self._waiting.popleft()
                self._take(amount)
                place.set_result(True)
            elif self._open:
                return
            else:
                self._exhaust(amount)

    def _exhaust(self, amount: float) -> None:
        self.refusal = BudgetExceededError(
            f"the budget of {dollars(self.limit)} is used up: {dollars(self.spent)} are spent, and the next"
            f" row could cost up to {dollars(amount)} with all its attempts"
        )
        while self._waiting:
            _, place = self._waiting.popleft()
            if not place.done():
                place.set_result(False)

    def __repr__(self) -> str:
        left = f"{dollars(self.spent)} spent, {dollars(self.reserved)} reserved"
        return f"<Budget {dollars(self.limit)}: {left}>"


def dollars(amount: float) -> str:
    """US dollars in words, with as many digits as small sums need.

    >>> dollars(12.3), dollars(0.00421337), dollars(0.000027), dollars(0)
    ('$12.30', '$0.004213', '$0.000027', '$0.00')
    """
    if amount >= 1 or amount <= 0:
        return f"${amount:,.2f}"
    whole, _, digits = f"{amount:.{3 - math.floor(math.log10(amount))}f}".partition(".")
    return f"${whole}.{digits.rstrip('0'):0<2}"


def charge(calling: Calling, worst: float) -> float:
    """What a call that has ended, or was cut off, is charged, in US dollars.

    An attempt without a response of known cost is charged in full, unless its error proves that it was free.

    Args:
        calling: The call.
        worst: What one attempt may cost at most.
    """
    charged = 0.0
    for attempt in calling.attempts:
        cost = attempt.cost
        if cost is not None:
            charged += cost.total
        elif attempt.error is None or not _is_free(attempt.error):
            charged += worst
    return charged


def _is_free(error: BaseException) -> bool:
    """Whether nobody bills an attempt that ended so: not sent, or refused before any work was done."""
    if not isinstance(error, APIClientError | SDKError):
        return False
    if error.surely_unsent:
        return True
    # Microsoft's "Manage costs" for Azure OpenAI: a 400 for the content or the length of the input and a 408
    # may be charged, as the service has worked on them. Of filtered content prompt and completion are.
    if isinstance(error, ContentFilterError | ContextLengthError):
        return False
    if error.status_code in _REFUSED_AT_THE_DOOR:
        return True
    return isinstance(error, InvalidRequestError) and error.status_code in (400, 422)
