"""`--budget`: a hard limit on the cost of a batch.

Before an attempt is sent, the most that it can cost is reserved (see `worst_case`), at the dearest endpoint
that may take it. When it ends, its real cost is charged instead. An attempt that may have been billed without
a response (a timeout, a broken connection, a server error), or whose usage cannot be read, is charged in
full. So the amount spent plus the amount reserved never exceeds the limit, and the bill never exceeds the
amount spent. A call that backs off has no reservation.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from callgate.batch.cost.ledger import Ledger
from callgate.call.attempt import Attempt
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
from callgate.model.pricing import Pricer
from callgate.pipeline import Service, UserLayer
from callgate.response import Response

__all__ = ["Budget", "charge", "dollars"]

_REFUSED_UNREAD = frozenset({401, 402, 403, 404, 405, 413, 429})


class Budget:
    """An amount of US dollars that attempts reserve from and are charged to.

    Attempts are served in FIFO order. One that does not fit waits until those in flight have ended. The
    budget is used up when the next attempt does not fit and none is in flight.

    Args:
        limit: US dollars.
        spent: US dollars spent before, which count against the limit.
        ledger: Records reservations before attempts are sent; None: a killed process loses what it has
            reserved.

    Raises:
        InputError: the limit is not above 0.

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
        """The error of further attempts, once the budget is used up."""
        self._open = 0
        self._waiting: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._excess = 1.0
        """The highest ratio of a cost to its worst case so far, from 1.0; a factor of reservations."""
        self._reservations: dict[Calling, _Reservation] = {}
        self._charged: dict[str, float] = {}

    def layer(self, worst: Callable[[Calling], float]) -> UserLayer:
        """A layer that reserves before each attempt and charges after it.

        It is outside of the limiter, so that an attempt that waits for the budget holds no permit, and inside
        of retry and hedge.

        Args:
            worst: Returns the most US dollars that the next attempt of a call can cost.

        Raises (in the service):
            BudgetExceededError: the budget is used up; the attempt was not made.
        """

        def wrap(call: Service) -> Service:
            async def within_budget(calling: Calling) -> Response:
                reservation = _Reservation(worst(calling), self._excess)
                if not await self.reserve(reservation.amount):
                    assert self.refusal is not None
                    raise self.refusal
                self._reservations[calling] = reservation
                before = calling.attempt
                try:
                    return await call(calling)
                finally:
                    del self._reservations[calling]
                    attempt = calling.attempt
                    charged = 0.0
                    if attempt is not None and attempt is not before:
                        charged = charge(attempt, calling, reservation.amount)
                    self._settle(calling.request_id, reservation, charged)

            return within_budget

        return UserLayer("budget", wrap, inside="hedge")

    def dispatched(self, calling: Calling) -> None:
        """Record the reservation of an attempt in the ledger, before the attempt is sent.

        Raises:
            InputError: the ledger cannot be written. The attempt must not be sent.
        """
        reservation = self._reservations.get(calling)
        if self.ledger is not None and reservation is not None and not reservation.written:
            reservation.written = True
            self.ledger.sent(calling.request_id, reservation.amount)

    def charged(self, calling: Calling) -> float:
        """The US dollars charged for all attempts of an ended call. The amount is removed: call it once."""
        return self._charged.pop(calling.request_id, 0.0)

    @property
    def waiting(self) -> int:
        """The number of attempts that wait until those in flight have ended."""
        return len(self._waiting)

    async def reserve(self, amount: float) -> bool:
        """Wait until `amount` US dollars are free, and reserve them; False if the budget is used up."""
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
        """Release a reservation and charge the real cost, in US dollars."""
        self.spent += charged
        self._open -= 1
        # Sums of floats drift, so the last released reservation sets it to zero.
        self.reserved = max(0.0, self.reserved - reserved) if self._open else 0.0
        self._serve()

    def _settle(self, call: str, reservation: _Reservation, charged: float) -> None:
        if charged > reservation.worst > 0.0:
            self._excess = max(self._excess, charged / reservation.worst)
        if charged:
            self._charged[call] = self._charged.get(call, 0.0) + charged
        if self.ledger is not None and reservation.written:
            self.ledger.settled(call, reservation.amount, charged)
        self.settle(reservation.amount, charged)

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
            f" request could cost up to {dollars(amount)}"
        )
        while self._waiting:
            _, place = self._waiting.popleft()
            if not place.done():
                place.set_result(False)

    def __repr__(self) -> str:
        left = f"{dollars(self.spent)} spent, {dollars(self.reserved)} reserved"
        return f"<Budget {dollars(self.limit)}: {left}>"


def dollars(amount: float) -> str:
    """US dollars as text, with enough digits for small amounts.

    >>> dollars(12.3), dollars(0.00421337), dollars(0.000027), dollars(0)
    ('$12.30', '$0.004213', '$0.000027', '$0.00')
    """
    if amount >= 1 or amount <= 0:
        return f"${amount:,.2f}"
    whole, _, digits = f"{amount:.{3 - math.floor(math.log10(amount))}f}".partition(".")
    return f"${whole}.{digits.rstrip('0'):0<2}"


class _Reservation:
    """The worst case of one attempt and the amount reserved for it, in US dollars."""

    __slots__ = ("amount", "worst", "written")

    def __init__(self, worst: float, excess: float) -> None:
        self.worst = worst
        self.amount = worst * excess
        self.written = False


def charge(attempt: Attempt, calling: Calling, worst: float) -> float:
    """The US dollars charged for an attempt.

    Args:
        attempt: An attempt that has ended or was cancelled.
        calling: Its call, as it was sent.
        worst: The most that the attempt can cost, which is charged if the real cost is not known.
    """
    if attempt.response is not None:
        cost, pricer = attempt.cost, calling.pricer
        if not isinstance(pricer, Pricer):
            return worst if cost is None else cost.total
        if cost is None:
            return worst * pricer.surcharge(attempt.response, calling.payload)
        return cost.total if pricer.is_billed(attempt.response) else worst
    return 0.0 if attempt.error is not None and _is_free(attempt.error) else worst


def _is_free(error: BaseException) -> bool:
    """True if an attempt with this error is not billed: it was not sent, or refused before any work."""
    if not isinstance(error, APIClientError | SDKError):
        return False
    if error.surely_unsent:
        return True
    # Microsoft's "Manage costs" for Azure OpenAI: a 400 for the content or the length of the input, a 408 and
    # filtered content may be charged.
    if isinstance(error, ContentFilterError | ContextLengthError):
        return False
    if error.status_code in _REFUSED_UNREAD:
        return True
    return isinstance(error, InvalidRequestError) and error.status_code in (400, 422)
