"""The executor's calls as the documents define them, without reference to the code.

Time is virtual: an hour of waiting takes no time, and every moment is exact.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from datetime import UTC, timedelta
from typing import Any

import pytest

from callgate import Calling, Executor, NetworkRequestEvent, RequestStatus
from callgate.testing.clock import run_virtual
from tests.documents.tasks import ENDED, answering, raising, settle

# --- the constructor and its life ------------------------------------------------------------------------


def test_the_constructor_has_the_names_and_defaults_of_the_documents() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(Executor).parameters.items()}
    promised = {
        "queue_capacity": 1000,
        "concurrency_limit": 10,
        "requests_rate": 10.0,
        "requests_period": 1.0,
        "requests_bucket_capacity": None,
        "api_tokens_rate": None,
        "api_tokens_period": 60.0,
        "api_tokens_bucket_capacity": None,
        "num_workers": 5,
    }
    assert {name: defaults[name] for name in promised} == promised


def test_a_task_before_the_start_is_a_runtime_error() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError):
            await Executor().submit_task(answering())

    run_virtual(main())


def test_a_task_after_the_stop_is_a_runtime_error() -> None:
    async def main() -> None:
        async with Executor() as executor:
            pass
        with pytest.raises(RuntimeError):
            await executor.submit_task(answering())

    run_virtual(main())


def test_starting_twice_and_stopping_twice_do_no_harm() -> None:
    async def main() -> None:
        executor = Executor()
        await executor.stop()
        await executor.start()
        await executor.start()
        calling = await (await executor.submit_task(answering()))
        assert calling.status is RequestStatus.COMPLETED
        await executor.stop()
        await executor.stop(graceful=False)

    run_virtual(main())


@pytest.mark.parametrize("graceful", [True, False])
def test_a_stopped_executor_can_be_started_again(graceful: bool) -> None:
    async def main() -> None:
        executor = Executor(concurrency_limit=1)
        await executor.start()
        await executor.submit_task(answering(seconds=5))
        await executor.stop(graceful=graceful)
        await executor.start()
        calling = await (await executor.submit_task(answering()))
        assert calling.status is RequestStatus.COMPLETED
        await executor.stop()

    run_virtual(main())


# --- what a task's result becomes ------------------------------------------------------------------------


def test_submitting_gives_the_event_at_once_and_it_is_queued_or_later() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await executor.submit_task(
                api_call_coroutine=answering(seconds=3),
                endpoint_url="https://api.example.com/data",
                method="GET",
                headers={"Accept": "application/json"},
                payload={"a": 1},
                num_api_tokens_needed=7,
                metadata={"request_type": "data_fetch"},
            )
            assert asyncio.get_running_loop().time() == 0
            assert isinstance(event, NetworkRequestEvent)
            assert event.status not in ENDED
            assert event.request_id
            assert event.endpoint_url == "https://api.example.com/data"
            assert event.method == "GET"
            assert event.headers["Accept"] == "application/json"
            assert event.payload == {"a": 1}
            assert event.num_api_tokens_needed == 7
            assert event.metadata["request_type"] == "data_fetch"

    run_virtual(main())


def test_the_two_names_are_one_class() -> None:
    assert NetworkRequestEvent is Calling


def test_each_event_has_an_id_of_its_own() -> None:
    async def main() -> None:
        async with Executor(requests_rate=100) as executor:
            events = [await executor.submit_task(answering()) for _ in range(50)]
            assert len({str(event.request_id) for event in events}) == 50

    run_virtual(main())


def test_a_tuple_of_three_is_status_headers_and_body() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await (await executor.submit_task(answering((201, {"X-A": "1"}, {"made": True}))))
            assert event.status is RequestStatus.COMPLETED
            assert event.response_status_code == 201
            assert event.response_headers["X-A"] == "1"
            assert event.response_body == {"made": True}

    run_virtual(main())


@pytest.mark.parametrize("value", [{"a": 1}, "text", None, ["x"], 7, ("two", "parts"), ("a", "b", "c")])
def test_any_other_value_is_the_body_of_a_200(value: Any) -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await (await executor.submit_task(answering(value)))
            assert event.status is RequestStatus.COMPLETED
            assert event.response_status_code == 200
            assert event.response_body == value

    run_virtual(main())


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_a_returned_4xx_or_5xx_is_completed_and_the_caller_reads_the_code(status: int) -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await (await executor.submit_task(answering((status, {"Retry-After": "9"}, "no"))))
            assert event.status is RequestStatus.COMPLETED
            assert event.response_status_code == status
            assert event.response_headers.get("Retry-After") == "9"
            assert event.response_body == "no"
            assert event.error_type is None

    run_virtual(main())


def test_retry_after_is_found_whatever_case_the_server_wrote_it_in() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await (await executor.submit_task(answering((429, {"retry-after": "9"}, ""))))
            assert event.response_headers.get("Retry-After", "unknown") == "9"

    run_virtual(main())


def test_an_exception_is_failed_with_its_class_name_and_message() -> None:
    class NoLuck(Exception):
        pass

    async def main() -> None:
        error = NoLuck("not today")
        async with Executor() as executor:
            event = await (await executor.submit_task(raising(error)))
            assert event.status is RequestStatus.FAILED
            assert event.error_type == "NoLuck"
            assert "not today" in str(event.error_message)
            assert event.error is error
            assert event.response_status_code is None
            assert event.completed_at is not None
            with pytest.raises(NoLuck):
                _ = event.response

    run_virtual(main())


def test_a_function_that_raises_before_it_gives_a_coroutine_fails_its_own_call_only() -> None:
    def broken() -> Awaitable[Any]:
        raise LookupError("no coroutine")

    async def main() -> None:
        async with Executor() as executor:
            event = await (await executor.submit_task(broken))
            assert event.error_type == "LookupError"
            after = await (await executor.submit_task(answering()))
            assert after.status is RequestStatus.COMPLETED

    run_virtual(main())


def test_a_task_that_raises_cancelled_error_fails_alone() -> None:
    async def main() -> None:
        async with Executor(concurrency_limit=1) as executor:
            event = await (await executor.submit_task(raising(asyncio.CancelledError())))
            assert event.status is RequestStatus.FAILED
            assert event.error_type == "CancelledError"
            after = await (await executor.submit_task(answering()))
            assert after.status is RequestStatus.COMPLETED

    run_virtual(main())


# --- the event -------------------------------------------------------------------------------------------


def test_statuses_are_lower_case_strings() -> None:
    names = ["PENDING", "QUEUED", "PROCESSING", "CALLING", "COMPLETED", "FAILED"]
    assert [status.name for status in RequestStatus] == names
    assert [status.value for status in RequestStatus] == [name.lower() for name in names]
    completed: str = RequestStatus.COMPLETED
    assert completed == "completed"


def test_the_polling_loop_of_the_documents_ends() -> None:
    async def main() -> None:
        async with Executor(concurrency_limit=1) as executor:
            events = [await executor.submit_task(answering(seconds=1)) for _ in range(3)]
            while any(event.status not in ENDED for event in events):
                await asyncio.sleep(0.1)
            assert [event.status for event in events] == [RequestStatus.COMPLETED] * 3

    run_virtual(main())


def test_an_event_can_be_awaited_many_times() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await executor.submit_task(answering(seconds=1))

            async def wait() -> Calling:
                return await event

            assert list(await asyncio.gather(wait(), wait())) == [event, event]
            assert await event is event

    run_virtual(main())


def test_awaiting_a_failed_event_gives_it_too_and_raises_nothing() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await executor.submit_task(raising(ValueError("x")))
            assert await event is event

    run_virtual(main())


def test_timestamps_are_utc_in_order_and_match_the_durations() -> None:
    async def main() -> None:
        async with Executor(concurrency_limit=1) as executor:
            await executor.submit_task(answering(seconds=2))
            event: Any = await (await executor.submit_task(answering(seconds=3)))
            moments = [
                event.created_at,
                event.queued_at,
                event.processing_started_at,
                event.call_started_at,
                event.completed_at,
            ]
            assert all(moment is not None and moment.tzinfo is UTC for moment in moments)
            assert moments == sorted(moments)
            assert event.updated_at >= event.completed_at
            assert event.completed_at - event.call_started_at == timedelta(seconds=3)
            assert event.call_started_at - event.queued_at == timedelta(seconds=2)

    run_virtual(main())


def test_processing_time_is_the_wait_for_rate_limits_and_queue_time_the_wait_before_it() -> None:
    async def main() -> None:
        async with Executor(requests_rate=1, requests_period=10) as executor:
            await executor.submit_task(answering())
            event: Any = await (await executor.submit_task(answering()))
            assert event.processing_started_at - event.queued_at == timedelta(0)
            waited = (event.call_started_at - event.processing_started_at).total_seconds()
            assert 10 <= waited <= 10 / 0.99

    run_virtual(main())


def test_a_call_that_waits_has_no_later_timestamps_yet() -> None:
    async def main() -> None:
        async with Executor(concurrency_limit=1) as executor:
            await executor.submit_task(answering(seconds=1))
            event = await executor.submit_task(answering())
            await settle()
            assert event.queued_at is not None
            assert event.call_started_at is None
            assert event.completed_at is None
            assert event.response_status_code is None

    run_virtual(main())


def test_a_call_under_way_is_calling() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await executor.submit_task(answering(seconds=1))
            await settle()
            assert event.status is RequestStatus.CALLING

    run_virtual(main())


def test_execution_has_status_duration_response_and_error() -> None:
    async def main() -> None:
        async with Executor() as executor:
            good = await (await executor.submit_task(answering((200, {}, "body"), seconds=4)))
            assert good.execution.status == "completed"
            assert good.execution.duration == pytest.approx(4)
            assert good.execution.error is None
            bad = await (await executor.submit_task(raising(KeyError("k"))))
            assert isinstance(bad.execution.error, KeyError)

    run_virtual(main())


def test_the_log_has_lines_about_the_life_of_the_call() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await (await executor.submit_task(raising(ValueError("broken pipe dream"))))
            assert len(event.logs) >= 2
            assert all(isinstance(line, str) for line in event.logs)
            assert any("ValueError" in line or "broken pipe dream" in line for line in event.logs)

    run_virtual(main())


@pytest.mark.parametrize(
    "name",
    ["Authorization", "authorization", "X-API-Key", "x-api-key", "api-key", "x-goog-api-key", "Cookie"],
)
def test_secrets_in_headers_are_masked_everywhere(name: str) -> None:
    canary = "sk-canary-0123456789"

    async def main() -> None:
        async with Executor() as executor:
            event = await (
                await executor.submit_task(raising(ValueError("x")), headers={name: f"Bearer {canary}"})
            )
            shown = f"{event!r} {event} {event.headers} {event.logs} {event.error_details} {executor!r}"
            assert canary not in shown
            assert name in event.headers

    run_virtual(main())
