"""Failed calls as the documents define them, without reference to the code.

Every call goes over a real connection to a service on loopback.
"""

from __future__ import annotations

import asyncio
import socket

import pytest

from callgate import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    CircuitBreaker,
    CircuitBreakerOpenError,
    Endpoint,
    Executor,
    QuotaTooSmallError,
    RateLimitError,
    RequestStatus,
    RetryConfig,
    ServerError,
    iModel,
)
from tests.documents.http_model import (
    ENDED,
    completing,
    failing,
    service_config,
    with_model,
)
from tests.documents.http_service import Answer, HttpService, Request

# --- calls that fail -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationError), (403, AuthenticationError), (429, RateLimitError), (500, ServerError)],
)
def test_a_refused_call_is_failed_and_keeps_status_headers_and_body(
    status: int, kind: type[Exception]
) -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions")
        assert event.status is RequestStatus.FAILED
        assert isinstance(event.error, kind)
        assert event.error_type == type(event.error).__name__
        assert "no luck" in str(event.error_message)
        assert event.response_status_code == status
        assert event.response_headers.get("X-Info") == "kept"
        assert event.response_body["error"]["type"] == "some_error"
        with pytest.raises(kind):
            _ = event.response

    with_model(failing(status, {"X-Info": "kept"}), scenario, retry_config=None)


def test_a_refused_connection_is_a_failed_call_with_a_connection_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def scenario(model: iModel, _service: HttpService) -> None:
            event = await model.invoke(prompt="Hi", http_path="completions")
            assert event.status is RequestStatus.FAILED
            assert event.error_type == "APIConnectionError"
            assert isinstance(event.error, APIConnectionError)
            assert isinstance(event.error, ConnectionError)
            assert event.response_status_code is None

        with_model(completing, scenario, config={"base_url": free}, retry_config=None)


def test_a_server_that_is_too_slow_is_a_failed_call_with_a_timeout() -> None:
    async def never(_request: Request) -> Answer:
        await asyncio.sleep(3600)
        raise AssertionError

    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions", timeout=0.05)
        assert event.status is RequestStatus.FAILED
        assert isinstance(event.error, APITimeoutError)
        assert isinstance(event.error, TimeoutError)

    with_model(never, scenario, retry_config=None)


def test_the_timeout_of_the_configuration_is_the_default() -> None:
    async def never(_request: Request) -> Answer:
        await asyncio.sleep(3600)
        raise AssertionError

    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions")
        assert isinstance(event.error, APITimeoutError)

    with_model(never, scenario, config={"timeout": 0.05}, retry_config=None)


def test_poll_timeout_is_the_deadline_of_the_whole_call_queue_and_retries_included() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions", poll_timeout=0.4)
        assert event.status is RequestStatus.FAILED
        assert isinstance(event.error, Exception)

    retries = RetryConfig(max_retries=1000, base_delay=0.05, max_delay=0.1)
    service = with_model(failing(503), scenario, retry_config=retries)
    assert 1 <= len(service.requests) < 60


def test_poll_timeout_ends_a_call_that_hangs_with_a_timeout_error() -> None:
    async def never(_request: Request) -> Answer:
        await asyncio.sleep(3600)
        raise AssertionError

    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions", poll_timeout=0.05)
        assert event.status is RequestStatus.FAILED
        assert isinstance(event.error, TimeoutError)

    with_model(never, scenario)


def test_poll_interval_is_accepted() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions", poll_interval=0.1)
        assert event.status is RequestStatus.COMPLETED

    (request,) = with_model(completing, scenario).requests
    assert "poll_interval" not in request.json


def test_a_cost_over_the_whole_quota_is_a_failed_call_and_nothing_is_sent() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions", num_api_tokens_needed=1001)
        assert event.status is RequestStatus.FAILED
        assert isinstance(event.error, QuotaTooSmallError)
        with pytest.raises(ValueError):
            _ = event.response

    service = with_model(completing, scenario, executor={"api_tokens_rate": 1000})
    assert service.requests == []


def test_an_answer_that_is_not_json_ends_the_call() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions")
        assert event.status in ENDED
        assert event.response_status_code == 200

    with_model(lambda _request: (200, {}, "plain text"), scenario, retry_config=None)


# --- retry and breaker -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_is_worth_retrying_is_retried_and_the_calling_counts_the_attempts(status: int) -> None:
    seen = 0

    def recovering(request: Request) -> Answer:
        nonlocal seen
        seen += 1
        return completing(request) if seen == 3 else (status, {"Retry-After-Ms": "5"}, {})

    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions")
        assert event.status is RequestStatus.COMPLETED
        assert len(event.attempts) == 3
        assert event.error is None
        assert event.response_status_code == 200

    assert len(with_model(recovering, scenario).requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_is_not_worth_retrying_is_sent_once(status: int) -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions")
        assert len(event.attempts) == 1

    assert len(with_model(failing(status), scenario).requests) == 1


def test_after_max_retries_the_call_has_failed() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions")
        assert event.status is RequestStatus.FAILED
        assert len(event.attempts) == 4

    assert len(with_model(failing(500), scenario).requests) == 4


def test_a_connection_that_breaks_is_retried() -> None:
    seen = 0

    def breaking(request: Request) -> Answer | None:
        nonlocal seen
        seen += 1
        return None if seen == 1 else completing(request)

    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions")
        assert event.status is RequestStatus.COMPLETED

    with_model(breaking, scenario)


def test_retry_is_on_by_default_and_none_turns_it_off() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        await model.invoke(prompt="Hi", http_path="completions")

    assert len(with_model(failing(500), scenario, retry_config=None).requests) == 1

    seen = 0

    def recovering(request: Request) -> Answer:
        nonlocal seen
        seen += 1
        return completing(request) if seen == 2 else (500, {}, {})

    async def main() -> None:
        async with HttpService(recovering) as service, Executor() as executor:
            async with iModel(Endpoint(service_config(service.url)), executor) as model:
                event = await model.invoke(prompt="Hi", http_path="completions")
                assert event.status is RequestStatus.COMPLETED
                assert len(event.attempts) == 2

    asyncio.run(main())


def test_a_breaker_that_was_given_opens_and_then_nothing_is_sent() -> None:
    async def scenario(model: iModel, service: HttpService) -> None:
        for _ in range(2):
            await model.invoke(prompt="Hi", http_path="completions")
        refused = await model.invoke(prompt="Hi", http_path="completions")
        assert refused.status is RequestStatus.FAILED
        assert isinstance(refused.error, CircuitBreakerOpenError)
        assert len(service.requests) == 2

    breaker = CircuitBreaker(failure_threshold=2, recovery_time=3600)
    with_model(failing(500), scenario, circuit_breaker=breaker, retry_config=None)
