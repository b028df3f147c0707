"""What a call shows of itself: moments as datetimes, its life as a log, nothing before somebody looks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from callgate.call.calling import Calling
from callgate.errors import CallCancelledError, ServerError
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import make_model
from tests.policies.scripted_service import After, now


def test_moments_of_a_loop_are_shown_as_the_time_of_the_day() -> None:
    async def main() -> Calling:
        return Calling({})

    before = datetime.now(UTC) - timedelta(seconds=5)
    shown = asyncio.run(main()).created_at
    assert before < shown < datetime.now(UTC) + timedelta(seconds=5)
    assert shown.tzinfo is UTC


def test_what_lies_seconds_apart_is_shown_as_far_apart() -> None:
    model, _ = make_model(After(90, "fine"), model={"limit_concurrency": 1})

    async def main() -> None:
        model.submit(prompt="x")
        await asyncio.sleep(0)
        calling = await model.invoke(prompt="y")
        assert calling.queued_at == calling.created_at
        assert calling.call_started_at == calling.created_at + timedelta(seconds=90)
        assert calling.completed_at == calling.updated_at == calling.created_at + timedelta(seconds=180)
        assert calling.duration == 180.0

    run_virtual(main())


def test_a_call_that_has_only_been_made_has_no_other_moments() -> None:
    calling = Calling({}, now=0.0)
    assert calling.updated_at == calling.created_at
    assert calling.queued_at is calling.processing_started_at is calling.call_started_at is None
    assert calling.completed_at is None
    assert calling.duration is None
    assert calling.time_to_first_chunk is None
    assert [line.split(" ", 1)[1] for line in calling.logs] == ["created"]


def test_the_log_has_the_steps_of_a_call_in_order() -> None:
    model, _ = make_model(ServerError("down", status_code=500), After(2, "fine"))

    async def main() -> list[str]:
        calling = await model.invoke(prompt="x")
        assert now() == 3.0
        return [line.split(" ", 1)[1] for line in calling.logs]

    assert run_virtual(main()) == [
        "created",
        "queued",
        "next in the queue, waiting for quota",
        "calling (attempt 1 at scripted)",
        "attempt 1 failed: 500: down",
        "calling (attempt 2 at scripted)",
        "completed",
    ]


def test_of_a_failed_call_what_the_answer_said_is_shown_all_the_same() -> None:
    error = ServerError("down", status_code=503, response_content={"a": 1}, headers={"retry-after": "3"})
    calling = Calling({}, now=0.0)
    calling.fail(error, 1.0)
    assert (calling.response_status_code, calling.response_body) == (503, {"a": 1})
    assert calling.response_headers["Retry-After"] == "3"
    assert (calling.error_type, calling.error_message) == ("ServerError", "503: down")
    assert "ServerError" in (calling.error_details or "")
    assert not calling.cancelled


def test_a_cancelled_call_is_reported_as_cancelled() -> None:
    for error in (asyncio.CancelledError(), CallCancelledError("a stop")):
        calling = Calling({}, now=0.0)
        calling.fail(error, 1.0)
        assert calling.cancelled
        assert calling.error_message in ("cancelled", "a stop")
    answered = Calling({}, now=0.0)
    answered.complete(Response(text="x", raw={"b": 2}, headers={"x-id": "7"}), 1.0)
    assert (answered.response_status_code, answered.response_body) == (200, {"b": 2})
    assert answered.response_headers["X-Id"] == "7"
    assert answered.error_details is answered.error_message is answered.error_type is None
