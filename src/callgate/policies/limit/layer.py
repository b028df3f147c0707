"""The limit layer: reserves the estimated cost of an attempt, settles the actual one, learns reported quotas.

A 429 pauses other calls only when later calls confirm it. An attempt that was never sent is refunded; one
that ended without a response (a timeout, a broken connection) stays charged, because the provider may have
counted it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from callgate.call.attempt import Attempt
from callgate.call.calling import Calling
from callgate.errors import APIClientError, APITimeoutError, OverloadedError, RateLimitError
from callgate.pipeline import Layer, Service
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.pushback import Pushback
from callgate.policies.limit.quota import QuotaNews
from callgate.response import Response

__all__ = ["Account", "Admission", "limit_layer"]


class Account(Protocol):
    """The cost of calls in tokens, and the quotas that responses report, by the rules of a host."""

    def estimate(self, calling: Calling) -> float:
        """Tokens to reserve before the call is sent."""
        ...

    def actual(self, calling: Calling, response: Response) -> float | None:
        """Tokens that the provider counted; None if the response does not report them."""
        ...

    def news(self, headers: Mapping[str, str]) -> Sequence[QuotaNews]:
        """The quotas that the headers of a response report."""
        ...


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
        account: Estimates and reads the tokens of calls; None: the tokens of `Calling.num_api_tokens_needed`.
        pushback: The length of pauses after 429s; one for each limiter and provider.
        dispatched: Called with each calling that leaves the queue, admitted or refused, but not cancelled.
        endpoint: The endpoint's name, kept on each attempt.

    Raises (in the service):
        DeadlineRefusalError: the call cannot be admitted before its deadline.
        QuotaTooSmallError: the call costs more than the whole quota.
    """

    return lambda call: (
        Admission(
            call, limiter, clock, account=account, pushback=pushback, dispatched=dispatched, endpoint=endpoint
        ).admit
    )


class Admission:
    """The limit layer around one service. A pool of endpoints queues calls itself, and uses only `send`."""

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
        # If there is room, one coroutine fewer. Both are awaited at once, so that no lease is lost.
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
        """Make one attempt, settle the lease with its cost, and release it.

        The caller has called `lease.sent`, unless the lease was granted at this moment.
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
            lease.sent()  # the task resumes some time after the grant
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
        if self._limiter.succeeded(lease, None if began is None else began - lease.granted_at):
            self._pushback.reset()

    def _push_back(self, lease: Lease, error: Exception) -> None:
        if getattr(error, "surely_unsent", False):
            lease.refund()
            return
        news: Sequence[QuotaNews] = ()
        if self._account is not None and isinstance(error, APIClientError):
            news = self._account.news(error.headers)
        limiter, pushback = self._limiter, self._pushback
        if isinstance(error, RateLimitError):
            certain = pushback.at_once or any(_is_used_up(each, lease) for each in news)
            if limiter.refused(lease, certain):
                limiter.pause_until(pushback.pause(self._clock(), error.retry_after))
        elif isinstance(error, OverloadedError | APITimeoutError):
            limiter.pushed_back(lease)
        elif getattr(error, "status_code", None) is not None and limiter.hold.answered(lease.order):
            pushback.reset()
        for each in news:
            limiter.learn(each, lease)


def _is_used_up(news: QuotaNews, lease: Lease) -> bool:
    """True if the provider reports that less of the quota remains than the call costs."""
    cost = 1.0 if news.resource == "requests" else max(1.0, lease.tokens)
    return news.remaining is not None and news.remaining < cost
