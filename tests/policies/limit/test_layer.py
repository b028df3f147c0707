from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from callgate.call.calling import Calling, RequestStatus
from callgate.errors import (
    APIConnectionError,
    APITimeoutError,
    CircuitBreakerOpenError,
    DeadlineExceededError,
    OverloadedError,
    QuotaTooSmallError,
    RateLimitError,
    ServerError,
)
from callgate.pipeline import Service
from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.layer import Account, limit_layer
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.pushback import Pushback
from callgate.policies.limit.quota import Quota, QuotaNews
from callgate.response import Delta, Response, Usage
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import After, Scripted, Streamed, calling, now, result_of


class Fixed:
    """An account that estimates 10 tokens a call, takes the usage as the actual, and passes `news` on."""

    def __init__(self, news: Sequence[QuotaNews] = ()) -> None:
        self._news = news
        self.headers: list[Mapping[str, str]] = []

    def estimate(self, calling: Calling) -> float:
        return 10.0

    def actual(self, calling: Calling, response: Response) -> float | None:
        return None if response.usage is None else float(response.usage.total_tokens)

    def news(self, headers: Mapping[str, str]) -> Sequence[QuotaNews]:
        self.headers.append(headers)
        return self._news


def limited(limiter: Limiter, backend: Service, **settings: Any) -> Service:
    settings.setdefault("pushback", Pushback(random.Random(0)))
    return limit_layer(limiter, now, **settings)(backend)


def used(limiter: Limiter) -> float:
    """Tokens charged at present."""
    tokens = limiter.snapshot().tokens
    assert tokens is not None
    return tokens.used


# --- the way through ------------------------------------------------------------------------------------


def test_a_free_limiter_admits_at_once_and_every_moment_is_noted() -> None:
    async def main() -> None:
        call = calling()
        assert (await limited(Limiter(), Scripted("hello"))(call)).text == "hello"
        assert call.queued_on == call.processed_at == call.sent_at == 0.0
        assert len(call.attempts) == 1

    run_virtual(main())


def test_a_call_is_queued_then_next_in_line_then_calling() -> None:
    async def main() -> None:
        service = limited(Limiter(concurrency=1), Scripted(After(10, "one")))
        calls = [calling() for _ in range(3)]
        tasks = [asyncio.ensure_future(service(call)) for call in calls]
        await asyncio.sleep(1)
        statuses = [call.status for call in calls]
        assert statuses == [RequestStatus.CALLING, RequestStatus.PROCESSING, RequestStatus.QUEUED]
        await asyncio.gather(*tasks)
        assert [call.queued_on for call in calls] == [0.0, 0.0, 0.0]
        assert [call.processed_at for call in calls] == [0.0, 0.0, 10.0]
        assert [call.sent_at for call in calls] == [0.0, 10.0, 20.0]

    run_virtual(main())


def test_a_moment_in_the_queue_before_the_limiter_is_kept() -> None:
    async def main() -> None:
        call = calling()
        call.mark_queued(now())
        await asyncio.sleep(5)
        await limited(Limiter(), Scripted(""))(call)
        assert (call.queued_on, call.sent_at) == (0.0, 5.0)

    run_virtual(main())


def test_the_permit_comes_back_whatever_the_call_ends_in() -> None:
    async def main() -> None:
        limiter = Limiter(concurrency=1)
        for step in ("fine", ServerError("down"), RateLimitError("slow"), KeyError("bug")):
            await result_of(limited(limiter, Scripted(step)), calling())
            assert limiter.in_flight == 0

    run_virtual(main())


def test_a_cancelled_call_gives_its_permit_back_and_keeps_its_charge() -> None:
    async def main() -> None:
        limiter = Limiter(concurrency=1, tokens=Quota(100))
        call = calling(num_api_tokens_needed=40)
        task = asyncio.ensure_future(limited(limiter, Scripted(After(100, "")))(call))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert limiter.in_flight == 0
        assert used(limiter) == 40

    run_virtual(main())


