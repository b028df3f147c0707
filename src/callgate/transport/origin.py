"""Where requests may go and what headers they may carry: checked when set, not only when sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from callgate.errors import ConfigurationError

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
    """The URL without a slash at its end, when keys may be sent below it.

    Args:
        url: Where requests go; a path may follow the host.
        allow_http: Permit plain HTTP to hosts other than this machine's own: it is meant, or no key is sent.

    Raises:
        ConfigurationError: it is no HTTP URL, holds a user or a password, or would send keys in the clear.

    >>> check_base_url("https://api.openai.com/v1/")
    'https://api.openai.com/v1'
    >>> check_base_url("http://127.0.0.1:8000")
    'http://127.0.0.1:8000'
    """
    if not isinstance(url, str) or not _NO_CONTROLS.fullmatch(url):
        raise ConfigurationError(
            "the base URL must be a string without blanks or control characters", setting="base_url"
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, port_of(parts)
    except ValueError:  # whose text may hold a piece of a password
        raise ConfigurationError("invalid host or port in the base URL", setting="base_url") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            "the base URL must start with https://HOST (or http:// on this machine)", setting="base_url"
        )
    name_to_look_up(host)
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"the base URL for {host} holds a user name or password; send these in a header",
            setting="base_url",
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"the base URL for {host} must not hold a query or a fragment", setting="base_url"
        )
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        raise ConfigurationError(
            f"http://{host} would send keys in the clear",
            setting="allow_http",
            remedy="use https://, or to allow it set",
        )
    return url.rstrip("/")


def name_to_look_up(host: str) -> str:
    """The host of a URL in ASCII; an IPv6 address has no brackets.

    Raises:
        ConfigurationError: nothing can have this name: a part of it is empty or longer than 63 characters,
            or it holds what no name may.

    >>> name_to_look_up("bücher.example")
    'xn--bcher-kva.example'
    """
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        name = ""
    if not _HOST.fullmatch(name):
        raise ConfigurationError(f"the host of a URL, {host[:80]!r}, is no name that can be looked up")
    return name


def port_of(parts: SplitResult) -> int:
    """The port of a URL, or the one that belongs to its scheme.

    Raises:
        ValueError: it is none.
    """
    port = parts.port
    if port == 0:
        raise ValueError("nothing can be reached at port 0")
    return port or _DEFAULT_PORTS.get(parts.scheme, 80)


def is_loopback(host: str) -> bool:
    """Whether a name or address is the loopback of this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost.example.com")
    (True, False)
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = as_address(name)
    return address is not None and address.is_loopback


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is, without a zone; None for a name.

    >>> as_address("::ffff:10.0.0.1"), as_address("example.com")
    (IPv4Address('10.0.0.1'), None)
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that cannot be sent or would smuggle in another one.

    Raises:
        ConfigurationError: a name that is no token; a value that is no string or holds CR, LF or NUL. The
            message names the header and never shows the value.

    >>> check_headers({"x-tag": "blue\\r\\nx-admin: 1"})
    Traceback (most recent call last):
        ...
    callgate.errors.ConfigurationError: the value of header 'x-tag' holds a line break or NUL
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"{name!r} is no header name")
        if not isinstance(value, str):
            raise ConfigurationError(
                f"the value of header {name!r} is a {type(value).__name__}, not a string"
            )
        if _FORBIDDEN_IN_VALUE.search(value):
            raise ConfigurationError(f"the value of header {name!r} holds a line break or NUL")


def origin_of(url: str) -> str:
    """Scheme, host and port: what may be shown of a URL, and within which credentials stay.

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
