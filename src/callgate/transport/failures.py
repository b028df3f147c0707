"""What went wrong below us, in our own words: pyreqwest's errors as callgate's."""

from __future__ import annotations

from pyreqwest.exceptions import (
    BuilderError,
    ClientClosedError,
    DetailedPyreqwestError,
    NetworkError,
    PyreqwestError,
    RequestTimeoutError,
)

from callgate.errors import (
    APIClientError,
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ResponseError,
    ResponseTooLargeError,
)
from callgate.transport.origin import origin_of

__all__ = ["too_large", "translate"]

# pyreqwest tells the phase of a failure only by the messages of its causes: the class ConnectError covers a
# refused connection and one that was reset after the request had been sent, and a total timeout raises
# ConnectTimeoutError whatever it interrupted.
_WHILE_CONNECTING = "client error (Connect)"
_CONNECTION_BROKE = "error reading a body from connection"


def translate(error: PyreqwestError, url: str) -> APIClientError | ConfigurationError:
    """Our error for one of pyreqwest's, without what could be a secret in it."""
    details = error.details if isinstance(error, DetailedPyreqwestError) else None
    causes = [cause["message"] for cause in (details and details["causes"]) or ()]
    where, why = origin_of(url), causes[-1] if causes else error.message
    # The first cause may quote the URL; the innermost one is the system's or the parser's own words.
    why = error.message if "url (" in why else why
    unsent = _WHILE_CONNECTING in causes
    if isinstance(error, BuilderError):
        return ConfigurationError(f"the request to {where} cannot be sent: {why}")
    if isinstance(error, RequestTimeoutError):
        what = "no connection" if unsent else "no complete answer"
        return APITimeoutError(f"{what} from {where} in time", surely_unsent=unsent)
    if unsent:
        return APIConnectionError(f"cannot connect to {where}: {why}", surely_unsent=True)
    if isinstance(error, ClientClosedError):
        return APIConnectionError(f"the transport was closed before {where} answered", retryable=False)
    if not isinstance(error, NetworkError) and _CONNECTION_BROKE not in causes:
        return ResponseError(f"{where} sent what cannot be read: {why}")
    return APIConnectionError(f"the connection to {where} broke: {why}")


def too_large(limit: int, url: str) -> ResponseTooLargeError:
    """The decoded answer has passed the cap of `limit` bytes."""
    return ResponseTooLargeError(
        f"the answer of {origin_of(url)} is larger than {limit:,} bytes once decoded; "
        "raise max_response_bytes if that is expected"
    )
