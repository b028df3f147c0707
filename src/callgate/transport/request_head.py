"""Encodes the head of a request: its target, request line and headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, quote, urlsplit

from callgate.errors import ConfigurationError
from callgate.transport.keys import HiddenBytes, hide_user
from callgate.transport.origin import check_headers, name_to_look_up, origin_of, port_of

__all__ = ["Target", "read_target", "request_head"]

_IS_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
# Characters that are not encoded in a path or query, besides letters and digits; "%" begins an encoded one.
_SAFE = "/?%:@!$&'()*+,;=-._~[]|"
# These are computed from the request.
_COMPUTED = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_DEFAULTS = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "callgate"}


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The destination of a request: the address to connect to, and the path."""

    tls: bool
    host: str
    """For the name lookup; an IPv6 address without its brackets."""
    port: int
    path: str
    """With the query."""
    shown_host: str
    """For the Host header."""
    origin: str
    """For errors."""
    key: tuple[bool, str, int]
    """Connections with the same key serve the same requests."""


@lru_cache(maxsize=4096)
def read_target(url: str) -> Target:
    """The target of a URL, checked and encoded. A fragment is left out.

    Raises:
        ConfigurationError: the URL is not http or https, holds a user name or password, or has an invalid
            host or port.

    >>> read_target("http://[::1]:8000/a b?q=ü").path
    '/a%20b?q=%C3%BC'
    """
    url = hide_user(url)
    if _CONTROLS.search(url):  # urlsplit would drop it silently
        raise ConfigurationError("invalid URL: it holds a control character", setting="base_url")
    parts = _split(url)
    if parts is None:
        raise ConfigurationError("invalid host or port in URL", setting="base_url")
    host, port = parts.hostname, port_of(parts)
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("a URL must be http://HOST... or https://HOST...", setting="base_url")
    if parts.username is not None or parts.password is not None:
        parts = None  # a traceback may show the variables of this frame
        raise ConfigurationError(
            f"the URL at {origin_of(url)} holds a user name or password; use a header", setting="base_url"
        )
    name = name_to_look_up(host)
    tls = parts.scheme == "https"
    shown = f"[{name}]" if ":" in name else name
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    whole = quote(f"{path}?{parts.query}" if parts.query else path, safe=_SAFE)
    return Target(
        tls=tls,
        host=name,
        port=port,
        path=whole,
        shown_host=f"{shown}:{port}" if parts.port else shown,
        origin=f"{parts.scheme}://{shown}:{port}",
        key=(tls, name, port),
    )


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None if its host or port is invalid. No error then has a frame with a password."""
    try:
        parts = urlsplit(url)
        port_of(parts)
    except ValueError:
        return None
    return parts


def request_head(
    method: str, target: Target, headers: Mapping[str, str], body: bytes | None, *, proxied: str | None = None
) -> bytes:
    """The first line and the headers.

    Args:
        method, target, headers, body: The request. Host, Content-Length and similar headers are computed.
        proxied: The value of Proxy-Authorization ("" for none) for a request to an HTTP proxy; else None.

    Raises:
        ConfigurationError: the method or a header cannot be sent; the message shows no value.
    """
    try:
        head = _fixed_part(method, target, tuple(headers.items()), proxied)
    except TypeError:  # a value that is not hashable, and therefore no string
        check_headers(headers)
        raise
    if body is not None:
        return HiddenBytes(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
    return HiddenBytes(head + (b"content-length: 0\r\n\r\n" if method in _WITH_BODY else b"\r\n"))


# Most calls of a program differ only in their bodies.
@lru_cache(maxsize=512)
def _fixed_part(
    method: str, target: Target, headers: tuple[tuple[str, str], ...], proxied: str | None
) -> bytes:
    if not _IS_TOKEN(method):
        raise ConfigurationError(f"{method!r} is no HTTP method")
    path = target.path if proxied is None else f"http://{target.shown_host}{target.path}"
    lines = [f"{method} {path} HTTP/1.1", f"host: {target.shown_host}"]
    check_headers(dict(headers))
    missing = dict(_DEFAULTS)
    for given, value in headers:
        name = given.lower()
        missing.pop(name, None)
        if name not in _COMPUTED:
            lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in missing.items()]
    if proxied:
        lines.append(f"proxy-authorization: {proxied}")
    try:
        return HiddenBytes("".join(f"{line}\r\n" for line in lines).encode())
    except UnicodeEncodeError:
        lines.clear()  # a traceback may show the variables of this frame
        raise ConfigurationError("a header holds a lone surrogate", setting="headers") from None