def test_a_call_cancelled_in_the_queue_leaves_it_and_is_not_charged() -> None:
    async def main() -> None:
        limiter = Limiter(concurrency=1, tokens=Quota(1000))
        service = limited(limiter, Scripted(After(10, "")))
        first = asyncio.ensure_future(service(calling(num_api_tokens_needed=1)))
        waiting = asyncio.ensure_future(service(calling(num_api_tokens_needed=5)))
        await asyncio.sleep(1)
        waiting.cancel()
        await first
        assert (limiter.waiting, limiter.in_flight, used(limiter)) == (0, 0, 1)

    run_virtual(main())


def test_a_retry_stands_before_fresh_calls() -> None:
    backend = Scripted(After(10, ""))

    async def main() -> None:
        service = limited(Limiter(concurrency=1), backend)
        running, fresh, retry = calling(), calling(), calling()
        retry.begin_attempt("model", 0.0).fail(ServerError("down"), 0.0)
        await asyncio.gather(service(running), service(fresh), service(retry))
        assert backend.callings == [running, retry, fresh]

    run_virtual(main())


# --- refusals -------------------------------------------------------------------------------------------


def test_a_cost_that_never_fits_is_refused_before_anything_is_sent() -> None:
    backend = Scripted("")

    async def main() -> None:
        limiter = Limiter(tokens=Quota(100))
        outcome = await result_of(limited(limiter, backend), calling(num_api_tokens_needed=101))
        assert isinstance(outcome, QuotaTooSmallError)

    run_virtual(main())
    assert backend.at == []


def test_what_cannot_be_admitted_before_its_deadline_is_refused_at_once() -> None:
    async def main() -> None:
        service = limited(Limiter(requests=Quota(1, 60.0)), Scripted(""))
        await service(calling())
        outcome = await result_of(service, calling(deadline=30.0))
        assert isinstance(outcome, DeadlineExceededError)
        assert now() == 0.0

    run_virtual(main())


def test_each_call_that_leaves_the_queue_is_reported_once() -> None:
    told: list[Calling] = []

    async def main() -> None:
        limiter = Limiter(concurrency=1, tokens=Quota(100))
        service = limited(limiter, Scripted(After(10, "")), dispatched=told.append)
        admitted, hopeless, waiting = (
            calling(),
            calling(num_api_tokens_needed=101),
            calling(),
        )
        first = asyncio.ensure_future(service(admitted))
        await result_of(service, hopeless)
        second = asyncio.ensure_future(service(waiting))
        await asyncio.sleep(1)
        assert told == [admitted, hopeless]
        second.cancel()
        await asyncio.wait([first, second])
        assert told == [admitted, hopeless]  # who is cancelled is over altogether

    run_virtual(main())


# --- the account ----------------------------------------------------------------------------------------


def test_the_estimate_is_reserved_and_the_actual_settled() -> None:
    async def main() -> None:
        limiter = Limiter(tokens=Quota(1000))
        service = limited(limiter, Scripted(After(5, Response(text="", usage=Usage(3, 4)))), account=Fixed())
        task = asyncio.ensure_future(service(calling()))
        await asyncio.sleep(1)
        assert used(limiter) == 10
        await task
        assert used(limiter) == 7

    run_virtual(main())


def test_an_answer_without_usage_keeps_the_estimate() -> None:
    async def main() -> None:
        limiter = Limiter(tokens=Quota(1000))
        await limited(limiter, Scripted("no usage"), account=Fixed())(calling())
        assert used(limiter) == 10

    run_virtual(main())


def test_what_the_caller_says_is_taken_instead_of_the_estimate() -> None:
    async def main() -> None:
        limiter = Limiter(tokens=Quota(1000))
        await limited(limiter, Scripted("no usage"), account=Fixed())(calling(num_api_tokens_needed=25))
        assert used(limiter) == 25

    run_virtual(main())


@pytest.mark.parametrize("account", [None, Fixed()])
def test_what_was_surely_not_sent_is_refunded_in_full(account: Account | None) -> None:
    async def main() -> None:
        limiter = Limiter(requests=Quota(5), tokens=Quota(1000))
        unsent = [CircuitBreakerOpenError("open"), APIConnectionError("refused", surely_unsent=True)]
        for error in unsent:
            await result_of(
                limited(limiter, Scripted(error), account=account), calling(num_api_tokens_needed=20)
            )
        requests = limiter.snapshot().requests
        assert requests is not None
        assert (requests.used, used(limiter)) == (0, 0)

    run_virtual(main())


