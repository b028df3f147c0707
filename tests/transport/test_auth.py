"""Who is asking: static keys, AWS signatures against a second implementation, Google tokens shared by all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import botocore.credentials
import botocore.session
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from callgate.errors import APIConnectionError, AuthenticationError, ConfigurationError
from callgate.transport.auth import Auth, GoogleAuth, HeaderFactory, SigV4Auth, StaticAuth
from callgate.transport.keys import read_key
from tests.documents.http_service import HttpService, Request

CANARY = "sk-canary-5f3a"

# -- keys


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        ("bearer", {"authorization": f"Bearer {CANARY}"}),
        ("Bearer", {"authorization": f"Bearer {CANARY}"}),
        ("x-api-key", {"x-api-key": CANARY}),
        ("x-goog-api-key", {"x-goog-api-key": CANARY}),
        ("api-key", {"api-key": CANARY}),
    ],
)
def test_a_static_key_is_ready_at_once(scheme: str, headers: dict[str, str]) -> None:
    auth = StaticAuth(scheme, CANARY)
    assert auth.ready() == headers
    assert asyncio.run(auth.headers("GET", "https://h.example/", None)) == headers
    assert CANARY not in repr(auth)


def test_basic_auth_encodes_user_and_password() -> None:
    headers = StaticAuth("basic", "user:pass").ready()
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"user:pass"


def test_no_auth_needs_no_key_and_all_others_do() -> None:
    assert StaticAuth("none").ready() == {}
    with pytest.raises(ConfigurationError, match="api_key"):
        StaticAuth("bearer")


@pytest.mark.parametrize("evil", ["a\r\nb", "a\nb", "a\0"])
def test_a_key_with_a_line_break_is_refused_and_not_shown(evil: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StaticAuth("x-api-key", CANARY + evil)
    assert CANARY not in str(caught.value)


def test_a_key_is_read_from_the_variable_that_is_named() -> None:
    assert read_key("MY_KEY", {"MY_KEY": CANARY}) == CANARY
    assert read_key(CANARY, {}) == CANARY
    assert read_key(None, {}) is None
    with pytest.raises(ValueError, match="MY_KEY"):
        read_key("MY_KEY", {})
    with pytest.raises(ValueError, match="MY_KEY"):
        read_key("MY_KEY", {"MY_KEY": ""})


def test_header_factory_puts_content_type_credential_and_defaults_together() -> None:
    headers = HeaderFactory.get_header(
        auth_type="bearer",
        content_type="application/json",
        api_key=CANARY,
        default_headers={"User-Agent": "me"},
    )
    assert headers == {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {CANARY}",
        "User-Agent": "me",
    }
    assert HeaderFactory.get_header("none", None) == {}
    with pytest.raises(ValueError, match="needs a key"):
        HeaderFactory.get_header("bearer")
    with pytest.raises(ValueError, match="line break"):
        HeaderFactory.get_header("none", default_headers={"x": "a\r\nb"})


# -- AWS


def signature_of(method: str, url: str, body: bytes, headers: Mapping[str, str], secret: str) -> str:
    """The signature as AWS's specification describes it; botocore is not asked."""
    parts = urlsplit(url)
    given = dict(field.split("=", 1) for field in headers["Authorization"].partition(" ")[2].split(", "))
    scope = given["Credential"].split("/", 1)[1]
    names = given["SignedHeaders"].split(";")
    values = {**{name.lower(): value for name, value in headers.items()}, "host": parts.netloc}
    canonical = "\n".join(
        [
            method,
            quote(parts.path, safe="/~"),
            parts.query,
            *(f"{name}:{values[name]}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", values["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    assert given["Signature"] == hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    return given["Signature"]


@pytest.mark.parametrize("token", [None, "session-token"])
@pytest.mark.parametrize("path", ["/model/meta.llama3/converse", "/model/anthropic.claude%3A0/invoke", "/"])
def test_an_aws_signature_is_what_the_specification_says(path: str, token: str | None) -> None:
    auth = SigV4Auth("us-west-2", access_key="AKIDEXAMPLE", secret_key=CANARY, session_token=token)
    url, body = f"https://bedrock-runtime.us-west-2.amazonaws.com{path}", b'{"a": 1}'
    assert auth.ready() is None  # a signature is for one request
    headers = asyncio.run(auth.headers("POST", url, body))
    signature_of("POST", url, body, headers, CANARY)
    assert "/us-west-2/bedrock/aws4_request" in headers["Authorization"]
    assert headers.get("X-Amz-Security-Token") == token
    assert CANARY not in repr(auth) + str(headers)


def test_aws_needs_both_keys_or_neither() -> None:
    with pytest.raises(ConfigurationError, match="both"):
        SigV4Auth("us-east-1", access_key="AKIDEXAMPLE")


def test_aws_keys_come_from_the_environment_when_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    headers = asyncio.run(SigV4Auth("us-east-1").headers("GET", "https://h.example/", None))
    assert "Credential=AKIDFROMENV/" in headers["Authorization"]
    signature_of("GET", "https://h.example/", b"", headers, CANARY)


def test_missing_aws_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda self: None)
    with pytest.raises(AuthenticationError, match="AWS_ACCESS_KEY_ID"):
        asyncio.run(SigV4Auth("us-east-1").headers("GET", "https://h.example/", None))


def test_an_unknown_aws_profile_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(AuthenticationError, match="nobody"):
        asyncio.run(SigV4Auth("us-east-1", profile="nobody").headers("GET", "https://h.example/", None))


def test_aws_keys_that_expire_are_renewed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    renewals = 0

    class Ending(botocore.credentials.Credentials):  # type: ignore[misc]
        def refresh_needed(self) -> bool:
            return renewals == 0

        def get_frozen_credentials(self) -> Any:
            nonlocal renewals
            if renewals == 0:
                # The loop must not be the one that waits for the instance's metadata service.
                assert threading.current_thread() is not threading.main_thread()
                renewals += 1
            return super().get_frozen_credentials()

    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda self: Ending("AKID", CANARY))

    async def main() -> None:
        auth = SigV4Auth("us-east-1")
        await asyncio.gather(*(auth.headers("GET", "https://h.example/", None) for _ in range(20)))

    asyncio.run(main())
    assert renewals == 1


# -- Google


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
    """Stands where google-auth's credentials stand: counts, may fail, may be slow."""

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
    """Wait for what a thread does."""
    while not condition():
        await asyncio.sleep(0.001)


def test_one_fetch_serves_all_who_wait_for_the_first_token() -> None:
    times = SettableClocks()
    token = Token(times.wall)

    async def main() -> list[str]:
        auth = GoogleAuth(token, wall_clock=times.wall, clock=times.monotonic)
        assert auth.ready() is None
        return await asyncio.gather(*(bearer(auth) for _ in range(100)))

    assert asyncio.run(main()) == ["token-1"] * 100
    assert token.count == 1


@pytest.mark.parametrize(("lasts", "ahead"), [(3600.0, 300.0), (100.0, 50.0)], ids=["an hour", "short"])
def test_a_new_token_is_fetched_ahead_while_the_old_one_serves(lasts: float, ahead: float) -> None:
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
        assert [await bearer(auth) for _ in range(50)] == ["token-1"] * 50  # nobody waits
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


def test_a_renewal_that_fails_behind_the_scenes_is_not_tried_by_every_call() -> None:
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


def test_who_is_cancelled_while_waiting_for_a_token_does_not_spoil_it_for_others() -> None:
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
def test_a_service_account_that_lacks_a_field_is_told_so(field: str) -> None:
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
