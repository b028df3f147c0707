"""Fallback stands inside the deadline and outside retry: the next answers once the first has given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.errors import CircuitBreakerOpenError, DeadlineExceededError, InvalidRequestError, ServerError
from callgate.model.model import iModel
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, breaker, make_backend, used
from tests.policies.scripted_service import After, Streamed, errors, now

DOWN = ServerError("down", status_code=500)


def chain(*models: iModel) -> iModel:
    """The first of the models, with the others behind it in their order."""
    first, *others = models
    first.fallbacks = tuple(others)
    return first


def named(name: str, *steps: Any, model: dict[str, Any] | None = None, **settings: Any) -> iModel:
    backend = make_backend(*steps, **settings)
    backend.name = name
    return iModel(backend=backend, **{"limit_concurrency": None, **(model or {})})


def test_the_next_answers_after_the_first_has_used_up_its_retries() -> None:
    async def main() -> None:
        first, second = named("first", DOWN), named("second", "from second")
        calling = await chain(first, second).invoke(prompt="x")
        assert calling.response.text == "from second"
        assert calling.completed_by == "second"
        assert len(calling.attempts) == 5
        assert now() == 7.0
        await assert_nothing_left(first)

    run_virtual(main())


def test_the_first_that_can_answers_and_the_rest_are_not_asked() -> None:
    async def main() -> None:
        second, third = named("second", "from second"), named("third", "from third")
        calling = await chain(named("first", InvalidRequestError("400")), second, third).invoke(prompt="x")
        assert calling.completed_by == "second"
        assert third.backend.at == []  # type: ignore[attr-defined]

    run_virtual(main())


def test_the_answering_model_is_recorded_without_fallbacks_too() -> None:
    async def main() -> None:
        calling = await chain(named("first", "fine"), named("second", "x")).invoke(prompt="x")
        assert calling.completed_by == "first"

    run_virtual(main())


def test_when_all_fail_the_last_error_is_raised_with_the_others_as_notes() -> None:
    async def main() -> None:
        last = InvalidRequestError("the second will not")
        calling = await chain(
            named("first", InvalidRequestError("the first will not")), named("2", last)
        ).invoke(prompt="x")
        assert calling.error is last
        assert any("the first will not" in note for note in last.__notes__)
        assert calling.completed_by is None

    run_virtual(main())


def test_an_open_breaker_falls_back_at_once() -> None:
    async def main() -> None:
        first = named("first", DOWN, retry=None, circuit_breaker=breaker(failure_threshold=1))
        model = chain(first, named("second", "from second"))
        await model.invoke(prompt="trips it")
        calling = await model.invoke(prompt="x")
        assert calling.completed_by == "second"
        assert [type(error) for error in errors(calling)] in ([], [CircuitBreakerOpenError])
        assert now() == 0.0
        assert len(first.backend.at) == 1  # type: ignore[attr-defined]

    run_virtual(main())


def test_a_quota_that_lies_beyond_the_deadline_passes_the_call_on() -> None:
    async def main() -> None:
        first = named("first", "from first", model={"limit_requests": 1})
        second = named("second", "from second", model={"limit_requests": 600})
        model = chain(first, second)
        answers = [(await model.invoke(prompt="x", poll_timeout=10.0)).completed_by for _ in range(3)]
        assert answers == ["first", "second", "second"]
        assert now() == 0.0
        assert used(second, "requests") == 2

    run_virtual(main())


def test_each_model_pays_its_own_limiter() -> None:
    async def main() -> None:
        first = named("first", InvalidRequestError("400"), model={"limit_tokens": 1000})
        second = named("second", "fine", model={"limit_tokens": 1000})
        await chain(first, second).invoke(prompt="x", num_api_tokens_needed=10)
        assert (used(first), used(second)) == (10, 10)

    run_virtual(main())


def test_all_of_them_together_have_the_one_deadline() -> None:
    async def main() -> None:
        first, second = (
            named("first", After(20, InvalidRequestError("400"))),
            named("second", After(20, "late")),
        )
        calling = await chain(first, second).invoke(prompt="x", poll_timeout=30.0)
        assert isinstance(calling.error, DeadlineExceededError)
        assert now() == 30.0
        await assert_nothing_left(first)
        assert second.limiter.in_flight == 0

    run_virtual(main())


def test_a_stream_passes_on_before_its_first_piece_and_not_after() -> None:
    async def main() -> None:
        untouched = chain(named("first", DOWN, retry=None), named("second", Streamed(("Once",), "Once")))
        assert [chunk.content async for chunk in untouched.invoke_stream(prompt="x")] == ["Once", ""]
        begun = chain(named("first", Streamed(("Once",), DOWN)), named("second", "x"))
        stream = begun.invoke_stream(prompt="x")
        assert (await anext(stream)).content == "Once"
        with pytest.raises(ServerError) as raised:
            await anext(stream)
        assert raised.value is DOWN

    run_virtual(main())


def test_cancelling_while_the_second_is_asked_leaves_nothing_in_either() -> None:
    async def main() -> None:
        first, second = named("first", InvalidRequestError("400")), named("second", After(3600, "never"))
        calling = chain(first, second).submit(prompt="x")
        await asyncio.sleep(1)
        assert second.limiter.in_flight == 1
        calling.cancel()
        await calling
        assert calling.cancelled
        assert second.limiter.in_flight == 0
        await assert_nothing_left(first)

    run_virtual(main())


def test_while_the_second_is_asked_the_first_ones_queue_has_room_again() -> None:
    async def main() -> None:
        first = named("first", "fine", model={"limit_requests": 1, "queue_capacity": 1})
        second = named("second", After(50, "slowly"))
        model = chain(first, second)
        await model.invoke(prompt="spends the quota")
        passed_on = [model.submit(prompt=str(n), poll_timeout=55.0) for n in range(2)]
        await asyncio.sleep(1)
        assert len(second.backend.at) == 2  # type: ignore[attr-defined]
        for calling in passed_on:
            await calling

    run_virtual(main())
