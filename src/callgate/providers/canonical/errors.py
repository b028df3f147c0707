"""What every provider error carries besides its class: message, code, request id, the wait it asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from callgate.errors import (
    APIClientError,
    OverloadedError,
    QuotaExhaustedError,
    RateLimitError,
    ResponseError,
)
from callgate.providers.canonical.durations import LONGEST, seconds_of, wait_in_words
from callgate.providers.canonical.error_body import error_object, message_of
from callgate.providers.canonical.json import excerpt, read_json, write_json
from callgate.providers.quota_headers import (
    read_request_id,
    read_reset,
    read_retry_after,
    read_should_retry,
)
from callgate.transport.status import error_for_status

__all__ = ["build_error", "cut_off", "no_answer", "read_error_body", "with_words"]

_MAX_MESSAGE = 1000
_MAX_WORDS = 200
_DEEPEST_WAIT = 5  # levels
_MOST_OBJECTS = 100
_THROTTLED = frozenset({429, 503, 529})
# A field of an error body that holds a wait, without case and punctuation -> seconds in its unit.
_WAIT_FIELDS: Mapping[str, float] = {
    "retryafter": 1.0, "retryafterseconds": 1.0, "retryaftersecs": 1.0, "retryaftersec": 1.0,
    "retryafterms": 1e-3, "retryaftermilliseconds": 1e-3, "retrydelay": 1.0, "retryin": 1.0,
    "retryinseconds": 1.0, "waitseconds": 1.0, "waittime": 1.0, "resetafter": 1.0, "resetafterseconds": 1.0,
    "resetsinseconds": 1.0, "resetinseconds": 1.0, "resetsin": 1.0, "resetsat": 1.0, "resetat": 1.0,
    "resettime": 1.0,
}  # fmt: skip
_NO_LETTER = re.compile(r"[^a-z]")
_PAGE = re.compile(r"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_DAY = re.compile(r"per[-_ ]?day|\b[rt]pd\b|\bdaily\b", re.IGNORECASE)
_MINUTE = re.compile(r"per[-_ ]?(?:min|sec|hour)|\b[rt]p[ms]\b", re.IGNORECASE)


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
    """The error, with the facts that its headers and its body hold.

    `retry_after` is the wait that the headers ask for, else the one in a field of the body, else the one in
    the message, else the time until a quota that is used up refills. A quota of a day that is used up, with
    no wait named, becomes a `QuotaExhaustedError`.

    Args:
        kind: Its class; None: by the status alone.
        status_code: Of the answer, or the one that the error itself names; None when neither is known.
        message: The provider's message.
        content: The body, parsed or as text.
        headers: Of the answer, lower-case names.
        code: The provider's own code of the error.
        request_id: The provider's id of the request, where the body holds it.
        retry_after: Seconds, when the dialect knows where its body holds them.
        retryable: When the provider's own name for the error decides; `x-should-retry: false` overrides it.
        trust_headers: False for an error inside a stream or a 200: its headers belong to an answer that
            began well, and what they hold about retrying is not about this error.
    """
    facts: dict[str, Any] = {"response_content": content, "headers": headers, "code": code}
    facts["request_id"] = request_id or read_request_id(headers)
    if retryable is not None:
        facts["retryable"] = retryable
    wait = None
    if trust_headers:
        wait = read_retry_after(headers)
        ordered = read_should_retry(headers)
        if ordered is False or (ordered is True and kind is None):
            facts["retryable"] = ordered
    if status_code == 403 and ("cf-mitigated" in headers or _is_page(content)):
        # The provider has not seen the request, so its key is not what is wrong.
        kind = APIClientError
        message = f"a web firewall in front of the API refused the request with a page: {message}"
    if wait is None:
        wait = retry_after if retry_after is not None else _wait_in_body(content, headers)
    if wait is None and (kind in (RateLimitError, OverloadedError) or status_code in _THROTTLED):
        wait = wait_in_words(message, headers.get("date"))
    if wait is None and trust_headers and status_code == 429:
        wait = read_reset(headers)
    if wait is None and (kind is RateLimitError or (kind is None and status_code == 429)):
        words = f"{code} {message}"
        kind = QuotaExhaustedError if _DAY.search(words) and not _MINUTE.search(words) else kind
    facts["retry_after"] = wait
    message = _one_line(message)
    if kind is None:
        return error_for_status(status_code or 500, message, **facts)
    return kind(message, status_code=status_code, **facts)


def _one_line(message: str) -> str:
    message = " ".join(message.split()) or "no message"
    return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + "..."


def read_error_body(body: bytes) -> Any:
    """The JSON that the body of an error answer holds, else its first 2,000 characters. Never raises.

    >>> read_error_body(b'{"detail": "no"}'), read_error_body(b"<html>")
    ({'detail': 'no'}, '<html>')
    """
    try:
        return read_json(body)
    except ResponseError:
        return excerpt(body)


def _is_page(content: Any) -> bool:
    """Whether a body is HTML, as proxies and content delivery networks answer."""
    return type(content) is str and _PAGE.match(content) is not None


def _wait_in_body(content: Any, headers: Mapping[str, str]) -> float | None:
    """Seconds that a field of the body asks to wait, wherever in the error it stands."""
    date = headers.get("date")
    for item in _error_objects(content):
        for name, value in item.items():
            unit = _WAIT_FIELDS.get(_NO_LETTER.sub("", name.lower()))
            if unit is None:
                continue
            if type(value) is dict:  # a google.protobuf.Duration that was written field by field
                nanoseconds = value.get("nanos")
                fraction = nanoseconds if type(nanoseconds) is int else 0
                value = f"{value.get('seconds', 0)}.{fraction:09}"
            wait = seconds_of(str(value), date) if type(value) in (int, float, str) else None
            if wait is not None:
                return min(wait * unit, LONGEST)
        passed_on = item.get("headers")  # OpenRouter passes on those of the provider behind it
        if type(passed_on) is dict:
            upstream = {name.lower(): str(value) for name, value in passed_on.items()}
            if date is not None:
                upstream.setdefault("date", date)
            wait = read_retry_after(upstream)
            return read_reset(upstream) if wait is None else wait
    return None


def _error_objects(content: Any) -> Iterator[dict[str, Any]]:
    """The objects of a body, the outer ones first: the error, its details, what a gateway wraps around it."""
    level, seen = [content], 0
    for _ in range(_DEEPEST_WAIT):
        level = [item for value in level for item in (value if type(value) is list else [value])]
        objects = [item for item in level if type(item) is dict][: _MOST_OBJECTS - seen]
        yield from objects
        seen += len(objects)
        level = [value for item in objects for value in item.values() if type(value) in (dict, list)]


def cut_off(content: Any, headers: Mapping[str, str]) -> ResponseError:
    """The error for a stream that stopped before its end.

    Args:
        content: What it held, as far as it came; None or empty for nothing.
        headers: Of the answer.
    """
    what = "the stream broke off before its end" if content else "the stream held no answer"
    return ResponseError(what, response_content=content or None, headers=headers)


def no_answer(what: str, data: Any, headers: Mapping[str, str], status_code: int) -> ResponseError:
    """The error for a body that can be read and yet holds no answer.

    Args:
        what: What is missing in it.
        data: All of it.
        headers, status_code: Of the answer.
    """
    what = with_words(what, message_of(error_object(data), data))
    return ResponseError(
        what, status_code=status_code, response_content=excerpt(write_json(data)), headers=headers
    )


def with_words(what: str, words: str) -> str:
    """What is wrong with an answer, followed by the beginning of the words that it holds instead.

    >>> with_words("the answer has no choices", "slow down"), with_words("the answer has no choices", "")
    ('the answer has no choices: slow down', 'the answer has no choices')
    """
    words = " ".join(words[:_MAX_WORDS].split())
    return f"{what}: {words}" if words else what
