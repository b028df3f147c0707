"""What a client sends: address, headers, cookies, credentials and timeouts."""

from __future__ import annotations

import json

import pytest

from callgate.errors import (
    ConfigurationError,
)
from callgate.network.client import AsyncAPIClient
from callgate.testing.clock import run_virtual
from callgate.transport.auth import StaticAuth
from tests.network.one_request import CANARY, HOST, sent_by, with_client
from tests.network.scripted_transport import ScriptedTransport, reply


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
