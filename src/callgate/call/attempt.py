"""`Attempt`: one dispatch of a call to one endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from callgate.errors import APIClientError, SDKError
from callgate.response import Cost, Response, Usage

__all__ = ["Attempt", "Permit", "Pricer"]

Pricer = Callable[[Response, Any], Cost | None]
"""Returns the cost of a response to a payload in US dollars; None if the price is not known."""


class Permit(Protocol):
    """The limiter's permit for an attempt: its quota counts from when the request is sent."""

    def hold(self) -> None:
        """The request cannot be sent yet."""
        ...

    def sent(self) -> None:
        """The request is sent now."""
        ...


class Attempt:
    """One dispatch of a call to one endpoint, from admission to its end.

    `Calling.begin_attempt` creates it when the limiter has admitted the call. Times are seconds of the loop's
    clock. Read the fields; only `Calling` and the methods below write them.

    Attributes:
        endpoint: Name of the model or endpoint it went to.
        started_at: When it was admitted.
        sent_at: When the request went out; None while a connection is opened, and if it certainly never went
            out (an open breaker, no connection).
        first_byte_at: When the first piece of a stream arrived; None otherwise.
        ended_at: When it ended; None while it is in flight.
        hedge: True for a second attempt beside a slow one.
        response: The response, also one that the call did not return (a hedge that lost, a schema mismatch).
        error: What it failed with; None while in flight or after a response.

    >>> calling_attempt = Attempt("openai", 1.0)
    >>> calling_attempt.succeed(Response(text="4", usage=Usage(10, 1)), 2.5)
    >>> calling_attempt.usage.total_tokens, calling_attempt.cost, calling_attempt.in_flight
    (11, None, False)
    """

    __slots__ = (
        "_payload",
        "_permit",
        "_pricer",
        "ended_at",
        "endpoint",
        "error",
        "first_byte_at",
        "hedge",
        "response",
        "sent_at",
        "started_at",
    )

    def __init__(
        self,
        endpoint: str,
        now: float,
        *,
        hedge: bool = False,
        pricer: Pricer | None = None,
        payload: Any = None,
        permit: Permit | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.started_at = now
        self.sent_at: float | None = now
        self.first_byte_at: float | None = None
        self.ended_at: float | None = None
        self.hedge = hedge
        self.response: Response | None = None
        self.error: BaseException | None = None
        self._pricer = pricer
        self._payload = payload
        self._permit = permit

    def hold(self) -> None:
        """Record that the request cannot go out yet, as while a connection is opened."""
        self.sent_at = None
        if self._permit is not None:
            self._permit.hold()

    def sent(self, now: float) -> None:
        """Record that the request goes out now, after `hold`."""
        self.sent_at = now
        if self._permit is not None:
            self._permit.sent()

    def succeed(self, response: Response, now: float) -> None:
        """Record the response."""
        self.response = response
        self.ended_at = now

    def fail(self, error: BaseException, now: float) -> None:
        """Record the error; one that proves that nothing was sent clears `sent_at`."""
        self.error = error
        self.ended_at = now
        if isinstance(error, APIClientError | SDKError) and error.surely_unsent:
            self.sent_at = None

    @property
    def in_flight(self) -> bool:
        """True until it has a response or an error."""
        return self.ended_at is None

    @property
    def cancelled(self) -> bool:
        """True if it was cancelled, for example because the other attempt of a hedge won."""
        return isinstance(self.error, asyncio.CancelledError)

    @property
    def usage(self) -> Usage | None:
        """Tokens of its response; None without one, or if the provider reported none."""
        return None if self.response is None else self.response.usage

    @property
    def cost(self) -> Cost | None:
        """Cost of its response in US dollars; None if usage or price is not known."""
        if self._pricer is None or self.response is None or self.response.usage is None:
            return None
        return self._pricer(self.response, self._payload)

    def __repr__(self) -> str:
        if self.ended_at is None:
            state = "in flight"
        elif self.error is not None:
            state = type(self.error).__name__
        else:
            state = f"ok after {self.ended_at - self.started_at:.3g} s"
        return f"<Attempt {self.endpoint}{' (hedge)' if self.hedge else ''}: {state}>"
