from __future__ import annotations

import asyncio

from callgate.errors import APITimeoutError, DeadlineExceededError
from callgate.policies.timeout.deadline import deadline_layer
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import After, Scripted, calling, now, result_of


def test_a_call_without_a_deadline_is_left_alone() -> None:
    backend = Scripted(After(1e6, "late"))

    async def main() -> None:
        outcome = await result_of(deadline_layer()(backend), calling())
        assert isinstance(outcome, Response)
        assert now() == 1e6

    run_virtual(main())


def test_an_answer_before_the_deadline_passes_and_leaves_no_timer() -> None:
    async def main() -> None:
        outcome = await result_of(deadline_layer()(Scripted(After(5, "in time"))), calling(deadline=6.0))
        assert isinstance(outcome, Response)
        await asyncio.sleep(10)

    run_virtual(main())


def test_the_deadline_ends_the_call_at_its_very_moment_and_says_where_it_stood() -> None:
    backend = Scripted(After(100, "late"))

    async def main() -> None:
        call = calling(deadline=30.0)
        outcome = await result_of(deadline_layer()(backend), call)
        assert isinstance(outcome, DeadlineExceededError)
        assert isinstance(outcome, TimeoutError)
        assert call.request_id in str(outcome)
        assert "30 s" in str(outcome)
        assert "poll_timeout" in str(outcome)
        assert now() == 30.0

    run_virtual(main())
    assert backend.cancelled == 1


def test_a_call_that_was_never_sent_has_another_error_than_a_sent_one() -> None:
    async def main() -> None:
        waiting, sent = calling(deadline=30.0), calling(deadline=30.0)
        sent.begin_attempt("model", 0.0)
        outcomes = [
            await result_of(deadline_layer()(Scripted(After(100, ""))), call) for call in (waiting, sent)
        ]
        assert [outcome.surely_unsent for outcome in outcomes] == [True, False]  # type: ignore[union-attr]

    run_virtual(main())


def test_a_timeout_of_the_service_itself_is_not_taken_for_the_deadline() -> None:
    async def main() -> None:
        slow = APITimeoutError("the provider is slow")
        assert await result_of(deadline_layer()(Scripted(slow)), calling(deadline=30.0)) is slow

    run_virtual(main())


def test_a_refusal_from_inside_in_the_moment_of_the_deadline_stays_as_it_is() -> None:
    refusal = DeadlineExceededError("the limiter says so")

    async def refusing(_: object) -> Response:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise refusal from None
        raise AssertionError

    async def main() -> None:
        assert await result_of(deadline_layer()(refusing), calling(deadline=30.0)) is refusal

    run_virtual(main())


def test_a_cancellation_stays_a_cancellation() -> None:
    backend = Scripted(After(100, ""))

    async def main() -> None:
        task = asyncio.ensure_future(deadline_layer()(backend)(calling(deadline=30.0)))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run_virtual(main())
    assert backend.cancelled == 1


def test_calls_of_one_service_each_end_at_their_own_deadline() -> None:
    async def main() -> None:
        service = deadline_layer()(Scripted(After(100, "late")))

        async def one(deadline: float) -> float:
            assert isinstance(await result_of(service, calling(deadline=deadline)), DeadlineExceededError)
            return now()

        deadlines = [7.0, 3.0, 11.0]
        assert list(await asyncio.gather(*map(one, deadlines))) == deadlines

    run_virtual(main())
