"""Finds the proxy of a request: the given one, or one of the environment variables."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment

from callgate.errors import ConfigurationError
from callgate.reprs import live_repr
from callgate.transport.keys import Hidden, hide_user
from callgate.transport.origin import as_address, is_loopback, name_to_look_up, port_of
from callgate.transport.request_head import Target

__all__ = ["Proxies", "Proxy", "read_proxy"]

_SCHEMES: Final = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_WITH_PORT: Final = re.compile(r"\[(?P<v6>[^\]]+)\](:(?P<port6>\d+))?|(?P<host>[^:]+):(?P<port>\d+)")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy.

    Attributes:
        scheme: "http", "https" (TLS to the proxy), "socks4", "socks5", or "socks4a" and "socks5h" (the proxy
            looks up names).
        host, port: Its address.
        username, password: Its credentials; "" for none.
    """

    scheme: str
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_http(self) -> bool:
        """True if it forwards plain requests and opens tunnels by CONNECT."""
        return self.scheme in ("http", "https")

    @property
    def authorization(self) -> str:
        """The value of Proxy-Authorization; "" for none."""
        if not self.username:
            return ""
        pair = f"{self.username}:{self.password}"
        return Hidden(f"Basic {base64.b64encode(pair.encode()).decode()}")


def read_proxy(url: str, source: str = "proxy") -> Proxy:
    """The proxy at a URL; "HOST:PORT" means an HTTP proxy.

    Args:
        url: "http://user:password@proxy.example:3128", "socks5://127.0.0.1:1080".
        source: The origin of the URL, for the message.

    Raises:
        ConfigurationError: the scheme is unknown, or there is no host or port. The message does not show the
            URL.

    >>> read_proxy("socks5://me:secret@proxy.example")
    Proxy(scheme='socks5', host='proxy.example', port=1080)
    """
    proxy = _split(hide_user(url))
    if proxy is None or not proxy.host:
        url = "***"  # out of the frame that a traceback shows
        raise ConfigurationError(
            f"{source}: the URL must be SCHEME://HOST:PORT with one of the schemes {', '.join(_SCHEMES)}",
            setting="proxy",
        )
    return replace(proxy, host=name_to_look_up(proxy.host))


def _split(url: str) -> Proxy | None:
    """A function of its own, so that no frame of an error holds a password."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = port_of(parts) if parts.port is not None else _SCHEMES[parts.scheme]
        if parts.scheme not in _SCHEMES:
            return None
        user, password = Hidden(unquote(parts.username or "")), Hidden(unquote(parts.password or ""))
        return Proxy(parts.scheme, parts.hostname or "", port, user, password)
    except (ValueError, KeyError):
        return None


class Proxies:
    """The proxies in HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, and the exceptions in NO_PROXY.

    Requests to this machine use no proxy, so that their credentials do not reach another machine.

    NO_PROXY lists, with commas: host names, which cover their subdomains; "*.example.com"; addresses,
    networks ("10.0.0.0/8", "2001:db8::/32") and address patterns ("10.*"); any of these with ":PORT";
    "<local>" for names without a dot; "*" for everything.

    Args:
        variables: The proxies by scheme ("http", "https", "all") and the exceptions ("no"); None: those of
            the environment.

    >>> from callgate.transport.request_head import read_target
    >>> proxies = Proxies({"all": "http://proxy.example:3128", "no": "10.0.0.0/8"})
    >>> proxies.find(read_target("http://api.example.com/")).port
    3128
    >>> proxies.find(read_target("http://10.1.2.3/")) is None
    True
    """

    __slots__ = ("_exceptions", "_urls")

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._urls = {
            name: hide_user(url)
            for name, url in (getproxies_environment() if variables is None else variables).items()
        }
        entries = re.split(r"[\s,]+", self._urls.pop("no", ""))
        self._exceptions = [_read_exception(entry.lower()) for entry in entries if entry]

    def __bool__(self) -> bool:
        return bool(self._urls)

    def find(self, target: Target) -> Proxy | None:
        """The proxy for a target; None: connect directly.

        Raises:
            ConfigurationError: the URL of the proxy is invalid.
        """
        name = "https" if target.tls else "http"
        url = self._urls.get(name)
        if not url:
            name, url = "all", self._urls.get("all")
        address = as_address(target.host)
        if not url or is_loopback(target.host) or (address is not None and address.is_unspecified):
            return None
        if any(covers(target.host, address, target.port) for covers in self._exceptions):
            return None
        return read_proxy(url, f"environment variable {name}_proxy")

    @live_repr
    def __repr__(self) -> str:
        return f"<Proxies for {', '.join(sorted(self._urls)) or 'nothing'}>"


_Covers = Callable[[str, _Address | None, int], bool]


def _read_exception(entry: str) -> _Covers:
    """A function that returns True for the hosts, addresses and ports that an entry of NO_PROXY covers."""
    host = entry.rpartition("://")[2]
    port = None
    if with_port := _WITH_PORT.fullmatch(host):
        host = with_port["v6"] or with_port["host"]
        number = with_port["port6"] or with_port["port"]
        port = int(number) if number else None
    covers = _covers_host(host)
    return lambda name, address, its_port: port in (None, its_port) and covers(name, address)


def _covers_host(entry: str) -> Callable[[str, _Address | None], bool]:
    if entry == "*":
        return lambda name, address: True
    if entry == "<local>":
        return lambda name, address: address is None and "." not in name
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    else:
        return lambda name, address: address is not None and address in network
    if "*" in entry or "?" in entry:
        # "10.*" covers addresses, but no name such as 10.example.com.
        numeric = not re.search(r"[a-z]", entry)
        return lambda name, address: fnmatchcase(name, entry) and (address is not None or not numeric)
    suffix = entry.lstrip(".")
    try:
        suffix = suffix.encode("idna").decode()
    except UnicodeError:
        return lambda name, address: False
    return lambda name, address: name == suffix or (address is None and name.endswith(f".{suffix}"))
