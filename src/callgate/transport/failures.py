"""The errors of the transport. They name the host, but no path, query or header."""

from __future__ import annotations

import ssl

from callgate.errors import (
    APIConnectionError,
    APITimeoutError,
    ResponseError,
    ResponseTooLargeError,
)
from callgate.transport.proxy import Proxy

__all__ = ["broken", "no_connection", "shut", "too_large", "too_late", "unreadable"]


def no_connection(origin: str, error: OSError, proxy: Proxy | None = None) -> APIConnectionError:
    """No connection could be opened, so nothing was sent."""
    where = origin if proxy is None else f"{origin} through the proxy {proxy.host}:{proxy.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return APIConnectionError(
            f"cannot connect to {where}: the certificate is not trusted ({error.verify_message})",
            retryable=False,
            surely_unsent=True,
            setting="verify",
            remedy="if it is signed by a private authority, name that one's file:",
        )
    why = error.strerror or str(error) or type(error).__name__
    return APIConnectionError(f"cannot connect to {where}: {why}", surely_unsent=True)


def broken(origin: str, error: Exception | None, *, begun: bool) -> APIConnectionError:
    """The connection was lost during an exchange; the server may have received the request."""
    why = (
        (getattr(error, "strerror", None) or str(error)) if error is not None else "closed by the other side"
    )
    when = "in the middle of its answer" if begun else "before its answer"
    return APIConnectionError(f"the connection to {origin} broke {when}: {why}")


def shut(origin: str, *, sent: bool = True) -> APIConnectionError:
    """The transport was closed, so a retry cannot succeed."""
    return APIConnectionError(
        f"the transport was closed before {origin} answered", retryable=False, surely_unsent=not sent
    )


def too_late(origin: str, seconds: float, *, connected: bool) -> APITimeoutError:
    """A timeout has passed."""
    what = "no complete answer" if connected else "no connection"
    return APITimeoutError(f"{what} from {origin} within {seconds:g} s", surely_unsent=not connected)


def unreadable(origin: str, why: str) -> ResponseError:
    """The response is not valid HTTP, or does not match its headers."""
    return ResponseError(f"{origin} sent what cannot be read: {why[:200]}")


def too_large(limit: int, origin: str) -> ResponseTooLargeError:
    """The decoded response exceeds the cap of `limit` bytes."""
    return ResponseTooLargeError(
        f"the answer of {origin} is larger than {limit:,} bytes once decoded; "
        "raise max_response_bytes if that is expected"
    )
