"""Anthropic's errors as typed errors: of an error answer, of a 200 with an error, of an event in a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import (
    APIClientError,
    AuthenticationError,
    InvalidRequestError,
    OverloadedError,
    QuotaExhaustedError,
    RateLimitError,
    ResourceNotFoundError,
    ServerError,
)
from callgate.providers.canonical.error_body import error_object, message_of
from callgate.providers.canonical.errors import build_error, read_error_body
from callgate.providers.canonical.json import as_dict, as_text, as_text_or_none
from callgate.providers.canonical.wording import kind_of_refusal

__all__ = ["error_of_body", "error_of_content"]

_BY_NAME: Mapping[str, type[APIClientError]] = {
    "invalid_request_error": InvalidRequestError,
    "request_too_large": InvalidRequestError,
    "authentication_error": AuthenticationError,
    "permission_error": AuthenticationError,
    "billing_error": QuotaExhaustedError,
    "not_found_error": ResourceNotFoundError,
    "rate_limit_error": RateLimitError,
    "timeout_error": ServerError,
    "api_error": ServerError,
    "overloaded_error": OverloadedError,
}
"""Name -> class, where there is no status: in a stream, or in a 200."""

_INVALID = ("invalid_request_error", "request_too_large")
# `error.details.error_code`: limits on money, which waiting does not lift.
_SPENT = frozenset(
    {
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable",
    }
)


def error_of_body(status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
    """The typed error for an answer with an error status. Never raises.

    >>> body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    >>> type(error_of_body(529, body, {})).__name__
    'OverloadedError'
    """
    return error_of_content(read_error_body(body), status_code, headers)


def error_of_content(content: Any, status_code: int | None, headers: Mapping[str, str]) -> APIClientError:
    """The typed error in parsed JSON, or in the text of a body.

    Args:
        content: The whole body or event.
        status_code: Of the answer; None for an error in a stream, or in a 200.
        headers: Of the answer, lower-case names.
    """
    whole = as_dict(content)
    error = as_dict(whole.get("error"))
    name = as_text_or_none(error.get("type"))
    message = message_of(error_object(content), content)
    kind = _kind(status_code, name or "", message, as_dict(error.get("details")))
    return build_error(
        kind,
        status_code,
        message,
        content=content,
        headers=headers,
        code=name,
        request_id=as_text_or_none(whole.get("request_id")),
        trust_headers=status_code is not None,
    )


def _kind(
    status: int | None, name: str, message: str, details: dict[str, Any]
) -> type[APIClientError] | None:
    """The class of the error; None: by the status."""
    if as_text(details.get("error_code")) in _SPENT or status == 402 or name == "billing_error":
        return QuotaExhaustedError
    # Other servers of this dialect have names of their own, or none.
    if name in _INVALID or (name not in _BY_NAME and status in (400, 413, None)):
        kind = kind_of_refusal(message)
        if kind is not None:
            return kind
    if status is None:
        return _BY_NAME.get(name, ServerError)
    if name == "overloaded_error" and status >= 500:
        return OverloadedError
    return None
