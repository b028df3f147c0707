"""Headers by name in any case, merged, and without credentials."""

from __future__ import annotations

import pytest

from callgate.headers import Headers, mask_headers, merge_headers, without_credentials


def test_names_are_found_in_any_case() -> None:
    headers = Headers({"Retry-After": "3"})
    assert headers["RETRY-after"] == "3"
    assert headers.get("retry-after") == "3"
    assert "Retry-After" in headers
    assert dict(headers) == {"retry-after": "3"}


def test_a_missing_name_is_a_key_error_or_the_default() -> None:
    headers = Headers({})
    assert headers.get("x") is None
    assert headers.get("x", "none") == "none"
    assert 3 not in headers
    with pytest.raises(KeyError):
        _ = headers["x"]


def test_later_sources_win_and_lists_are_joined_once() -> None:
    merged = merge_headers(
        {"X-Beta": "a", "X-Team": "red"}, None, {"x-beta": "b, a", "x-team": "blue"}, joined={"x-beta"}
    )
    assert merged == {"x-beta": "a,b", "x-team": "blue"}


CREDENTIALS = [
    "Authorization",
    "x-api-key",
    "Cookie",
    "Set-Cookie",
    "X-Amz-Security-Token",
    "ocp-apim-subscription-key",
    "helicone-auth",
    "x-client-secret",
]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials_are_masked_or_left_out(name: str) -> None:
    headers = {name: "canary", "X-Request-Id": "r1"}
    assert mask_headers(headers) == {name: "***", "X-Request-Id": "r1"}
    assert without_credentials(headers) == {"x-request-id": "r1"}


def test_no_headers_are_an_empty_mapping() -> None:
    assert mask_headers(None) == without_credentials(None) == merge_headers(None) == {}
