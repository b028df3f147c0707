"""`AsyncAPIClient`: what it sends, gives and raises, and when it tries again."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest

from callgate.errors import (
    APIClientError,
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    CircuitBreakerOpenError,
    ConfigurationError,
    InvalidRequestError,
    RateLimitError,
    ResourceNotFoundError,
    ResponseTooLargeError,
    RetryAfterTooLongError,
    ServerError,
)
from callgate.network.client import AsyncAPIClient
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from callgate.transport.auth import StaticAuth
from tests.network.one_request import CANARY, HOST, error_for, pieces, sent_by, with_client
from tests.network.scripted_transport import ScriptedTransport, reply
from tests.transport.raw_server import KEEP_OPEN, RESET, answer, raw_server

# -- where requests go


# -- the options


# -- the answers


# -- the errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError), (401, AuthenticationError), (403, AuthenticationError),
        (404, ResourceNotFoundError), (408, APITimeoutError), (409, APIClientError), (418, APIClientError),
        (422, InvalidRequestError), (429, RateLimitError), (500, ServerError), (503, ServerError),
        (301, APIClientError), (304, APIClientError),
    ],
)  # fmt: skip
def test_every_status_has_its_error(status: int, kind: type[APIClientError]) -> None:
    error = error_for(status, {"error": {"message": "so it is", "code": "c1"}}, X_Request_Id="r1")
    assert type(error) is kind
    assert error.status_code == status
    assert error.response_content == {"error": {"message": "so it is", "code": "c1"}}
    assert error.headers["X-Request-ID"] == "r1"
    assert (error.code, error.request_id) == ("c1", "r1")
    assert "api.example.com" in str(error)
    assert status == 301 or "so it is" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"message": "A"}, "A"), ({"detail": "B"}, "B"), ({"error": "C"}, "C"),
        ({"error": {"detail": "D"}}, "D"),
        (b"plain E", "plain E"), ({"weird": 1}, '{"weird":1}'), ([1], "[1]"), (b"", "no reason given"),
        ({"error": {"message": None}}, '{"error":{"message":null}}'),
        ({"detail": [{"loc": "x"}]}, '{"detail":[{"loc":"x"}]}'),
    ],
)  # fmt: skip
def test_what_the_service_says_is_in_the_message(content: Any, said: str) -> None:
    assert error_for(400, content).message.endswith(said)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry_after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    lower = {name.lower(): value for name, value in headers.items()}
    error = error_for(429, **lower)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == seconds


def test_a_service_may_say_whether_to_try_again() -> None:
    assert error_for(500, x_should_retry="false").retryable is False
    assert error_for(400, x_should_retry="true").retryable is True


def test_errors_hold_no_credential_even_when_the_service_repeats_it() -> None:
    async def talk(client: AsyncAPIClient) -> None:
        with pytest.raises(AuthenticationError) as caught:
            await client.request("GET", "/x")
        shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.response_content)
        assert CANARY not in shown
        assert "***" in shown
        assert CANARY not in repr(client)

    transport = ScriptedTransport(reply(401, {"error": {"message": f"wrong key {CANARY}"}}))
    with_client(transport, talk, headers={"Authorization": f"Bearer {CANARY}"})
    transport = ScriptedTransport(reply(401, f"wrong key {CANARY}".encode()))
    with_client(transport, talk, auth=StaticAuth("x-api-key", CANARY))


def test_a_credential_that_comes_back_in_a_header_is_masked_in_every_part_of_the_error() -> None:
    async def talk(client: AsyncAPIClient) -> None:
        with pytest.raises(AuthenticationError) as caught:
            await client.request("GET", "/x")
        error = caught.value
        assert error.headers["X-Debug"] == "you sent ***"
        assert CANARY not in repr(vars(error))
        assert CANARY not in repr(vars(error.response_content))

    transport = ScriptedTransport(reply(401, {"error": "no"}, x_debug=f"you sent {CANARY}"))
    with_client(transport, talk, headers={"x-api-key": CANARY})


def test_connection_errors_and_timeouts_are_typed_and_are_pythons_own_too() -> None:
    async def main() -> None:
        async with raw_server({"/reset": RESET, "/slow": KEEP_OPEN}) as server:
            async with AsyncAPIClient(server.url) as client:
                with pytest.raises(APIConnectionError) as broken:
                    await client.request("GET", "/reset")
                with pytest.raises(APITimeoutError) as late:
                    await client.request("GET", "/slow", timeout=0.05)
        assert isinstance(broken.value, ConnectionError)
        assert isinstance(late.value, TimeoutError)

    asyncio.run(main())


def test_an_answer_over_the_cap_ends_in_a_typed_error() -> None:
    async def main() -> None:
        async with raw_server({"/": answer(b"x" * 2000)}) as server:
            async with AsyncAPIClient(server.url, max_response_bytes=1000) as client:
                with pytest.raises(ResponseTooLargeError):
                    await client.request("GET", "/")

    asyncio.run(main())


# -- retry and breaker


def attempts(
    *answers: Any, method: str = "GET", retry: Any = None, **options: Any
) -> tuple[list[float], Any]:
    """When attempts were made, and what came of them."""
    transport = ScriptedTransport(*answers)
    retry = RetryConfig(jitter=False) if retry is None else retry

    async def talk(client: AsyncAPIClient) -> Any:
        try:
            return await client.request(method, "/x", **options)
        except APIClientError as error:
            return error

    outcome = with_client(transport, talk, retry_config=retry)
    return [sent.at for sent in transport.sent], outcome


def test_without_a_config_nothing_is_tried_again() -> None:
    transport = ScriptedTransport(reply(500), reply())
    with pytest.raises(ServerError):
        with_client(transport, lambda client: client.request("GET", "/x"))
    assert len(transport.sent) == 1


@pytest.mark.parametrize("failure", [
    reply(408), reply(409), reply(429), reply(500), reply(503),
    APIConnectionError("broke"), APITimeoutError("late"),
], ids=lambda f: str(getattr(f, "status", type(f).__name__)))  # fmt: skip
def test_what_passes_is_tried_again(failure: Any) -> None:
    times, outcome = attempts(failure, reply(200, {"ok": 1}))
    assert times == [0.0, 1.0]
    assert outcome == {"ok": 1}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 422])
def test_what_does_not_pass_is_not_tried_again(status: int) -> None:
    assert attempts(reply(status), reply())[0] == [0.0]


def test_retries_end_with_the_last_error() -> None:
    times, outcome = attempts(reply(500), retry={"max_retries": 2, "jitter": False})
    assert times == [0.0, 1.0, 3.0]
    assert isinstance(outcome, ServerError)


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        (APIConnectionError("refused", surely_unsent=True), True),
        (APIConnectionError("broke"), False),
        (APITimeoutError("late"), False),
        (reply(503), True),
        (reply(429), True),
    ],
    ids=["surely unsent", "broken", "timeout", "503", "429"],
)
def test_a_post_that_may_have_been_heard_is_not_sent_twice(failure: Any, again: bool) -> None:
    assert len(attempts(failure, reply(), method="POST")[0]) == 1 + again
    # Unless the service can tell that it is the same, or the caller says that it does no harm.
    assert len(attempts(failure, reply(), method="POST", headers={"Idempotency-Key": "1"})[0]) == 2
    named = RetryConfig(retry_exceptions=(APIClientError,))
    assert len(attempts(failure, reply(), method="POST", retry=named)[0]) == 2
    assert len(attempts(failure, reply(), method="PUT")[0]) == 2


def test_a_body_read_from_a_file_or_an_iterator_is_sent_again_whole() -> None:
    transport = ScriptedTransport(reply(500), reply())

    async def talk(client: AsyncAPIClient) -> None:
        await client.request("PUT", "/x", content=pieces())

    with_client(transport, talk, retry_config=RetryConfig())
    assert [sent.body for sent in transport.sent] == [b"abc", b"abc"]


def test_a_token_is_made_anew_for_every_attempt() -> None:
    tokens = iter(["old", "new"])
    transport = ScriptedTransport(reply(500), reply())
    auth = lambda *_: {"authorization": next(tokens)}  # noqa: E731
    with_client(transport, lambda c: c.request("GET", "/x"), retry_config=RetryConfig(), auth=auth)
    assert [sent.headers["authorization"] for sent in transport.sent] == ["old", "new"]


def test_a_retry_after_pauses_every_request_of_the_client() -> None:
    transport = ScriptedTransport(reply(429, retry_after="20"), reply(200, {}))

    async def talk(client: AsyncAPIClient) -> None:
        first = asyncio.create_task(client.request("GET", "/first"))
        await asyncio.sleep(1)
        await asyncio.gather(*(client.request("GET", f"/{n}") for n in range(5)))
        await first

    with_client(transport, talk, retry_config=RetryConfig(jitter=False))
    assert [sent.at for sent in transport.sent] == [0.0] + [20.0] * 6
    assert transport.sent[1].url.endswith("/first")  # who was sent back stands in front


def test_a_repeated_request_goes_before_newer_ones() -> None:
    class Slow(ScriptedTransport):
        async def send(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            if url.endswith("/slow") and not any(sent.url == url for sent in self.sent):
                answer = super().send(method, url, *args, **kwargs)
                await asyncio.sleep(5)
                return await answer
            return await super().send(method, url, *args, **kwargs)

    transport = Slow(reply(429, retry_after="20"), reply(429, retry_after="10"), reply(200, {}))

    async def talk(client: AsyncAPIClient) -> None:
        slow = asyncio.create_task(client.request("GET", "/slow"))
        quick = asyncio.create_task(client.request("GET", "/quick"))
        await asyncio.sleep(1)
        await asyncio.gather(slow, quick, client.request("GET", "/fresh"))

    with_client(transport, talk, retry_config=RetryConfig(jitter=False))
    assert [sent.url.rpartition("/")[2] for sent in transport.sent] == [
        "quick", "slow", "quick", "slow", "fresh",
    ]  # fmt: skip


def test_a_429_with_a_retry_after_uses_up_no_attempt_but_has_an_end() -> None:
    many = [reply(429, retry_after="1")] * 8
    times, outcome = attempts(*many, reply(200, {"ok": 1}), retry=RetryConfig(max_retries=1, jitter=False))
    assert (len(times), outcome) == (9, {"ok": 1})
    times, outcome = attempts(*many, retry=RetryConfig(jitter=False, max_quota_wait=3.5))
    assert (len(times), type(outcome)) == (4, RateLimitError)
    _, outcome = attempts(reply(429, retry_after="9999"))
    assert isinstance(outcome, RetryAfterTooLongError)


def test_an_open_breaker_refuses_and_nothing_is_sent() -> None:
    transport = ScriptedTransport(reply(500))

    async def talk(client: AsyncAPIClient) -> None:
        for _ in range(2):
            with pytest.raises(ServerError):
                await client.request("GET", "/x")
        with pytest.raises(CircuitBreakerOpenError):
            await client.request("GET", "/x")

    with_client(transport, talk, circuit_breaker={"failure_threshold": 2})
    assert len(transport.sent) == 2


def test_every_retry_passes_the_breaker() -> None:
    transport = ScriptedTransport(reply(500))

    async def talk(client: AsyncAPIClient) -> None:
        with pytest.raises(CircuitBreakerOpenError):
            await client.request("GET", "/x")

    breaker = CircuitBreaker(failure_threshold=3)
    with_client(transport, talk, circuit_breaker=breaker, retry_config=RetryConfig(max_retries=9))
    assert len(transport.sent) == 3
    assert breaker.metrics["failure_count"] == 3


def test_our_own_mistakes_and_the_callers_open_no_breaker() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    transport = ScriptedTransport(reply(404), reply(429), reply(400), reply(200, {}))

    async def talk(client: AsyncAPIClient) -> None:
        for _ in range(3):
            with pytest.raises(APIClientError):
                await client.request("GET", "/x")
        await client.request("GET", "/x")

    with_client(transport, talk, circuit_breaker=breaker)
    assert breaker.state.value == "closed"


# -- elsewhere


def test_a_whole_url_may_not_lead_to_plain_http_on_another_machine() -> None:
    with pytest.raises(ConfigurationError, match="in the clear"):
        sent_by(url="http://other.example/x")
    assert (
        sent_by(settings={"allow_http": True}, url="http://other.example/x").url == "http://other.example/x"
    )
    assert sent_by(url="https://other.example/x").url == "https://other.example/x"


# -- its life


def test_a_closed_client_refuses_and_closes_only_what_is_its_own() -> None:
    async def main() -> None:
        transport = ScriptedTransport()
        shared = AsyncAPIClient(HOST, client=transport)
        await shared.close()
        await shared.close()
        assert not transport.closed
        with pytest.raises(RuntimeError, match="closed"):
            await shared.request("GET", "/x")
        assert repr(shared) == "<AsyncAPIClient https://api.example.com:443 closed>"
        async with raw_server({"/": answer(b"hi")}) as server:
            async with AsyncAPIClient(server.url) as client:
                await client.request("GET", "/")
                assert server.open == 1
            await server.wait_open(0)

    asyncio.run(main())


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="colour"):
        AsyncAPIClient(HOST, colour="red")
    with pytest.raises(ConfigurationError, match="verify"):
        AsyncAPIClient(HOST, client=ScriptedTransport(), verify=False)


def test_one_client_serves_one_loop_after_the_other() -> None:
    transport = ScriptedTransport(reply(500), reply(200, {}))
    client = AsyncAPIClient(HOST, client=transport, retry_config=RetryConfig(base_delay=0.0))
    for _ in range(3):
        assert asyncio.run(client.request("GET", "/x")) == {}


def test_a_hundred_requests_share_a_few_connections() -> None:
    async def main() -> None:
        async with raw_server({"/": answer(b"{}", content_type="application/json")}) as server:
            async with AsyncAPIClient(server.url) as client:
                for _ in range(10):
                    await asyncio.gather(*(client.request("GET", "/") for _ in range(10)))
                assert server.open <= 10

    asyncio.run(main())
