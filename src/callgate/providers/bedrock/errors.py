"""Bedrock's errors as typed errors: of an error answer, and of an exception in an event stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callgate.errors import (
    APIClientError,
    APITimeoutError,
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
from callgate.providers.canonical.json import as_dict, as_text
from callgate.providers.canonical.wording import kind_of_refusal
from callgate.transport.eventstream import Frame

__all__ = ["error_of_body", "error_of_frame", "error_of_text", "is_error"]

_BY_NAME: Mapping[str, type[APIClientError]] = {
    **dict.fromkeys(
        (
            "accessdenied", "unrecognizedclient", "invalidsignature", "signaturedoesnotmatch", "expiredtoken",
            "incompletesignature", "missingauthenticationtoken", "invalidclienttokenid", "notauthorized",
            "optinrequired",
        ),
        AuthenticationError,
    ),
    # By AWS's documentation both may be sent again later.
    **dict.fromkeys(("throttling", "throttled", "toomanyrequests", "servicequotaexceeded"), RateLimitError),
    "resourcenotfound": ResourceNotFoundError,
    "unknownoperation": ResourceNotFoundError,
    "validation": InvalidRequestError,
    "serialization": InvalidRequestError,
    "modeltimeout": APITimeoutError,
    # Its status is 429 although no quota is used up: the model is being loaded.
    "modelnotready": ServerError,
    "modelerror": ServerError,
    "modelstreamerror": ServerError,
    "internalserver": ServerError,
    "internalfailure": ServerError,
    "serviceunavailable": OverloadedError,
}  # fmt: skip
"""AWS's names in lower case and without "Exception": bodies, headers and frames spell them differently."""

_NO_MODEL = re.compile(r"model identifier is invalid|model id .* (?:not found|does not exist)", re.IGNORECASE)
_PER_DAY = re.compile(r"per day|daily", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:exception|error)$")


def error_of_body(status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
    """The typed error for an answer with an error status. Never raises.

    >>> type(error_of_body(429, b"{}", {"x-amzn-errortype": "ThrottlingException:http://x/"})).__name__
    'RateLimitError'
    """
    content = read_error_body(body)
    return _error(_name_in(content, headers), status_code, content, headers, trust_headers=True)


def error_of_frame(frame: Frame, headers: Mapping[str, str]) -> APIClientError:
    """The typed error for a frame that is an exception or an error.

    Args:
        frame: With `:message-type` "exception" or "error".
        headers: Of the answer that the stream is the body of.
    """
    content = read_error_body(frame.payload) if frame.payload else {}
    name = frame.text(":exception-type") or frame.text(":error-code")
    message = frame.text(":error-message")
    if message and not as_dict(content):
        content = {"message": message}
    status = as_dict(content).get("originalStatusCode")
    original = status if type(status) is int and 400 <= status < 600 else None
    return _error(name, original, content, headers, trust_headers=False)


def error_of_text(body: bytes, headers: Mapping[str, str]) -> APIClientError:
    """The typed error for JSON that stands in the place of a frame, or in a body with status 200."""
    content = read_error_body(body)
    return _error(_name_in(content, headers), None, content, headers, trust_headers=False)


def is_error(data: dict[str, Any], headers: Mapping[str, str]) -> bool:
    """True for a body that is an error although its status is 200."""
    named = "x-amzn-errortype" in headers or "__type" in data
    return named and data.keys().isdisjoint(("output", "content"))


def _name_in(content: Any, headers: Mapping[str, str]) -> str:
    """AWS's name for the error, out of "com.amazon.coral#ThrottlingException:http://..."."""
    body = as_dict(content)
    name = headers.get("x-amzn-errortype") or as_text(body.get("__type")) or as_text(body.get("code"))
    return name.partition(":")[0].rpartition("#")[2]


def _error(
    name: str, status_code: int | None, content: Any, headers: Mapping[str, str], *, trust_headers: bool
) -> APIClientError:
    message = message_of(error_object(content), content)
    return build_error(
        _kind(name, status_code, message),
        status_code,
        message,
        content=content,
        headers=headers,
        code=name or None,
        trust_headers=trust_headers,
    )


def _kind(name: str, status: int | None, message: str) -> type[APIClientError] | None:
    """The class of the error; None: by the status."""
    kind = _BY_NAME.get(_SUFFIX.sub("", name.lower()))
    if kind is InvalidRequestError or (kind is None and status == 400):
        if _NO_MODEL.search(message):
            return ResourceNotFoundError
        kind = kind_of_refusal(message) or kind
    if (kind is RateLimitError or status == 429) and _PER_DAY.search(message):
        return QuotaExhaustedError
    if kind is None and status is None:
        return ServerError
    return kind
