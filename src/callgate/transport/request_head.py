"""The bytes of a request up to its body, and where they go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit

from callgate.errors import ConfigurationError
from callgate.transport.origin import check_headers, name_to_look_up, origin_of, port_of

__all__ = ["Target", "read_target", "request_head"]

_IS_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
# Beside letters and digits: what a path or a query may hold as it is, "%" because it is encoded already.
_SAFE = "/?%:@!$&'()*+,;=-._~[]|"
# These follow from the request itself.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_DEFAULTS = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "callgate"}


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a request goes: whom to connect to, and what to ask for there."""

    tls: bool
    host: str
    """As it is looked up; an IPv6 address without its brackets."""
    port: int
    path: str
    """With its query."""
    shown_host: str
    """As the Host header has it."""
    origin: str
    """As errors show it."""
    key: tuple[bool, str, int]
    """Connections with the same key are the same to a request."""


@lru_cache(maxsize=4096)
def read_target(url: str) -> Target:
    """What a URL says, checked and encoded. A fragment is left out.

    Raises:
        ConfigurationError: no http or https URL, one with a user name or password, or with a host or port
            that nothing can have.

    >>> read_target("http://[::1]:8000/a b?q=ü").path
    '/a%20b?q=%C3%BC'
    """
    if _CONTROLS.search(url):  # which urlsplit would leave out without a word
        raise ConfigurationError("a URL holds a control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, port_of(parts)
    except ValueError:  # whose text may hold a piece of a password
        raise ConfigurationError("the host or the port of a URL is none") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("a URL must be http://HOST... or https://HOST...")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"the URL at {origin_of(url)} holds a user name or password; use a header")
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


def request_head(
    method: str, target: Target, headers: Mapping[str, str], body: bytes | None, *, proxied: str | None = None
) -> bytes:
    """The first line and the headers.

    Args:
        method, target, headers, body: The request. The headers that follow from it are set here.
        proxied: The value of Proxy-Authorization ("" for none), when a proxy is asked to fetch it.

    Raises:
        ConfigurationError: a method or header that cannot be sent; the message shows no value.
    """
    try:
        head = _fixed_part(method, target, tuple(headers.items()), proxied)
    except TypeError:  # something that is no string, and not even hashable
        check_headers(headers)
        raise
    if body is not None:
        return b"%bcontent-length: %d\r\n\r\n" % (head, len(body))
    return head + (b"content-length: 0\r\n\r\n" if method in _WITH_BODY else b"\r\n")


# Most calls of a program differ in nothing but their bodies.
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
        if name not in _OURS:
            lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in missing.items()]
    if proxied:
        lines.append(f"proxy-authorization: {proxied}")
    try:
        return "".join(f"{line}\r\n" for line in lines).encode()
    except UnicodeEncodeError:
        raise ConfigurationError("a header holds half a character (a lone surrogate)") from None
