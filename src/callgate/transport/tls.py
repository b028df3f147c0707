"""The SSL contexts of connections: trusted authorities and the client certificate."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from callgate.errors import ConfigurationError

__all__ = ["tls_maker"]


def tls_maker(
    verify: bool | str | Path | ssl.SSLContext, client_cert: str | Path | Sequence[str | Path] | None
) -> Callable[[], ssl.SSLContext]:
    """A function that returns the SSL context of connections, created on first use.

    Args:
        verify, client_cert: As for `HttpTransport`. Files are read now.

    Raises:
        ConfigurationError: a file cannot be read, or the two settings exclude each other.
    """
    if isinstance(verify, ssl.SSLContext):
        if client_cert is not None:
            raise ConfigurationError("load client_cert into the given SSLContext", setting="client_cert")
        return lambda: verify
    if not isinstance(verify, bool | str | Path):
        raise ConfigurationError(
            f"verify must be a bool, a path or an SSLContext, got {type(verify).__name__}", setting="verify"
        )
    if client_cert is None:
        certificate: tuple[str, ...] = ()
    elif isinstance(client_cert, str | Path):
        certificate = (os.fspath(client_cert),)
    else:
        certificate = tuple(os.fspath(part) for part in client_cert)
        if not 1 <= len(certificate) <= 3:
            raise ConfigurationError(
                "client_cert must be a path, (certificate, key) or (certificate, key, password)",
                setting="client_cert",
            )
    chosen = verify if isinstance(verify, bool) else os.fspath(verify)
    if certificate or not isinstance(chosen, bool):
        _context(chosen, certificate)
    return lambda: _context(chosen, certificate)


@lru_cache(maxsize=16)
def _context(verify: bool | str, certificate: tuple[str, ...]) -> ssl.SSLContext:
    """The context of these settings. It is cached, because reading the authorities takes 20 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif verify is not True:
        try:
            if os.path.isdir(verify):
                context.load_verify_locations(capath=verify)
            else:
                context.load_verify_locations(verify)
        except OSError as error:  # an SSLError is one, too
            why = error.strerror or str(error)
            raise ConfigurationError(
                f"verify: cannot read authorities from {verify!r}: {why}", setting="verify"
            ) from None
    if certificate:
        file, key, password = (*certificate, "", "")[:3]
        try:
            # An empty password, because without one OpenSSL reads it from the terminal.
            context.load_cert_chain(file, key or None, password)
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigurationError(
                f"client_cert: cannot read a certificate and its key from '{certificate[0]}': {why}",
                setting="client_cert",
            ) from None
    return context
