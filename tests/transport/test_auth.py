"""Authentication: static keys, and AWS signatures against a second implementation."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import botocore.credentials
import botocore.session
import pytest

from callgate.errors import AuthenticationError, ConfigurationError
from callgate.transport.auth import HeaderFactory, SigV4Auth, StaticAuth
from callgate.transport.keys import read_key

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


def test_missing_aws_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda self: None)
    with pytest.raises(AuthenticationError, match="AWS_ACCESS_KEY_ID"):
        asyncio.run(SigV4Auth("us-east-1").headers("GET", "https://h.example/", None))


def test_an_unknown_aws_profile_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
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
