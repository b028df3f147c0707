"""Google's errors as typed errors: of Gemini, and of every model on Vertex."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callgate.errors import (
    APIClientError,
    AuthenticationError,
    OverloadedError,
    QuotaExhaustedError,
    RateLimitError,
)
from callgate.providers.canonical.error_body import error_object, message_of
from callgate.providers.canonical.errors import build_error, read_error_body
from callgate.providers.canonical.json import (
    as_dict,
    as_list,
    as_text,
    as_text_or_none,
)
from callgate.providers.canonical.wording import kind_of_refusal

__all__ = ["error_of_body", "error_of_content"]

_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""Google's name -> HTTP status, for errors that come without one."""

_KEY_REASONS = frozenset(
    {"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED"}
)
_WRONG_KEY = re.compile(r"api key (?:not valid|expired|not found)", re.IGNORECASE)
_OVERLOADED = re.compile(r"overloaded|high demand", re.IGNORECASE)
_SPENT = re.compile(r"credits? (?:are|is) depleted|spending cap|billing account", re.IGNORECASE)


def error_of_body(status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
    """The typed error for an answer with an error status. Never raises.

    >>> error_of_body(429, b'{"error": {"status": "RESOURCE_EXHAUSTED", "message": "slow down"}}', {}).code
    'RESOURCE_EXHAUSTED'
    """
    return error_of_content(read_error_body(body), status_code, headers)


def error_of_content(content: Any, status_code: int | None, headers: Mapping[str, str]) -> APIClientError:
    """The typed error in parsed JSON, or in the text of a body.

    Args:
        content: The whole body, or a chunk of a stream.
        status_code: Of the answer; None for an error in a stream or a 200, which names its own.
        headers: Of the answer, lower-case names.
    """
    if type(content) is list:
        whole = next((item for item in content if type(item) is dict), {})
    else:
        whole = as_dict(content)
    inner = whole.get("error")
    error = inner if type(inner) is dict else whole
    message = message_of(error_object(content), content)
    name = as_text_or_none(error.get("status"))
    status = status_code if status_code is not None else _status_of(error.get("code"), name)
    details = [item for item in as_list(error.get("details")) if type(item) is dict]
    return build_error(
        _kind(status, message, details),
        status,
        message,
        content=content,
        headers=headers,
        code=name,
        trust_headers=status_code is not None,
    )


def _status_of(code: Any, name: str | None) -> int:
    if type(code) is int and 400 <= code < 600:
        return code
    return _STATUS.get(name or "", 500)


def _kind(status: int, message: str, details: list[dict[str, Any]]) -> type[APIClientError] | None:
    """The class of the error; None: by the status."""
    if any(as_text(detail.get("reason")) in _KEY_REASONS for detail in details) or (
        status == 400 and _WRONG_KEY.search(message)
    ):
        return AuthenticationError
    if status == 429:
        # The quota of a day is refilled at midnight in California: no call waits for that.
        spent = any("perday" in quota.lower() for quota in _quotas(details)) or _SPENT.search(message)
        return QuotaExhaustedError if spent else RateLimitError
    if status == 400:
        return kind_of_refusal(message)
    if status == 503 and _OVERLOADED.search(message):
        return OverloadedError
    return None


def _quotas(details: list[dict[str, Any]]) -> list[str]:
    """The names of the quotas that were exceeded."""
    return [
        as_text(as_dict(violation).get("quotaId"))
        for detail in details
        for violation in as_list(detail.get("violations"))
    ]
