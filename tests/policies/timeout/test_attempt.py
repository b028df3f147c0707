from __future__ import annotations

import asyncio

import pytest

from callgate.errors import APITimeoutError
from callgate.policies.timeout.attempt import timeout_layer
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import After, Scripted, calling, now, result_of


def test_without_a_limit_an_attempt_may_take_for_ever() -> None:
    async def main() -> None:
        outcome = await result_of(timeout_layer(None)(Scripted(After(1e6, "at last"))), calling())
        assert isinstance(outcome, Response)

    run_virtual(main())


def test_an_attempt_that_takes_too_long_ends_at_the_limit_and_is_worth_retrying() -> None:
    backend = Scripted(After(100, "late"))

    async def main() -> None:
        call = calling()
        outcome = await result_of(timeout_layer(30.0)(backend), call)
        assert isinstance(outcome, APITimeoutError)
        assert outcome.retryable
        assert not outcome.surely_unsent  # the provider may be at work on it
        assert call.request_id in str(outcome)
        assert "30 s" in str(outcome)
        assert now() == 30.0

    run_virtual(main())
    assert backend.cancelled == 1


@pytest.mark.parametrize("own", [5.0, 50.0])
def test_the_callings_own_timeout_wins(own: float) -> None:
    async def main() -> None:
        assert isinstance(
            await result_of(timeout_layer(30.0)(Scripted(After(100, ""))), calling(timeout=own)),
            APITimeoutError,
        )
        assert now() == own

    run_virtual(main())


def test_an_answer_in_time_passes_and_the_next_attempt_has_the_whole_time_again() -> None:
    backend = Scripted(After(20, "one"), After(20, "two"))

    async def main() -> None:
        service = timeout_layer(30.0)(backend)
        call = calling()
        assert (await service(call)).text == "one"
        assert (await service(call)).text == "two"
        await asyncio.sleep(100)

    run_virtual(main())


def test_a_timeout_error_of_the_backend_itself_is_passed_on() -> None:
    own = TimeoutError("the backend's own")

    async def main() -> None:
        assert await result_of(timeout_layer(30.0)(Scripted(own)), calling()) is own

    run_virtual(main())


def test_a_cancellation_stays_a_cancellation_also_in_the_moment_of_the_timeout() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(timeout_layer(30.0)(Scripted(After(100, "")))(calling()))
        asyncio.get_running_loop().call_at(30.0, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()

    run_virtual(main())


def test_many_attempts_at_once_each_have_their_own_time() -> None:
    async def main() -> None:
        service = timeout_layer(None)(Scripted(After(100, "")))
        limits = [7.0, 3.0, 11.0, 5.0]

        async def one(limit: float) -> float:
            assert isinstance(await result_of(service, calling(timeout=limit)), APITimeoutError)
            return now()

        assert list(await asyncio.gather(*map(one, limits))) == limits

    run_virtual(main())
