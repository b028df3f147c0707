"""Errors by HTTP status, for a response of which nothing else is known."""

from __future__ import annotations

from typing import Any, Final

from callgate.errors import (
    RETRYABLE_STATUS,
    APIClientError,
    APITimeoutError,
    AuthenticationError,
    InvalidRequestError,
    OverloadedError,
    RateLimitError,
    ResourceNotFoundError,
    ServerError,
)

__all__ = ["error_for_status"]

_BY_STATUS: Final[dict[int, type[APIClientError]]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: ResourceNotFoundError,
    408: APITimeoutError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
    529: OverloadedError,
}


def error_for_status(status_code: int, message: str, **facts: Any) -> APIClientError:
    """The error for an HTTP status, when nothing else is known.

    Args:
        status_code: The HTTP status of the answer.
        message: The service's own message.
        facts: Any keyword of `APIClientError`.

    >>> type(error_for_status(404, "no such model")).__name__
    'ResourceNotFoundError'
    """
    kind = _BY_STATUS.get(status_code)
    if kind is None:
        kind = ServerError if status_code >= 500 else APIClientError
        if status_code in RETRYABLE_STATUS and facts.get("retryable") is None:
            facts["retryable"] = True
    return kind(message, status_code=status_code, **facts)
