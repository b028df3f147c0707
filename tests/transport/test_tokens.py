"""Tokens of Google and of Entra ID: fetched once for all, renewed ahead, and typed when they fail."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from callgate.errors import APIConnectionError, AuthenticationError, ConfigurationError
from callgate.transport.auth import Auth
from callgate.transport.tokens import EntraAuth, GoogleAuth
from tests.documents.http_service import HttpService, Request

CANARY = "sk-canary-5f3a"


def account(url: str) -> tuple[dict[str, str], rsa.RSAPublicKey]:
    """A service account with a key of its own, and its public key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = {
        "type": "service_account",
        "client_email": "robot@project.example",
        "private_key": private.decode(),
        "token_uri": url,
    }
    return info, key.public_key()


class Token:
    """In place of credentials of google-auth: counts the fetches, can fail and can be slow."""

    def __init__(self, wall: Callable[[], float], lasts: float = 3600.0) -> None:
        self.count = 0
        self.token = ""
        self.expiry: Any = None
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self._wall = wall
        self._lasts = lasts

    def refresh(self, request: object) -> None:
        from datetime import UTC, datetime

        assert threading.current_thread() is not threading.main_thread()
        self.gate.wait(5)
        if self.error is not None:
            raise self.error
        self.count += 1
        self.token = f"token-{self.count}"
        self.expiry = datetime.fromtimestamp(self._wall() + self._lasts, UTC).replace(tzinfo=None)


class SettableClocks:
    """A wall clock and a monotonic one that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return self.now + 1.7e9

    def monotonic(self) -> float:
        return self.now


async def bearer(auth: Auth) -> str:
    headers = auth.ready()
    if headers is None:
        headers = await auth.headers("POST", "https://h.example/", b"")
    return headers["authorization"].removeprefix("Bearer ")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a thread."""
    while not condition():
        await asyncio.sleep(0.001)


def test_one_fetch_serves_all_calls_that_wait_for_the_first_token() -> None:
    times = SettableClocks()
    token = Token(times.wall)

    async def main() -> list[str]:
        auth = GoogleAuth(token, wall_clock=times.wall, clock=times.monotonic)
        assert auth.ready() is None
        return await asyncio.gather(*(bearer(auth) for _ in range(100)))

    assert asyncio.run(main()) == ["token-1"] * 100
    assert token.count == 1


@pytest.mark.parametrize(("lasts", "ahead"), [(3600.0, 300.0), (100.0, 50.0)], ids=["an hour", "short"])
def test_a_new_token_is_fetched_ahead_while_the_old_one_is_valid(lasts: float, ahead: float) -> None:
    times = SettableClocks()
    token = Token(times.wall, lasts)

    async def main() -> None:
        auth = GoogleAuth(token, wall_clock=times.wall, clock=times.monotonic)
        await bearer(auth)
        times.now += lasts - ahead - 1
        assert auth.ready() is not None
        assert token.count == 1  # not yet
        times.now += 2
        token.gate.clear()
        assert [await bearer(auth) for _ in range(50)] == ["token-1"] * 50  # without waiting
        token.gate.set()
        await until(lambda: token.count == 2 and auth.ready() == {"authorization": "Bearer token-2"})
        assert [await bearer(auth) for _ in range(50)] == ["token-2"] * 50

    asyncio.run(main())
    assert token.count == 2


def test_an_ended_token_is_never_used() -> None:
    times = SettableClocks()
    token = Token(times.wall)

    async def main() -> None:
        auth = GoogleAuth(token, wall_clock=times.wall, clock=times.monotonic)
        await bearer(auth)
        times.now += 3600
        assert await bearer(auth) == "token-2"

    asyncio.run(main())


def test_a_failed_renewal_in_the_background_is_not_tried_by_every_call() -> None:
    import google.auth.exceptions

    times = SettableClocks()
    token = Token(times.wall)

    async def main() -> None:
        auth = GoogleAuth(token, wall_clock=times.wall, clock=times.monotonic)
        await bearer(auth)
        token.error = google.auth.exceptions.TransportError("down")
        times.now += 3400
        assert [await bearer(auth) for _ in range(10)] == ["token-1"] * 10
        times.now += 31
        token.error = None
        await until(lambda: auth.ready() == {"authorization": "Bearer token-2"})

    asyncio.run(main())
    assert token.count == 2


