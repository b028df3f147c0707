"""`AsyncAPIClient`: what it sends, gives and raises, and when it tries again."""

from __future__ import annotations

import asyncio
import io
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

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
from callgate.testing.clock import run_virtual
from callgate.transport.answers import BinaryAnswer, JsonListAnswer, JsonObjectAnswer, TextAnswer
from callgate.transport.auth import StaticAuth
from tests.network.scripted_transport import ScriptedTransport, reply
from tests.transport.raw_server import KEEP_OPEN, RESET, answer, raw_server

CANARY = "sk-canary-5f3a"
HOST = "https://api.example.com"


def with_client(
    transport: ScriptedTransport, talk: Callable[[AsyncAPIClient], Awaitable[Any]], **settings: Any
) -> Any:
    """Run `talk` with a client on this transport and on the virtual clock."""

    async def main() -> Any:
        async with AsyncAPIClient(HOST, client=transport, **settings) as client:
            return await talk(client)

    return run_virtual(main())


def sent_by(
    method: str = "GET", url: str = "/x", settings: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    """What one request sends."""
    transport = ScriptedTransport()
    with_client(transport, lambda client: client.request(method, url, **options), **(settings or {}))
    return transport.sent[0]


def answer_to(content: Any, status: int = 200, **headers: str) -> Any:
    """What a request gives that is answered so."""
    transport = ScriptedTransport(reply(status, content, **headers))
    return with_client(transport, lambda client: client.request("GET", "/x"))


def error_for(status: int, content: Any = None, **headers: str) -> APIClientError:
    with pytest.raises(APIClientError) as caught:
        answer_to(content, status, **headers)
    return caught.value


# -- where requests go


@pytest.mark.parametrize(
    ("base", "url", "whole"),
    [
        (HOST, "/users", f"{HOST}/users"),
        (HOST, "users", f"{HOST}/users"),
        (f"{HOST}/v1/", "/users/7", f"{HOST}/v1/users/7"),
        (f"{HOST}/v1", "", f"{HOST}/v1"),
        (f"{HOST}/v1", "?a=1", f"{HOST}/v1?a=1"),
        (HOST, "/search?next=http://a.example", f"{HOST}/search?next=http://a.example"),
        (HOST, f"{HOST}/whole", f"{HOST}/whole"),
    ],
)
def test_a_url_is_a_path_below_the_base_or_whole(base: str, url: str, whole: str) -> None:
    async def main() -> None:
        transport = ScriptedTransport()
        async with AsyncAPIClient(base, client=transport) as client:
            await client.request("get", url)
        assert transport.sent[0].url == whole
        assert transport.sent[0].method == "GET"

    run_virtual(main())


@pytest.mark.parametrize("url", ["//evil.example/x", "ftp://a.example/x", f"https://u:{CANARY}@a.example/"])
def test_a_url_that_is_neither_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sent_by(url=url)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "base", ["http://api.example.com", "api.example.com", f"https://u:{CANARY}@a.example"]
)
def test_a_base_url_that_cannot_be_used_is_refused(base: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AsyncAPIClient(base)
    assert CANARY not in str(caught.value)
    AsyncAPIClient("http://10.0.0.5:8000", allow_http=True)


# -- the options


def test_params_join_the_query() -> None:
    sent = sent_by(url="/x?a=1", params={"b": True, "c": None, "d": [1, 2], "e": "ü &"})
    assert parse_qsl(sent.url.partition("?")[2], keep_blank_values=True) == [
        ("a", "1"), ("b", "true"), ("c", ""), ("d", "1"), ("d", "2"), ("e", "ü &"),
    ]  # fmt: skip
    assert sent_by(params="?raw=1").url == f"{HOST}/x?raw=1"
    assert sent_by(params=[("a", 1), ("a", 2)]).url == f"{HOST}/x?a=1&a=2"
    assert sent_by(settings={"params": {"v": 2}}, params={"a": 1}).url == f"{HOST}/x?v=2&a=1"


def test_json_goes_as_json_and_data_as_a_form() -> None:
    sent = sent_by("POST", json={"name": "Zoë", "age": 3})
    assert json.loads(sent.body) == {"name": "Zoë", "age": 3}
    assert sent.headers["content-type"] == "application/json"
    sent = sent_by("POST", data={"user": "john", "tags": ["a", "b"], "ok": True})
    assert parse_qsl(sent.body.decode()) == [("user", "john"), ("tags", "a"), ("tags", "b"), ("ok", "true")]
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("falsy", [{}, [], 0, False, ""])
def test_an_empty_json_body_is_a_body(falsy: Any) -> None:
    assert json.loads(sent_by("POST", json=falsy).body) == falsy


async def pieces() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b"c"


def test_content_goes_as_it_is() -> None:
    for content in (b"abc", "abc", [b"ab", b"c"], pieces()):
        sent = sent_by("PUT", content=content, headers={"Content-Type": "text/csv"})
        assert sent.body == b"abc"
        assert sent.headers == {"content-type": "text/csv"}
    assert sent_by("POST", data="abc").body == sent_by("POST", data=b"abc").body == b"abc"


def parts_of(sent: Any) -> dict[str, tuple[str | None, str, bytes]]:
    """The parts of a multipart body as the standard library reads it: name -> (file name, type, content)."""
    head = f"Content-Type: {sent.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + sent.body).get_payload()
    assert isinstance(parts, list)
    return {
        part.get_param("name", header="content-disposition"): (
            part.get_filename(), part.get_content_type(), part.get_payload(decode=True),
        )
        for part in parts
    }  # fmt: skip


def test_files_go_as_a_multipart_form_with_the_data_as_fields(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b"{}")
    with open(tmp_path / "c.json", "rb") as opened:
        sent = sent_by(
            "POST",
            data={"note": "hi"},
            files={
                "a": ("a.txt", b"\x00\r\n--x", "application/x-a"),
                "b": ("b.html", "<p>"),
                "c": tmp_path / "c.json",
                "d": opened,
                "e": io.BytesIO(b"raw"),
            },
        )
    assert parts_of(sent) == {
        "note": (None, "text/plain", b"hi"),
        "a": ("a.txt", "application/x-a", b"\x00\r\n--x"),
        "b": ("b.html", "text/html", b"<p>"),
        "c": ("c.json", "application/json", b"{}"),
        "d": ("c.json", "application/json", b"{}"),
        "e": ("upload", "application/octet-stream", b"raw"),
    }


def test_a_file_name_cannot_smuggle_a_header_in() -> None:
    sent = sent_by("POST", files=[("f", ('a"\r\nX-Evil: 1\r\n\r\n', b"x"))])
    assert b"X-Evil: 1\r\n" not in sent.body
    with pytest.raises(ConfigurationError):
        sent_by("POST", files={"f": ("a", b"x", "text/plain\r\nX-Evil: 1")})


@pytest.mark.parametrize(
    "bodies",
    [{"json": 1, "content": b""}, {"json": 1, "data": {}}, {"data": {}, "content": b""},
     {"files": {}, "json": 1}, {"files": {}, "data": b"x"}, {"json": {1, 2}}],
)  # fmt: skip
def test_bodies_that_contradict_or_have_no_form_are_refused(bodies: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        sent_by("POST", **bodies)


def test_headers_add_up_in_any_case_and_none_leaves_one_out() -> None:
    client = {"headers": {"User-Agent": "me", "X-A": "1", "X-B": "2"}}
    sent = sent_by(settings=client, headers={"x-a": "3", "X-b": None, "X-C": "4"})
    assert sent.headers == {"user-agent": "me", "x-a": "3", "x-c": "4"}


@pytest.mark.parametrize("evil", ["a\r\nX-Admin: 1", "a\nb", "a\0"])
def test_header_and_cookie_values_with_line_breaks_are_refused(evil: str) -> None:
    with pytest.raises(ConfigurationError):
        AsyncAPIClient(HOST, headers={"x-a": evil})  # when set
    for options in ({"headers": {"x-a": evil}}, {"cookies": {"a": evil}}, {"auth": lambda *_: {"x-a": evil}}):
        with pytest.raises(ConfigurationError) as caught:
            sent_by(**options)
        assert evil not in str(caught.value)


def test_cookies_add_up_and_cannot_smuggle_another_in() -> None:
    sent = sent_by(settings={"cookies": {"a": "1"}}, cookies={"b": "2"}, headers={"Cookie": "c=3"})
    assert sent.headers["cookie"] == "c=3; a=1; b=2"
    with pytest.raises(ConfigurationError, match="cookie"):
        sent_by(cookies={"a": "1; admin=1"})


def test_auth_is_a_pair_an_object_or_a_function() -> None:
    def sign(method: str, url: str, body: bytes | None) -> dict[str, str]:
        return {"X-Signature": f"{method} {url} {body!r}"}

    async def sign_later(method: str, url: str, body: bytes | None) -> dict[str, str]:
        return sign(method, url, body)

    assert sent_by(auth=("user", "pass")).headers["authorization"] == "Basic dXNlcjpwYXNz"
    assert sent_by(auth=StaticAuth("bearer", CANARY)).headers["authorization"] == f"Bearer {CANARY}"
    for auth in (sign, sign_later):
        sent = sent_by("POST", auth=auth, content=b"x")
        assert sent.headers["x-signature"] == f"POST {HOST}/x b'x'"
    own = {"auth": ("user", "pass")}
    assert "authorization" in sent_by(settings=own).headers
    assert "authorization" not in sent_by(settings=own, auth=None).headers


def test_a_timeout_of_the_request_wins() -> None:
    assert sent_by().timeout == 10.0
    assert sent_by(timeout=30.0).timeout == 30.0
    assert sent_by(timeout=None).timeout is None
    assert sent_by(settings={"timeout": 3.0}).timeout == 3.0


def test_call_describes_a_request_and_leaves_its_mapping_alone() -> None:
    transport = ScriptedTransport(reply(200, {"ok": True}))
    request = {"method": "POST", "url": "/orders", "json": {"product_id": 1}, "params": {"a": 1}}
    before = json.dumps(request)

    async def talk(client: AsyncAPIClient) -> None:
        for _ in range(2):
            assert await client.call(request, headers={"x-a": "1"}) == {"ok": True}

    with_client(transport, talk)
    assert json.dumps(request) == before
    assert [sent.url for sent in transport.sent] == [f"{HOST}/orders?a=1"] * 2
    for broken in ({"url": "/x"}, {"method": "GET"}, {}):
        with pytest.raises(ConfigurationError, match=r"method|url"):
            with_client(transport, lambda client, broken=broken: client.call(broken))  # type: ignore[misc]


# -- the answers


def test_an_object_a_list_and_a_text_know_their_status_and_headers() -> None:
    found = answer_to({"id": 7}, 201, X_Request_Id="r1")
    assert found == {"id": 7}
    assert isinstance(found, dict)
    assert (found.status_code, found.headers["X-Request-Id"], found.headers.get("x-REQUEST-id")) == (
        201,
        "r1",
        "r1",
    )
    assert json.dumps(found) == '{"id": 7}'
    found = answer_to([1, 2])
    assert (found, isinstance(found, list), found.status_code) == ([1, 2], True, 200)
    found = answer_to(b"hello", content_type="text/plain")
    assert (found, isinstance(found, str), found.headers["content-type"]) == ("hello", True, "text/plain")


@pytest.mark.parametrize(
    ("body", "content_type", "kind", "value"),
    [
        (b'{"a": 1}', None, JsonObjectAnswer, {"a": 1}),
        (b' [1]', "text/html", JsonListAnswer, [1]),
        (b'{"a": 1}', "application/problem+json; charset=utf-8", JsonObjectAnswer, {"a": 1}),
        (b'"text"', "application/json", TextAnswer, "text"),
        (b"42", "text/plain", TextAnswer, "42"),
        (b"{broken", "application/json", TextAnswer, "{broken"),
        (b"NaN", "application/json", TextAnswer, "NaN"),
        (b"[" * 100_000, "application/json", TextAnswer, "[" * 100_000),
        (b"", "application/json", TextAnswer, ""),
        (b"", None, TextAnswer, ""),
        ("grüß".encode("latin-1"), "text/plain; charset=iso-8859-1", TextAnswer, "grüß"),
        ("grüß".encode(), "text/plain; charset=nonsense", BinaryAnswer, "grüß".encode()),
        (b"\x89PNG\xff", "image/png", BinaryAnswer, b"\x89PNG\xff"),
    ],
)  # fmt: skip
def test_a_body_is_read_as_what_it_is(body: bytes, content_type: str | None, kind: type, value: Any) -> None:
    found = answer_to(body, **({} if content_type is None else {"content_type": content_type}))
    assert type(found) is kind
    assert found == value
    assert found.content == body


@pytest.mark.parametrize("value", [42, 1.5, True, None])
def test_a_bare_json_value_comes_as_it_is(value: Any) -> None:
    assert answer_to(json.dumps(value).encode(), content_type="application/json") == value


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


def test_who_was_sent_back_late_stands_before_those_who_came_meanwhile() -> None:
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
