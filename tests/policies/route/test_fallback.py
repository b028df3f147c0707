from __future__ import annotations

import asyncio

import pytest

from callgate.call.calling import Calling
from callgate.errors import APIClientError, CircuitBreakerOpenError, ServerError
from callgate.policies.route.fallback import Alternative, fallback_layer
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import Scripted, Streamed, calling, result_of


def turned(name: str, turns: list[str]) -> Alternative:
    return Alternative(name, lambda _: turns.append(name), Scripted(f"from {name}"))


def test_the_first_answers_when_it_can_and_is_named() -> None:
    turns: list[str] = []

    async def main() -> None:
        call = calling()
        service = fallback_layer("first", [turned("second", turns)])(Scripted("from first"))
        assert (await service(call)).text == "from first"

    run_virtual(main())
    assert turns == []


@pytest.mark.parametrize("error", [ServerError("down"), CircuitBreakerOpenError("open")])
def test_the_next_answers_when_the_first_was_refused_or_failed(error: APIClientError) -> None:
    turns: list[str] = []

    async def main() -> None:
        call = calling()
        service = fallback_layer("first", [turned("second", turns), turned("third", turns)])(Scripted(error))
        assert (await service(call)).text == "from second"

    run_virtual(main())
    assert turns == ["second"]


def test_they_are_tried_in_their_order_each_turned_to_first() -> None:
    order: list[str] = []

    def failing(name: str) -> Alternative:
        async def service(_: Calling) -> Response:
            order.append(f"{name} called")
            raise ServerError(f"{name} is down")

        return Alternative(name, lambda _: order.append(f"{name} turned"), service)

    async def main() -> None:
        service = fallback_layer("first", [failing("second"), failing("third")])(Scripted(ServerError("0")))
        await result_of(service, calling())

    run_virtual(main())
    assert order == ["second turned", "second called", "third turned", "third called"]


def test_when_nobody_can_the_last_error_is_raised_and_the_others_are_notes_on_it() -> None:
    last = ServerError("second is down")

    async def main() -> None:
        call = calling()
        alternatives = [Alternative("second", lambda _: None, Scripted(last))]
        service = fallback_layer("first", alternatives)(Scripted(ServerError("first is down")))
        assert await result_of(service, call) is last
        assert any("first is down" in note for note in last.__notes__)
        assert call.completed_by is None

    run_virtual(main())


def test_a_call_of_which_a_piece_was_delivered_is_not_begun_anew() -> None:
    turns: list[str] = []
    broken = ServerError("broke off")

    async def sink(_: object) -> None:
        pass

    async def main() -> None:
        call = calling()
        call.sink = sink
        service = fallback_layer("first", [turned("second", turns)])(Scripted(Streamed(("Once",), broken)))
        assert await result_of(service, call) is broken

    run_virtual(main())
    assert turns == []


@pytest.mark.parametrize("error", [ValueError("a bug"), asyncio.CancelledError()])
def test_a_bug_or_a_cancellation_is_nobody_elses_turn(error: BaseException) -> None:
    turns: list[str] = []

    async def main() -> None:
        outcome = await result_of(
            fallback_layer("first", [turned("second", turns)])(Scripted(error)), calling()
        )
        assert type(outcome) is type(error)

    run_virtual(main())
    assert turns == []
