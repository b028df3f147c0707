"""What every error of a provider's carries beside its class: message, code, request id, when to come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError, ResponseError, error_for_status
from callgate.providers.canonical.json import excerpt, read_json, write_json
from callgate.providers.quota_headers import read_request_id, read_retry_after, read_should_retry

__all__ = ["build_error", "no_answer", "read_error_body"]

_MAX_MESSAGE = 1000


def build_error(
    kind: type[APIClientError] | None,
    status_code: int | None,
    message: str,
    *,
    content: Any,
    headers: Mapping[str, str],
    code: str | None = None,
    request_id: str | None = None,
    retry_after: float | None = None,
    retryable: bool | None = None,
    trust_headers: bool = True,
) -> APIClientError:
    """The error, with the facts that its headers tell.

    Args:
        kind: Its class; None: by the status alone.
        status_code: Of the answer, or the one that the error itself tells; None when neither is known.
        message: What the provider said.
        content: The body, parsed or as text.
        headers: Lower-case names.
        retry_after: Seconds, when the body tells; the headers go before it.
        retryable: When the provider's own name for the error decides; `x-should-retry: false` goes before
            it.
        trust_headers: False for an error inside a stream or a 200: its headers belong to an answer that
            began well, and what they say about retrying is not about this error.
    """
    facts: dict[str, Any] = {
        "response_content": content,
        "headers": headers,
        "code": code,
        "request_id": request_id or read_request_id(headers),
        "retry_after": retry_after,
    }
    if retryable is not None:
        facts["retryable"] = retryable
    if trust_headers:
        told = read_retry_after(headers)
        if told is not None:
            facts["retry_after"] = told
        ordered = read_should_retry(headers)
        if ordered is False or (ordered is True and kind is None):
            facts["retryable"] = ordered
    message = " ".join(message.split()) or "no message"
    if len(message) > _MAX_MESSAGE:
        message = message[:_MAX_MESSAGE] + "..."
    if kind is None:
        return error_for_status(status_code or 500, message, **facts)
    return kind(message, status_code=status_code, **facts)


def read_error_body(body: bytes) -> Any:
    """The JSON that the body of an error answer holds, else its beginning as text. Never raises.

    >>> read_error_body(b'{"detail": "no"}'), read_error_body(b"<html>")
    ({'detail': 'no'}, '<html>')
    """
    try:
        return read_json(body)
    except ResponseError:
        return excerpt(body)


def no_answer(what: str, data: Any, headers: Mapping[str, str], status_code: int) -> ResponseError:
    """The error for an answer that can be read and yet holds none.

    Args:
        what: What is missing in it.
        data: All of it.
        headers, status_code: Of the answer.
    """
    return ResponseError(
        what, status_code=status_code, response_content=excerpt(write_json(data)), headers=headers
    )
