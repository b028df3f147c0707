"""Admission: reserve the estimate, settle the actual, learn from what the provider says.

A 429 pauses the whole line, not one call; a refusal of ours gives everything back; an ambiguous end (a
timeout, a broken connection) keeps its charge, because the provider may have counted it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from callgate.call.attempt import Attempt
from callgate.call.calling import Calling
from callgate.errors import APIClientError, APITimeoutError, OverloadedError, RateLimitError
from callgate.pipeline import Layer, Service
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import QuotaNews
from callgate.response import Response

__all__ = ["Account", "Admission", "Pushback", "limit_layer"]


class Account(Protocol):
    """What a call costs in tokens, and what its answer says of the quota; a policy of the host."""

    def estimate(self, calling: Calling) -> float:
        """Tokens to reserve before the call is sent."""
        ...

    def actual(self, calling: Calling, response: Response) -> float | None:
        """Tokens the provider counted, or None when the answer does not tell."""
        ...

    def news(self, headers: Mapping[str, str]) -> Sequence[QuotaNews]:
        """What the headers of an answer say of the quota."""
        ...


class Pushback:
    """How long the line pauses after a 429.

    As long as the provider says, if anybody would wait that long; otherwise longer with every 429 in a row.

    Args:
        rng: Where jitter comes from.
        base, ceiling: Seconds; the first pause of its own, and the longest.
        longest: Seconds; who names more is not obeyed, because no call waits for it: each that comes next
            has to find out soon, and end.
    """

    __slots__ = ("_base", "_ceiling", "_in_a_row", "_longest", "_rng", "_until")

    def __init__(
        self, rng: random.Random, *, base: float = 1.0, ceiling: float = 60.0, longest: float = 120.0
    ) -> None:
        self._rng = rng
        self._base = base
        self._ceiling = ceiling
        self._longest = longest
        self._in_a_row = 0
        self._until = 0.0

    def pause(self, now: float, retry_after: float | None) -> float:
        """When to go on, by the loop's clock.

        Those in flight when the first 429 came bring more of the same news: they lengthen nothing.
        """
        if now >= self._until:
            self._in_a_row += 1
            backoff = min(self._ceiling, self._base * 2.0 ** (self._in_a_row - 1))
            self._until = now + backoff * (0.5 + self._rng.random() / 2)
        if retry_after is not None and retry_after <= self._longest:
            # The provider's word is a floor; what comes on top keeps many clients from coming back as one.
            return now + retry_after * (1.0 + 0.05 * self._rng.random())
        return self._until

    def relent(self) -> None:
        """A call came through."""
        self._in_a_row = 0


def limit_layer(
    limiter: Limiter,
    clock: Callable[[], float],
    *,
    account: Account | None = None,
    pushback: Pushback,
    dispatched: Callable[[Calling], None] | None = None,
    endpoint: str = "",
) -> Layer:
    """Admit each attempt through the limiter.

    Args:
        limiter: The quotas, and the queue in front of them.
        clock: The loop's clock, in seconds.
        account: What a call costs in tokens; None: only what the calling itself asks for.
        pushback: How long the limiter pauses after a 429; one for each limiter and provider.
        dispatched: Called with each calling that leaves the queue, admitted or refused; not with one that is
            cancelled there.
        endpoint: The endpoint's name, kept on each attempt.

    Raises (in the service):
        DeadlineRefusalError: the call cannot be admitted before its deadline.
        QuotaTooSmallError: it costs more than the whole quota.
    """

    return lambda call: (
        Admission(
            call, limiter, clock, account=account, pushback=pushback, dispatched=dispatched, endpoint=endpoint
        ).admit
    )


class Admission:
    """The limit layer around one service; a pool of endpoints uses its two halves apart."""

    __slots__ = ("_account", "_call", "_clock", "_dispatched", "_endpoint", "_limiter", "_pushback")

    def __init__(
        self,
        call: Service,
        limiter: Limiter,
        clock: Callable[[], float],
        *,
        account: Account | None,
        pushback: Pushback,
        dispatched: Callable[[Calling], None] | None,
        endpoint: str,
    ) -> None:
        self._call = call
        self._limiter = limiter
        self._clock = clock
        self._account = account
        self._pushback = pushback
        self._dispatched = dispatched
        self._endpoint = endpoint

    def admit(self, calling: Calling) -> Awaitable[Response]:
        """Wait for a lease, and send the call with it."""
        tokens = self.tokens(calling)
        lease = self._limiter.try_acquire(tokens)
        # With room at once, one coroutine less; both are awaited right away, so that no lease is lost.
        return self._queue_and_send(calling, tokens) if lease is None else self.send(calling, lease)

    async def _queue_and_send(self, calling: Calling, tokens: float) -> Response:
        return await self.send(calling, await self._wait_in_queue(calling, tokens))

    def tokens(self, calling: Calling) -> float:
        """Tokens to reserve for the call."""
        tokens = calling.num_api_tokens_needed
        if not tokens and self._account is not None:
            return self._account.estimate(calling)
        return tokens

    async def send(self, calling: Calling, lease: Lease) -> Response:
        """Make one attempt, settle the lease with what it cost, and release it.

        `lease.sent` has been called, unless the lease was granted at this moment.
        """
        try:
            attempt = calling.begin_attempt(self._endpoint, lease.sent_at, lease)
            if self._dispatched is not None:
                self._dispatched(calling)
            try:
                response = await self._call(calling)
            except BaseException as error:
                attempt.fail(error, self._clock())
                if isinstance(error, Exception):
                    self._push_back(lease, error)
                raise
            attempt.succeed(response, self._clock())
            self._settle(lease, calling, attempt, response)
            return response
        finally:
            lease.release()

    async def _wait_in_queue(self, calling: Calling, tokens: float) -> Lease:
        calling.mark_queued(self._clock())
        try:
            lease = await self._limiter.acquire(
                tokens, front=bool(calling.attempts), deadline=calling.deadline, on_head=calling.mark_next
            )
            lease.sent()  # it was granted before this task could go on
            return lease
        except Exception:
            if self._dispatched is not None:
                self._dispatched(calling)
            raise

    def _settle(self, lease: Lease, calling: Calling, attempt: Attempt, response: Response) -> None:
        account = self._account
        if account is not None:
            actual = account.actual(calling, response)
            if actual is not None:
                lease.settle(actual)
            for news in account.news(response.headers):
                self._limiter.learn(news, lease)
        began = attempt.first_byte_at
        self._limiter.succeeded(lease, None if began is None else began - lease.granted_at)
        self._pushback.relent()

    def _push_back(self, lease: Lease, error: Exception) -> None:
        if getattr(error, "surely_unsent", False):
            lease.refund()
            return
        if isinstance(error, RateLimitError):
            self._limiter.pushed_back(lease)
            self._limiter.pause_until(self._pushback.pause(self._clock(), error.retry_after))
        elif isinstance(error, OverloadedError | APITimeoutError):
            self._limiter.pushed_back(lease)
        if self._account is not None and isinstance(error, APIClientError):
            for news in self._account.news(error.headers):
                self._limiter.learn(news, lease)