@pytest.mark.parametrize(
    "error", [APITimeoutError("slow"), RateLimitError("429"), ServerError("500"), APIConnectionError("cut")]
)
def test_what_may_have_been_counted_by_the_provider_keeps_its_charge(error: Exception) -> None:
    async def main() -> None:
        limiter = Limiter(tokens=Quota(1000))
        await result_of(limited(limiter, Scripted(error), account=Fixed()), calling())
        assert used(limiter) == 10

    run_virtual(main())


def test_the_limiter_learns_from_the_headers_of_answers_and_of_errors() -> None:
    news = [QuotaNews("requests", limit=1.0, remaining=0.0, reset_after=60.0, period=60.0)]

    async def main() -> None:
        for step in (Response(text="", headers={"a": "1"}), ServerError("", headers={"a": "1"})):
            account = Fixed(news)
            limiter = Limiter()
            await result_of(limited(limiter, Scripted(step), account=account), calling())
            assert account.headers == [{"a": "1"}]
            learned = limiter.snapshot().requests
            assert learned is not None
            assert learned.learned
            assert learned.quota.rate == 1.0

    run_virtual(main())


def test_an_error_without_headers_is_no_news() -> None:
    async def main() -> None:
        account = Fixed()
        await result_of(limited(Limiter(), Scripted(KeyError("bug")), account=account), calling())
        assert account.headers == []

    run_virtual(main())


# --- push-back ------------------------------------------------------------------------------------------


def test_after_a_429_one_call_goes_on_and_the_others_when_it_is_answered() -> None:
    backend = Scripted(After(0.2, RateLimitError("429", retry_after=20.0)), After(0.2, "fine"))

    async def main() -> None:
        service = limited(Limiter(), backend)
        await result_of(service, calling())
        await asyncio.gather(*(service(calling()) for _ in range(4)))

    run_virtual(main())
    assert backend.at == pytest.approx([0.0, 0.2, 0.4, 0.4, 0.4])


def test_a_429_that_the_next_call_confirms_pauses_the_queue_for_as_long_as_it_asks() -> None:
    refused = After(0.2, RateLimitError("429", retry_after=20.0))
    backend = Scripted(refused, refused, After(0.2, "fine"))

    async def main() -> None:
        service = limited(Limiter(), backend)
        await result_of(service, calling())
        await result_of(service, calling())
        await asyncio.gather(*(service(calling()) for _ in range(3)))

    run_virtual(main())
    assert backend.at[:2] == [0.0, 0.2]
    probe, *others = backend.at[2:]
    assert 20.4 <= probe <= 21.4
    assert others == pytest.approx([probe + 0.2] * 2)


@pytest.mark.parametrize(("remaining", "real"), [(0.0, True), (9.0, True), (10.0, False)])
def test_a_429_with_less_left_than_the_call_costs_needs_no_probe(remaining: float, real: bool) -> None:
    news = [QuotaNews("tokens", limit=1000.0, remaining=remaining)]
    backend = Scripted(RateLimitError("429", retry_after=20.0), "fine")

    async def main() -> None:
        limiter = Limiter()
        await result_of(limited(limiter, backend, account=Fixed(news)), calling())
        assert (limiter.snapshot().paused_for >= 20.0) is real

    run_virtual(main())


def test_where_429s_are_real_at_once_each_pauses_the_queue() -> None:
    async def main() -> None:
        limiter = Limiter()
        pushback = Pushback(random.Random(0), at_once=True)
        service = limited(limiter, Scripted(RateLimitError("429", retry_after=20.0)), pushback=pushback)
        await result_of(service, calling())
        assert limiter.snapshot().paused_for >= 20.0

    run_virtual(main())


@pytest.mark.parametrize(
    ("step", "opens"),
    [
        ("fine", True),
        (ServerError("down", status_code=500), True),
        (APITimeoutError("slow"), False),
        (APIConnectionError("refused", surely_unsent=True), False),
        (KeyError("bug"), False),
    ],
)
def test_what_the_provider_answers_to_a_probe_opens_the_gate_and_nothing_else_does(
    step: Any, opens: bool
) -> None:
    backend = Scripted(RateLimitError("429"), step, After(9, "fine"))

    async def main() -> None:
        limiter = Limiter()
        service = limited(limiter, backend)
        await result_of(service, calling())
        await result_of(service, calling())
        assert limiter.hold.held is not opens
        assert limiter.hold.room(now()) == 0.0  # another probe may go

    run_virtual(main())


