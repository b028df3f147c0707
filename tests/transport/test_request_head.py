"""The bytes of a request up to its body: what a URL and headers become, and what they cannot smuggle in."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from callgate.errors import ConfigurationError
from callgate.transport.request_head import read_target, request_head


def head(
    url: str = "http://h.example/x",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    method: str = "GET",
    proxied: str | None = None,
) -> list[str]:
    made = request_head(method, read_target(url), headers or {}, body, proxied=proxied)
    assert made.endswith(b"\r\n\r\n")
    return made.decode().split("\r\n")[:-2]


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://h.example", "GET / HTTP/1.1", "h.example"),
        ("http://h.example:80/a", "GET /a HTTP/1.1", "h.example:80"),
        ("https://h.example:8443/a?b=c&d", "GET /a?b=c&d HTTP/1.1", "h.example:8443"),
        ("http://h.example?b=c#top", "GET /?b=c HTTP/1.1", "h.example"),
        ("http://[::1]:80/", "GET / HTTP/1.1", "[::1]:80"),
        ("http://h.example/a b/ü?q=ä ö", "GET /a%20b/%C3%BC?q=%C3%A4%20%C3%B6 HTTP/1.1", "h.example"),
        ("http://h.example/model/a%3A0/x:y@z", "GET /model/a%3A0/x:y@z HTTP/1.1", "h.example"),
        ("http://bücher.example/", "GET / HTTP/1.1", "xn--bcher-kva.example"),
    ],
)
def test_a_url_becomes_the_first_line_and_the_host(url: str, line: str, host: str) -> None:
    assert head(url)[:2] == [line, f"host: {host}"]


@pytest.mark.parametrize(
    "url",
    ["", "h.example", "/x", "ftp://h/", "http://", "http://u:p@h/", "http://u@h/", "http://:p@h/", "http://[::1",
     "http://h:99999/", "http://h example/", "http://h\r\nx:1/", "http://h%0d%0a/", "http://h\\x/", "//h/x",
     "http://h:0/", "https://h.example:0/", "http://h..example/", "http://.example/",
     f"http://{'a' * 64}.example/", f"http://h.{'a' * 64}/", f"http://{'ü' * 64}.example/"],
)  # fmt: skip
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        head(url)


@given(st.text(max_size=40))
def test_no_path_adds_a_line(path: str) -> None:
    try:
        lines = head(f"http://h.example/{path}")
    except ConfigurationError:
        return
    assert len(lines) == 5
    assert lines[0].count(" ") == 2
    assert lines[1] == "host: h.example"
    assert lines[0].isascii()


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=20), max_size=3))
def test_no_header_adds_a_line(headers: dict[str, str]) -> None:
    try:
        lines = head(headers=headers)
    except ConfigurationError:
        return
    names = {name.lower() for name in headers} - {"host", "content-length", "connection", "transfer-encoding"}
    assert len(lines) <= 5 + len(headers)
    assert {line.partition(":")[0] for line in lines[1:]} == names | {
        "host", "accept", "accept-encoding", "user-agent",
    }  # fmt: skip


def test_defaults_stand_unless_given() -> None:
    assert head()[2:] == ["accept: */*", "accept-encoding: gzip, deflate", "user-agent: callgate"]
    assert head(headers={"User-Agent": "me", "ACCEPT": "text/html"})[2:] == [
        "user-agent: me", "accept: text/html", "accept-encoding: gzip, deflate",
    ]  # fmt: skip


def test_what_follows_from_the_request_cannot_be_set_otherwise() -> None:
    """A length or an encoding of the caller's own would let one request be read as two."""
    lines = head(
        headers={"Host": "evil", "Content-Length": "0", "Transfer-Encoding": "chunked", "Connection": "x"},
        body=b"abc",
        method="POST",
    )
    assert lines[1] == "host: h.example"
    assert lines[-1] == "content-length: 3"
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", None, None),
        ("POST", None, "0"),
        ("PUT", b"", "0"),
        ("DELETE", None, None),
        ("GET", b"ab", "2"),
    ],
)
def test_content_length_is_sent_if_there_is_or_could_be_a_body(
    method: str, body: bytes | None, length: str | None
) -> None:
    told = [line for line in head(method=method, body=body) if line.startswith("content-length")]
    assert told == ([] if length is None else [f"content-length: {length}"])


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\nx: y", "G:T", "GET /evil"])
def test_a_method_that_is_none_is_refused(method: str) -> None:
    with pytest.raises(ConfigurationError):
        head(method=method)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="surrogate"):
        head(headers={"x-a": "\ud800"})


def test_a_proxy_is_asked_for_the_whole_url_with_its_own_credentials() -> None:
    lines = head("http://h.example:81/x?y", proxied="Basic abc")
    assert lines[0] == "GET http://h.example:81/x?y HTTP/1.1"
    assert lines[-1] == "proxy-authorization: Basic abc"
    assert not any(line.startswith("proxy-") for line in head("http://h.example/", proxied=""))
