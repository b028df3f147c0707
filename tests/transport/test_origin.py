"""Base URLs, origins, and what is refused before a request is sent."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from callgate.errors import (
    ConfigurationError,
)
from callgate.transport.http import HttpTransport
from callgate.transport.origin import check_base_url, check_headers, is_loopback, origin_of
from callgate.transport.proxy import Proxies
from callgate.transport.request_head import read_target

CANARY = "sk-canary-77aa"


@pytest.mark.parametrize("name", ["", "x tag", "x:tag", "x\r\ntag", "tag\0"])
def test_a_header_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_headers({name: "1"})


def test_a_header_value_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"x-n.*int"):
        check_headers({"x-n": 1})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "no-url"),
        ("GET", "ftp://127.0.0.1/"),
        ("GET", "http://[::1"),
        ("GET", "http://127.0.0.1:99999/"),
        ("GET", "http://127.0.0.1:0/"),
        ("GET", f"http://{'a' * 64}.example/"),
        ("GE T", "http://127.0.0.1:9/"),
    ],
)
def test_what_cannot_be_asked_for_is_a_configuration_error(method: str, url: str) -> None:
    async def main() -> None:
        transport = HttpTransport()
        with pytest.raises(ConfigurationError):
            await transport.send(method, url, {})
        await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        (f"https://{'a' * 63}.example", f"https://{'a' * 63}.example"),
        ("https://api.example.com.", "https://api.example.com."),
    ],
)
def test_base_urls_that_may_be_used(given: str, used: str) -> None:
    assert check_base_url(given) == used


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0:80",
        "ftp://api.example.com",
        "api.example.com/v1",
        "https://",
        "https://[::1",
        "https://host:port",
        "https://api.example.com:0",
        "http://localhost:0/v1",
        f"https://{'a' * 64}.example.com",
        "https://api..example.com",
        "https://api!.example.com",
        "https://token@api.example.com",
        "https://:secret@api.example.com",
        "https://api.example.com/a b",
        "https://api.example.com/\r\nx",
        "https://api.example.com?key=1",
        "https://api.example.com#top",
        "",
        None,
    ],
)
def test_base_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        check_base_url(url)


def test_a_base_url_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match=r"api\.example\.com") as caught:
        check_base_url(f"https://user:{CANARY}@api.example.com")
    assert CANARY not in str(caught.value)


def test_a_password_with_a_slash_is_not_shown_as_a_port() -> None:
    url = f"https://user:{CANARY}/x@api.example.com"
    for refuse in (
        lambda: check_base_url(url),
        lambda: read_target(url),
        lambda: Proxies({"all": url}).find(read_target("http://api.example.com/")),
    ):
        with pytest.raises(ConfigurationError) as caught:
            refuse()
        assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_plain_http_to_another_machine_must_be_asked_for() -> None:
    assert check_base_url("http://10.0.0.5:8000/v1", allow_http=True) == "http://10.0.0.5:8000/v1"


def test_an_origin_shows_neither_path_nor_password() -> None:
    assert origin_of(f"https://u:{CANARY}@h.example/{CANARY}?k={CANARY}") == "https://h.example:443"
    assert origin_of("http://[::1]:80/") == "http://[::1]:80"
    assert origin_of("https://h.example:0/") == "an unreadable URL"
    assert origin_of("nonsense") == "a URL without a host"


def test_loopback_is_this_machine_only() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "localhost", "a.localhost", "localhost."]))
    assert is_loopback("::ffff:127.0.0.1")
    assert not any(map(is_loopback, ["10.0.0.1", "0.0.0.0", "localhost.example.com", "example.com", ""]))