def test_a_cancelled_waiter_does_not_cancel_the_fetch_for_others() -> None:
    times = SettableClocks()
    token = Token(times.wall)
    token.gate.clear()

    async def main() -> None:
        auth = GoogleAuth(token, wall_clock=times.wall, clock=times.monotonic)
        first, second = (asyncio.create_task(bearer(auth)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        token.gate.set()
        assert await second == "token-1"

    asyncio.run(main())
    assert token.count == 1


def test_google_errors_are_typed() -> None:
    import google.auth.exceptions

    times = SettableClocks()
    token = Token(times.wall)
    auth = GoogleAuth(token, wall_clock=times.wall, clock=times.monotonic)
    token.error = google.auth.exceptions.RefreshError("invalid_grant: no such account", {"error": "x"})
    with pytest.raises(AuthenticationError, match="invalid_grant"):
        asyncio.run(bearer(auth))
    token.error = google.auth.exceptions.TransportError("connection refused")
    with pytest.raises(APIConnectionError) as caught:
        asyncio.run(bearer(auth))
    assert caught.value.surely_unsent


def test_a_token_comes_from_the_endpoint_that_the_service_account_names() -> None:
    """With an assertion that the account's own key has signed."""
    info, public = account("to be told")

    def issue(request: Request) -> tuple[int, dict[str, str], dict[str, object]]:
        assertion = parse_qs(request.body.decode())["assertion"][0]
        signed, _, signature = assertion.rpartition(".")
        public.verify(
            base64.urlsafe_b64decode(signature + "=="), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        assert claims["iss"] == info["client_email"]
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        return 200, {}, {"access_token": "ya29.token", "expires_in": 3600, "token_type": "Bearer"}

    async def main() -> None:
        async with HttpService(issue) as service:
            auth = GoogleAuth({**info, "token_uri": f"{service.url}/token"})
            assert [await bearer(auth) for _ in range(3)] == ["ya29.token"] * 3
            assert len(service.requests) == 1
            assert "ya29" not in repr(auth)

    asyncio.run(main())


@pytest.mark.parametrize("field", ["client_email", "private_key", "token_uri"])
def test_a_service_account_that_lacks_a_field_is_refused(field: str) -> None:
    info, _ = account("http://127.0.0.1:9/token")
    del info[field]
    with pytest.raises(ConfigurationError, match=field):
        GoogleAuth(info)


def test_a_private_key_that_is_none_is_not_shown() -> None:
    info, _ = account("http://127.0.0.1:9/token")
    with pytest.raises(ConfigurationError, match="private_key") as caught:
        GoogleAuth({**info, "private_key": CANARY})
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


# -- Entra ID

SCOPE = "https://cognitiveservices.azure.com/.default"


class Credential:
    """In place of a credential of azure-identity."""

    def __init__(self, wall: Callable[[], float], lasts: float = 3600.0) -> None:
        self.scopes: list[str] = []
        self.error: Exception | None = None
        self._wall = wall
        self._lasts = lasts

    def get_token(self, scope: str) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        if self.error is not None:
            raise self.error
        self.scopes.append(scope)
        return SimpleNamespace(token=f"entra-{len(self.scopes)}", expires_on=self._wall() + self._lasts)


def test_a_token_of_entra_is_fetched_once_and_renewed() -> None:
    times = SettableClocks()
    credential = Credential(times.wall)
    auth = EntraAuth(SCOPE, credential, wall_clock=times.wall, clock=times.monotonic)

    async def main() -> None:
        assert await asyncio.gather(*(bearer(auth) for _ in range(20))) == ["entra-1"] * 20
        times.now += 3600
        assert await bearer(auth) == "entra-2"

    asyncio.run(main())
    assert credential.scopes == [SCOPE, SCOPE]
    assert "entra-" not in repr(auth)


def test_a_function_that_returns_tokens_is_asked_again_after_a_minute() -> None:
    times = SettableClocks()
    given: list[str] = []

    def provide() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    auth = EntraAuth(SCOPE, provide, wall_clock=times.wall, clock=times.monotonic)
    assert [asyncio.run(bearer(auth)) for _ in range(2)] == ["token-0"] * 2
    times.now += 61
    assert asyncio.run(bearer(auth)) == "token-1"


def test_errors_of_entra_are_typed() -> None:
    exceptions = pytest.importorskip("azure.core.exceptions")
    credential = Credential(lambda: 0.0)
    auth = EntraAuth(SCOPE, credential)
    credential.error = exceptions.ClientAuthenticationError("no managed identity")
    with pytest.raises(AuthenticationError, match="no managed identity"):
        asyncio.run(bearer(auth))
    credential.error = exceptions.ServiceRequestError("connection refused")
    with pytest.raises(APIConnectionError) as caught:
        asyncio.run(bearer(auth))
    assert caught.value.surely_unsent


def test_the_default_credential_is_that_of_azure_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = pytest.importorskip("azure.identity")
    monkeypatch.setattr(identity, "DefaultAzureCredential", lambda: Credential(lambda: 0.0))
    assert asyncio.run(bearer(EntraAuth(SCOPE))) == "entra-1"


def test_without_azure_identity_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(ConfigurationError, match=r"callgate\[azure\]"):
        EntraAuth(SCOPE)


def test_a_credential_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="get_token"):
        EntraAuth(SCOPE, "a key")
