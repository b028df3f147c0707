"""Redirects are followed when asked for, and no credential ever leaves its origin by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from callgate.errors import APIClientError
from callgate.network.client import AsyncAPIClient
from callgate.testing.clock import run_virtual
from callgate.transport.auth import StaticAuth
from tests.network.scripted_transport import ScriptedTransport, reply
from tests.transport.raw_server import RawServer, answer, raw_server

CANARY = "sk-canary-5f3a"
HOST = "https://api.example.com"

# Every place a caller can put a credential.
CREDENTIALS: dict[str, dict[str, Any]] = {
    "authorization header of the client": {"settings": {"headers": {"Authorization": f"Bearer {CANARY}"}}},
    "x-api-key of the client": {"settings": {"headers": {"x-api-key": CANARY}}},
    "a header of its own name": {"settings": {"headers": {"X-Our-Secret": CANARY}}},
    "cookies of the client": {"settings": {"cookies": {"session": CANARY}}},
    "auth pair of the client": {"settings": {"auth": ("user", CANARY)}},
    "auth object of the client": {"settings": {"auth": StaticAuth("x-api-key", CANARY)}},
    "auth function of the client": {"settings": {"auth": lambda *_: {"x-signed": CANARY}}},
    "header of the request": {"options": {"headers": {"Authorization": CANARY}}},
    "cookies of the request": {"options": {"cookies": {"session": CANARY}}},
    "auth of the request": {"options": {"auth": StaticAuth("bearer", CANARY)}},
}


@asynccontextmanager
async def two_origins(status: int = 302, back: bool = False) -> AsyncIterator[tuple[RawServer, RawServer]]:
    """The first redirects /start to the second, which answers, or sends back to /home of the first."""
    there: dict[str, Any] = {}
    here: dict[str, Any] = {"/home": answer(b"home")}
    async with raw_server(here) as first, raw_server(there) as second:
        here["/start"] = answer(status=status, location=f"{second.url}/landed")
        there["/landed"] = answer(status=302, location=f"{first.url}/home") if back else answer(b"landed")
        yield first, second


def shown(server: RawServer) -> str:
    return "".join(server.heads)


@pytest.mark.parametrize("where", CREDENTIALS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_credential_follows_a_redirect_to_another_origin(where: str, status: int) -> None:
    case = CREDENTIALS[where]

    async def main() -> None:
        async with two_origins(status) as (first, second):
            settings = {"follow_redirects": True, **case.get("settings", {})}
            async with AsyncAPIClient(first.url, **settings) as client:
                assert await client.request("GET", "/start", **case.get("options", {})) == "landed"
            assert CANARY in shown(first) or "Basic" in shown(first)
            assert CANARY not in shown(second)
            assert "authorization" not in shown(second).lower()
            assert "cookie" not in shown(second).lower()

    asyncio.run(main())


@pytest.mark.parametrize("where", CREDENTIALS)
def test_a_credential_that_was_left_behind_does_not_come_back(where: str) -> None:
    case = CREDENTIALS[where]

    async def main() -> None:
        async with two_origins(back=True) as (first, _):
            settings = {"follow_redirects": True, **case.get("settings", {})}
            async with AsyncAPIClient(first.url, **settings) as client:
                assert await client.request("GET", "/start", **case.get("options", {})) == "home"
            assert first.heads[-1].startswith("GET /home")
            assert CANARY not in first.heads[-1]
            assert "authorization" not in first.heads[-1].lower()

    asyncio.run(main())


def test_credentials_stay_within_their_origin() -> None:
    async def main() -> None:
        async with raw_server({"/a": answer(status=302, location="/b"), "/b": answer(b"b")}) as server:
            async with AsyncAPIClient(
                server.url, headers={"x-api-key": CANARY}, auth=("u", "p"), follow_redirects=True
            ) as client:
                await client.request("GET", "/a")
            assert CANARY in server.heads[1]
            assert "basic" in server.heads[1].lower()

    asyncio.run(main())


def test_a_whole_url_elsewhere_gets_none_of_the_clients_credentials() -> None:
    async def main() -> None:
        async with raw_server({}) as home, raw_server({"/x": answer(b"x")}) as other:
            async with AsyncAPIClient(
                home.url,
                headers={"x-api-key": CANARY, "User-Agent": "me"},
                cookies={"session": CANARY},
                auth=("user", CANARY),
            ) as client:
                await client.request("GET", f"{other.url}/x")
                assert CANARY not in shown(other)
                assert "authorization" not in shown(other).lower()
                assert "user-agent: me" in shown(other).lower()
                await client.request("GET", f"{other.url}/x", headers={"x-api-key": "meant for you"})
                assert "meant for you" in shown(other)

    asyncio.run(main())


def test_a_redirect_is_not_followed_unless_asked_for() -> None:
    async def main() -> None:
        async with two_origins() as (first, second):
            async with AsyncAPIClient(first.url, headers={"x-api-key": CANARY}) as client:
                with pytest.raises(APIClientError, match="follow_redirects") as caught:
                    await client.request("GET", "/start")
                assert caught.value.status_code == 302
                assert second.heads == []
                assert await client.request("GET", "/start", follow_redirects=True) == "landed"

    asyncio.run(main())


def follow(first: Any, *others: Any, method: str = "POST", **options: Any) -> ScriptedTransport:
    transport = ScriptedTransport(first, *others)

    async def main() -> None:
        async with AsyncAPIClient(HOST, client=transport, follow_redirects=True) as client:
            await client.request(method, "/a", **options)

    run_virtual(main())
    return transport


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [(301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (307, "POST", "POST"),
     (308, "POST", "POST"), (303, "PUT", "GET"), (302, "PUT", "PUT"), (303, "HEAD", "HEAD")],
)  # fmt: skip
def test_method_and_body_change_as_in_browsers(status: int, method: str, becomes: str) -> None:
    body = None if method == "HEAD" else b"x"
    sent = follow(reply(status, location="/b"), reply(), method=method, content=body).sent[1]
    assert (sent.method, sent.url) == (becomes, f"{HOST}/b")
    assert sent.body == (body if becomes == method else None)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("https://other.example/b", "body"),
        ("http://api.example.com/b", "https to http"),
        (f"https://u:{CANARY}@api.example.com/b", "password"),
        ("ftp://api.example.com/b", "names no URL"),
        ("", "names no URL"),
    ],
)
def test_a_redirect_that_leads_where_the_request_must_not_go_is_refused(location: str, why: str) -> None:
    with pytest.raises(APIClientError, match=why) as caught:
        headers = {"location": location} if location else {}
        follow(reply(307, **headers), reply(), content=b"password=secret")
    assert CANARY not in str(caught.value)
    assert caught.value.status_code == 307


@pytest.mark.parametrize("location", [f"https://other.example/?key={CANARY}", f"ftp://elsewhere/{CANARY}"])
def test_a_key_that_the_redirect_quotes_goes_neither_along_nor_into_the_error(location: str) -> None:
    transport = ScriptedTransport(reply(302, location=location), reply())

    async def main() -> str:
        headers = {"x-api-key": CANARY}
        async with AsyncAPIClient(HOST, client=transport, follow_redirects=True, headers=headers) as client:
            try:
                await client.request("GET", "/a")
            except APIClientError as error:
                return repr(vars(error))
        return ""

    assert CANARY not in run_virtual(main())
    carried = [CANARY in [*sent.headers.values()] for sent in transport.sent]
    assert carried == [True, False][: len(transport.sent)]


def test_redirects_in_a_circle_end() -> None:
    transport = ScriptedTransport(reply(302, location="/a"))

    async def main() -> None:
        async with AsyncAPIClient(HOST, client=transport, follow_redirects=True) as client:
            await client.request("GET", "/a")

    with pytest.raises(APIClientError, match="more than 10 times"):
        run_virtual(main())
    assert len(transport.sent) == 11
