"""OpenAI-style errors, typed: of an error answer, of a 200 that holds an error, of an event in a stream.

Every host of OpenAI's dialects writes its errors a little differently: as an object, as a text, as
FastAPI's list of details, with a number, a name or nothing as code. A provider's own name for an error is
believed before its status; where it gives no name, as most self-hosted servers do for a prompt that is too
long, the wording is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callgate.errors import (
    APIClientError,
    APITimeoutError,
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    InvalidAnswerError,
    InvalidRequestError,
    OverloadedError,
    QuotaExhaustedError,
    RateLimitError,
    ResourceNotFoundError,
    ServerError,
)
from callgate.providers.canonical.error_body import error_object, message_of
from callgate.providers.canonical.errors import build_error, no_answer, read_error_body
from callgate.providers.canonical.json import (
    as_dict,
    as_text,
    as_text_or_none,
)
from callgate.providers.canonical.wording import kind_of_wording

__all__ = ["error_of_body", "error_of_content", "error_without_choices"]

# What the same request meets again however often it is sent. These names win over the status.
_LASTING: Mapping[str, type[APIClientError]] = {
    **dict.fromkeys(
        (
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "insufficient_balance",
            "insufficient_credits",
            "payment_required",
            "exceeded_current_quota_error",
            "arrearage",
        ),
        QuotaExhaustedError,
    ),
    **dict.fromkeys(("context_length_exceeded", "exceed_context_size_error"), ContextLengthError),
    **dict.fromkeys(
        (
            "content_filter",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "moderation_blocked",
            "image_content_policy_violation",
            "misalignment_policy_violation",
            "bio_policy",
            "cyber_policy",
            "data_inspection_failed",
            "invalid_prompt",
        ),
        ContentFilterError,
    ),
    **dict.fromkeys(
        ("model_not_found", "model_decommissioned", "invalid_model", "deploymentnotfound"),
        ResourceNotFoundError,
    ),
    "invalid_api_key": AuthenticationError,
}

_MAY_BE_THROTTLED = (400, 403, 500, 502, 503)

# The model's own answer did not satisfy the schema of its tools; another try may well.
_UNFIT_ANSWER = frozenset({"tool_use_failed", "json_validate_failed", "output_parse_failed"})

# Gateways pass on a refusal for a quota under other statuses: as 400, 403 or 500.
_THROTTLED = frozenset(
    {
        "rate_limit_exceeded",
        "rate_limit_error",
        "rate_limit_reached",
        "too_many_requests",
        "throttling_error",
        "throttling",
        "throttling.ratequota",
        "throttling.burstrate",
        "throttling.allocationquota",
        "resource_exhausted",
        "429",
    }
)

# Used where there is no status: in a stream, or in a 200.
_BY_NAME: Mapping[str, type[APIClientError]] = {
    **dict.fromkeys((*_THROTTLED, "requests", "tokens"), RateLimitError),
    **dict.fromkeys(
        ("overloaded", "overloaded_error", "engine_overloaded", "server_is_overloaded", "slow_down"),
        OverloadedError,
    ),
    **dict.fromkeys(("authentication_error", "permission_error", "unauthorized"), AuthenticationError),
    **dict.fromkeys(("not_found_error", "not_found"), ResourceNotFoundError),
    **dict.fromkeys(
        (
            "invalid_request_error",
            "badrequesterror",
            "bad_request",
            "invalid_image",
            "invalid_image_format",
            "invalid_image_mode",
            "invalid_image_url",
            "invalid_base64_image",
            "image_too_large",
            "image_too_small",
            "image_parse_error",
            "image_file_too_large",
            "image_file_not_found",
            "empty_image_file",
            "unsupported_image_media_type",
            "failed_to_download_image",
        ),
        InvalidRequestError,
    ),
    **dict.fromkeys(("timeout", "request_timeout"), APITimeoutError),
}

_WRONG_KEY = re.compile(r"(?:incorrect|invalid) api key|api key not valid", re.IGNORECASE)
_FLAGGED = re.compile(r"content exists risk|violates? (?:our )?usage (?:guidelines|polic)", re.IGNORECASE)
# One request over the whole quota of a minute: waiting does not mend it, although it comes as a 429.
_LARGER_THAN_QUOTA = re.compile(r"^request too large", re.IGNORECASE)


def error_of_body(status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
    """The typed error for an answer with an error status. Never raises.

    >>> error_of_body(401, b'{"error": {"message": "no key", "code": "invalid_api_key"}}', {}).code
    'invalid_api_key'
    """
    return error_of_content(read_error_body(body), status_code, headers)


def error_of_content(content: Any, status_code: int | None, headers: Mapping[str, str]) -> APIClientError:
    """The typed error for parsed JSON, or for a body's text.

    Args:
        content: The whole body or event.
        status_code: Of the answer. Below 400 the error itself holds its status, or its name does.
        headers: Of the answer, lower-case names.
    """
    error = error_object(content)
    names = _names(error)
    answered = status_code is not None and status_code >= 400
    status = status_code if answered else _status_of(error)
    message = _message(error, content)
    kind = _kind(status, names, message, error)
    return build_error(
        kind,
        status,
        message,
        content=content,
        headers=headers,
        code=names[0] if names else None,
        request_id=as_text_or_none(as_dict(content).get("request_id")),
        retryable=True if kind is InvalidAnswerError else None,
        trust_headers=answered,
    )


def error_without_choices(
    data: dict[str, Any], headers: Mapping[str, str], status_code: int
) -> APIClientError:
    """The error for a 200 without an answer: some gateways hold their errors in it, with a status or without.

    >>> error_without_choices({"code": 429, "msg": "slow down"}, {}, 200).status_code
    429
    """
    error = error_object(data)
    if data.get("errors") or data.get("success") is False or _status_of(error) is not None:
        return error_of_content(data, status_code, headers)
    return no_answer("the answer has no choices", data, headers, status_code)


def _kind(
    status: int | None, names: list[str], message: str, error: dict[str, Any]
) -> type[APIClientError] | None:
    """The class of the error; None: by the status."""
    lowered = [name.lower() for name in names]
    for name in lowered:
        if name in _LASTING:
            return _LASTING[name]
        if name in _UNFIT_ANSWER:
            return InvalidAnswerError
    if status == 402:
        return QuotaExhaustedError
    if status == 429 and (
        _LARGER_THAN_QUOTA.search(message) or kind_of_wording(message) is QuotaExhaustedError
    ):
        return QuotaExhaustedError
    throttled = not _THROTTLED.isdisjoint(lowered)
    if throttled and status in _MAY_BE_THROTTLED:
        return RateLimitError
    if status in (400, 403, 413, 422, None):
        kind = kind_of_wording(message)
        if kind is not None:
            return kind
        if _FLAGGED.search(message) or as_dict(error.get("metadata")).get("flagged_input") is not None:
            return ContentFilterError
        if _WRONG_KEY.search(message):
            return AuthenticationError
    if status is not None:
        if status >= 500 and any(name in _BY_NAME and _BY_NAME[name] is OverloadedError for name in lowered):
            return OverloadedError
        return None
    for name in lowered:
        if name in _BY_NAME:
            return _BY_NAME[name]
    return ServerError


def _names(error: dict[str, Any]) -> list[str]:
    """The provider's own names for the error, the most telling first."""
    deeper = as_dict(error.get("innererror"))
    found = (error.get("code"), error.get("type"), error.get("status"), deeper.get("code"))
    texts = [str(name) for name in found if (type(name) is str and name) or type(name) is int]
    return sorted(texts, key=str.isdecimal)  # a name is more specific than a number; sorting is stable


def _status_of(error: dict[str, Any]) -> int | None:
    for name in ("status_code", "status", "code"):
        value = error.get(name)
        if type(value) is str and value.isdecimal() and len(value) == 3:
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return None


def _message(error: dict[str, Any], content: Any) -> str:
    text = message_of(error, content)
    raw = as_text(as_dict(error.get("metadata")).get("raw"))
    return f"{text}: {raw}" if raw and raw not in text else text
