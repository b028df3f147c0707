"""Checks of URLs, hosts and headers. They run when a setting is given, before anything is sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from callgate.errors import ConfigurationError
from callgate.transport.keys import Hidden, hide_user

__all__ = [
    "as_address",
    "check_base_url",
    "check_headers",
    "is_loopback",
    "name_to_look_up",
    "origin_of",
    "port_of",
]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN_IN_VALUE = re.compile(r"[\r\n\0]")
_NO_CONTROLS = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[0-9A-Za-z._-]+|[0-9A-Fa-f:.]+(%[0-9A-Za-z._-]+)?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_base_url(url: str, allow_http: bool = False) -> str:
    """The URL without a slash at its end, checked: API keys may be sent to it.

    Args:
        url: The base URL of requests; it may have a path.
        allow_http: Permit plain HTTP to other machines.

    Raises:
        ConfigurationError: `url` is not an HTTP URL, holds a user or password, or would send keys
            unencrypted.

    >>> check_base_url("https://api.openai.com/v1/")
    'https://api.openai.com/v1'
    >>> check_base_url("http://127.0.0.1:8000")
    'http://127.0.0.1:8000'
    """
    url = hide_user(url)
    if not isinstance(url, str) or not _NO_CONTROLS.fullmatch(url):
        raise ConfigurationError(
            "the base URL must be a string without blanks or control characters", setting="base_url"
        )
    scheme, host, problem = _split(url)
    if scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            problem or "the base URL must start with https://HOST (or http:// on this machine)",
            setting="base_url",
        )
    name_to_look_up(host)
    if problem:
        raise ConfigurationError(f"the base URL for {host} {problem}", setting="base_url")
    if scheme == "http" and not allow_http and not is_loopback(host):
        raise ConfigurationError(
            f"http://{host} would send keys in the clear",
            setting="allow_http",
            remedy="use https://, or to allow it set",
        )
    return url.rstrip("/")


def _split(url: str) -> tuple[str, str | None, str]:
    """Scheme, host, and the problem if any. Separate, so that no frame of an error holds a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, port_of(parts)
    except ValueError:
        return "", None, "invalid host or port in the base URL"
    if parts.username is not None or parts.password is not None:
        return parts.scheme, host, "must not hold a user name or password; send these in a header"
    if parts.query or parts.fragment:
        return parts.scheme, host, "must not hold a query or a fragment"
    return parts.scheme, host, ""


def name_to_look_up(host: str) -> str:
    """The host of a URL in ASCII; an IPv6 address has no brackets.

    Raises:
        ConfigurationError: the name is invalid: a label is empty or longer than 63 characters, or it holds an
            invalid character.

    >>> name_to_look_up("bücher.example")
    'xn--bcher-kva.example'
    """
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        name = ""
    if not _HOST.fullmatch(name):
        raise ConfigurationError(f"invalid host in URL: {host[:80]!r}", setting="base_url")
    return name


def port_of(parts: SplitResult) -> int:
    """The port of a URL, or the default of its scheme.

    Raises:
        ValueError: the port is invalid.
    """
    port = parts.port
    if port == 0:
        raise ValueError("port 0 cannot be reached")
    return port or _DEFAULT_PORTS.get(parts.scheme, 80)


def is_loopback(host: str) -> bool:
    """True if a name or address is the loopback of this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost.example.com")
    (True, False)
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = as_address(name)
    return address is not None and address.is_loopback


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address of a host that is an address, without its zone; None for a name.

    >>> as_address("::ffff:10.0.0.1"), as_address("example.com")
    (IPv4Address('10.0.0.1'), None)
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def check_headers(headers: Mapping[str, str]) -> None:
    """Check that headers can be sent and none injects another one.

    Raises:
        ConfigurationError: a name is not a token, or a value is not a string or holds CR, LF or NUL. The
            message names the header and does not show the value.

    >>> check_headers({"x-tag": "blue\\r\\nx-admin: 1"})
    Traceback (most recent call last):
        ...
    callgate.errors.ConfigurationError: the value of header 'x-tag' holds a line break or NUL
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"invalid header name {name!r}", setting="headers")
        if not isinstance(value, str):
            raise ConfigurationError(
                f"the value of header {name!r} must be a string, got {type(value).__name__}",
                setting="headers",
            )
        if _FORBIDDEN_IN_VALUE.search(value):
            value = Hidden(value)  # out of the frame that a traceback shows
            raise ConfigurationError(
                f"the value of header {name!r} holds a line break or NUL", setting="headers"
            )


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL: the part that may be shown, and that credentials belong to.

    >>> origin_of("https://user:secret@api.example.com/v1?key=secret")
    'https://api.example.com:443'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, port_of(parts)
    except ValueError:
        return "an unreadable URL"
    if not host:
        return "a URL without a host"
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port}"