def test_a_probe_that_is_cancelled_lets_another_one_go() -> None:
    backend = Scripted(RateLimitError("429"), After(0.1, "never"), "fine")

    async def main() -> None:
        limiter = Limiter()
        service = limited(limiter, backend)
        await result_of(service, calling())
        probe, waiting = (asyncio.ensure_future(service(calling())) for _ in range(2))
        await asyncio.sleep(0.05)
        probe.cancel()
        await waiting

    run_virtual(main())
    assert backend.at == [0.0, 0.0, 0.05]


@pytest.mark.parametrize(
    ("error", "cut"),
    [
        (RateLimitError("429"), False),  # of one call
        (OverloadedError("529"), True),
        (APITimeoutError("slow"), True),
        (ServerError("500"), False),
        (KeyError("bug"), False),
    ],
)
def test_overload_lowers_the_adaptive_concurrency_and_nothing_else_does(error: Exception, cut: bool) -> None:
    async def main() -> None:
        adaptive = AdaptiveConcurrency(start=20)
        limiter = Limiter(adaptive=adaptive)
        await result_of(limited(limiter, Scripted(error)), calling())
        assert (adaptive.limit < 20) is cut

    run_virtual(main())


def test_429s_that_are_real_lower_the_adaptive_concurrency() -> None:
    async def main() -> None:
        adaptive = AdaptiveConcurrency(start=20)
        service = limited(Limiter(adaptive=adaptive), Scripted(RateLimitError("429")))
        for _ in range(2):
            await result_of(service, calling())
        assert adaptive.limit < 20

    run_virtual(main())


def test_a_success_is_reported_to_the_adaptive_concurrency() -> None:
    async def main() -> None:
        adaptive = AdaptiveConcurrency(start=4)
        limiter = Limiter(adaptive=adaptive)
        service = limited(limiter, Scripted(After(1, "")))
        await asyncio.gather(*(service(calling()) for _ in range(100)))
        assert adaptive.limit > 4

    run_virtual(main())


def test_a_call_that_came_through_ends_the_row_of_pauses() -> None:
    """Else the pauses would grow with every 429 of a whole day."""

    async def main() -> None:
        limiter = Limiter()
        refused = RateLimitError("slow", status_code=429)
        service = limited(limiter, Scripted(*[refused] * 4, "fine", refused))
        pauses: list[float] = []
        for _ in range(7):
            await result_of(service, calling())
            pauses.append(limiter.snapshot().paused_for)
        assert pauses[0] == 0.0
        assert 0.5 <= pauses[1] <= 1.0
        assert 2.0 <= pauses[3] <= 4.0  # the third in a row
        assert pauses[4] == pauses[5] == 0.0
        assert 0.5 <= pauses[6] <= 1.0

    run_virtual(main())


def test_the_moment_of_queueing_is_that_of_the_first_time() -> None:
    async def main() -> None:
        service = limited(Limiter(concurrency=1), Scripted(After(10, "")))
        call = calling()
        call.mark_queued(now())
        await asyncio.sleep(2)
        await asyncio.gather(service(calling()), service(call))
        assert (call.queued_on, call.processed_at, call.sent_at) == (0.0, 2.0, 12.0)

    run_virtual(main())


@pytest.mark.parametrize(("streamed", "first_byte"), [(True, 2.0), (False, None)])
def test_the_first_byte_of_a_stream_is_reported_to_the_adaptive_concurrency(
    streamed: bool, first_byte: float | None
) -> None:
    class Noting(AdaptiveConcurrency):
        told: list[float | None]

        def on_success(
            self, now: float, latency: float, in_flight: int, first_byte: float | None = None
        ) -> None:
            self.told.append(first_byte)

    async def read(delta: Delta) -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        adaptive = Noting()
        adaptive.told = []
        service = limited(
            Limiter(adaptive=adaptive), Scripted(After(2, Streamed(("a", "b"), After(3, "ab"))))
        )
        call = calling()
        if streamed:
            call.sink = read
        await asyncio.sleep(100)
        await service(call)
        assert adaptive.told == [first_byte]
        assert call.time_to_first_chunk == first_byte

    run_virtual(main())
