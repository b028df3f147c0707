"""The head of a request: its target, and its bytes up to the body."""

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
# Besides letters and digits, what a path or a query may hold; "%" because it is encoded already.
_SAFE = "/?%:@!$&'()*+,;=-._~[]|"
# These follow from the request itself.
_COMPUTED = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_DEFAULTS = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "callgate"}


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a request goes: the address to connect to, and the path to ask for."""

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
        ConfigurationError: no http or https URL, one with a user name or password, or an invalid host or
            port.

    >>> read_target("http://[::1]:8000/a b?q=ü").path
    '/a%20b?q=%C3%BC'
    """
    url = hide_user(url)
    if _CONTROLS.search(url):  # which urlsplit would drop silently
        raise ConfigurationError("invalid URL: it holds a control character", setting="base_url")
    parts = _split(url)
    if parts is None:
        raise ConfigurationError("invalid host or port in URL", setting="base_url")
    host, port = parts.hostname, port_of(parts)
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("a URL must be http://HOST... or https://HOST...", setting="base_url")
    if parts.username is not None or parts.password is not None:
        parts = None  # out of the frame that a traceback shows
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
    """The parts of a URL; None if its host or port is invalid. No frame of an error then holds a password."""
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
        return HiddenBytes(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
    return HiddenBytes(head + (b"content-length: 0\r\n\r\n" if method in _WITH_BODY else b"\r\n"))


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
        if name not in _COMPUTED:
            lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in missing.items()]
    if proxied:
        lines.append(f"proxy-authorization: {proxied}")
    try:
        return HiddenBytes("".join(f"{line}\r\n" for line in lines).encode())
    except UnicodeEncodeError:
        lines.clear()  # out of the frame that a traceback shows
        raise ConfigurationError("a header holds a lone surrogate", setting="headers") from None
