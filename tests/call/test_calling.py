"""One call's life: its states, its end, its waiters, its cancellation and its sums."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.call.calling import Calling, RequestStatus
from callgate.errors import CallCancelledError, ServerError
from callgate.response import Cost, Delta, Response, Usage
from callgate.testing.clock import run_virtual

ERROR = ServerError("down")


def price(response: Response, payload: Any) -> Cost:
    assert response.usage is not None
    return Cost(response.usage.input_tokens * 1.0, response.usage.output_tokens * 10.0)


def test_a_call_passes_through_its_states_in_order() -> None:
    calling = Calling({}, now=1.0)
    seen = [calling.status]
    calling.mark_queued(2.0)
    seen.append(calling.status)
    calling.mark_next(3.0)
    seen.append(calling.status)
    calling.begin_attempt("here", 4.0)
    seen.append(calling.status)
    calling.complete(Response("4"), 5.0)
    seen.append(calling.status)
    assert [status.value for status in seen] == ["pending", "queued", "processing", "calling", "completed"]
    assert (calling.made_at, calling.queued_on, calling.processed_at, calling.ended_at) == (
        1.0,
        2.0,
        3.0,
        5.0,
    )


def test_only_the_first_queueing_sets_the_time() -> None:
    calling = Calling({}, now=0.0)
    calling.mark_queued(1.0)
    calling.begin_attempt("here", 2.0)
    calling.mark_queued(3.0)
    assert (calling.queued_on, calling.status) == (1.0, RequestStatus.QUEUED)


@pytest.mark.parametrize("first", ["complete", "fail"])
def test_a_second_end_is_ignored(first: str) -> None:
    calling = Calling({}, now=0.0)
    ends = [lambda: calling.complete(Response("4"), 1.0), lambda: calling.fail(ERROR, 2.0)]
    for end in ends if first == "complete" else reversed(ends):
        end()
    assert calling.status.value == ("completed" if first == "complete" else "failed")
    assert calling.ended_at == (1.0 if first == "complete" else 2.0)


def test_every_waiter_gets_the_calling_and_a_failure_raises_only_at_the_response() -> None:
    async def main() -> None:
        calling = Calling({})
        waiters = [asyncio.ensure_future(_wait(calling)) for _ in range(3)]
        await asyncio.sleep(1)
        calling.fail(ERROR, 1.0)
        assert await asyncio.gather(*waiters) == [calling] * 3
        assert await calling is calling
        with pytest.raises(ServerError):
            _ = calling.response

    run_virtual(main())


async def _wait(calling: Calling) -> Calling:
    return await calling


def test_a_cancelled_waiter_leaves_the_others_waiting() -> None:
    async def main() -> None:
        calling = Calling({})
        cancelled, other = (asyncio.ensure_future(_wait(calling)) for _ in range(2))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        calling.complete(Response("4"), 1.0)
        assert await other is calling

    run_virtual(main())


def test_the_response_of_a_call_that_has_not_ended_is_a_runtime_error() -> None:
    calling = Calling({}, now=0.0)
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = calling.response
    assert (calling.answer, calling.error, calling.done) == (None, None, False)


def test_cancelling_a_call_without_a_task_ends_it_at_once() -> None:
    calling = Calling({}, now=0.0)
    assert calling.cancel()
    assert calling.done
    assert calling.error_type == "CancelledError"
    with pytest.raises(CallCancelledError):
        _ = calling.response
    assert not calling.cancel()


def test_a_task_that_was_cancelled_before_its_first_step_ends_its_call() -> None:
    async def main() -> None:
        calling = Calling({})
        task = asyncio.ensure_future(asyncio.sleep(1))
        task.cancel()
        await asyncio.wait([task])
        calling.end_with(task)
        assert isinstance(calling.error, asyncio.CancelledError)
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        other, error = Calling({}), ERROR
        broken.set_exception(error)
        other.end_with(broken)  # type: ignore[arg-type]
        assert other.error is error

    run_virtual(main())


def test_usage_and_cost_are_the_sums_of_all_paid_attempts() -> None:
    calling = Calling({}, now=0.0)
    calling.pricer = price
    for endpoint in ("one", "two"):
        attempt = calling.begin_attempt(endpoint, 1.0)
        attempt.sent(1.0)
        attempt.succeed(Response("4", usage=Usage(1, 2)), 2.0)
    calling.begin_attempt("three", 3.0).fail(ERROR, 4.0)
    assert calling.usage == Usage(2, 4)
    assert calling.cost == Cost(2.0, 40.0)


def test_a_cached_answer_has_its_usage_and_costs_nothing() -> None:
    calling = Calling({}, now=0.0)
    calling.pricer = price
    calling.cached = True
    calling.complete(Response("4", usage=Usage(1, 2)), 1.0)
    assert (calling.usage, calling.cost) == (Usage(1, 2), Cost(0.0, 0.0))


def test_a_fork_shares_the_attempts_and_marks_its_own_as_hedges() -> None:
    calling = Calling({}, now=0.0)
    calling.begin_attempt("one", 1.0)
    fork = calling.fork()
    fork.begin_attempt("two", 2.0)
    assert [(attempt.endpoint, attempt.hedge) for attempt in calling.attempts] == [
        ("one", False),
        ("two", True),
    ]
    assert calling.attempt is calling.attempts[0]
    assert fork.task is None


def test_an_encoded_request_is_kept_for_the_same_encoder_and_payload() -> None:
    calling, encoder = Calling({"n": 1}, now=0.0), object()
    calling.note_request("https://h/x", "POST", encoder=encoder, wire="bytes")
    assert calling.encoded(encoder) == "bytes"
    assert calling.encoded(object()) is None
    calling.payload = {"n": 2}
    assert calling.encoded(encoder) is None


def test_a_delta_is_counted_and_marks_the_first_byte() -> None:
    async def main() -> None:
        heard: list[str] = []

        async def sink(delta: Delta) -> None:
            heard.append(delta.text)

        calling = Calling({})
        await calling.emit(Delta("lost"))  # not a stream
        calling.sink = sink
        attempt = calling.begin_attempt("here", 0.0)
        await asyncio.sleep(2)
        await calling.emit(Delta("a"))
        await asyncio.sleep(2)
        await calling.emit(Delta("b"))
        assert (heard, calling.delivered, attempt.first_byte_at) == (["a", "b"], 2, 2.0)

    run_virtual(main())


def test_the_repr_shows_state_attempts_error_and_a_short_answer() -> None:
    calling = Calling({"messages": "secret"}, now=0.0)
    assert repr(calling) == f"<Calling {calling.request_id} pending>"
    for endpoint in ("one", "two"):
        calling.begin_attempt(endpoint, 1.0)
    calling.complete(Response("x" * 100), 2.0)
    assert "completed attempts=2 " in repr(calling)
    assert len(repr(calling)) < 150
    assert "secret" not in repr(calling)


def test_the_repr_of_a_failed_call_shows_why() -> None:
    calling = Calling({"messages": []})
    calling.fail(ServerError("the server is on fire " + "again and " * 20), 1.0)
    assert "failed error=ServerError('the server is on fire again" in repr(calling)
    assert len(repr(calling)) < 150
