"""The responses of the plain client: a dict, list, str or bytes with status and headers as attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from callgate.exact_json import loads
from callgate.headers import Headers
from callgate.transport.http import HttpAnswer
from callgate.transport.redact import redact

__all__ = [
    "Answer",
    "BinaryAnswer",
    "Headers",
    "JsonListAnswer",
    "JsonObjectAnswer",
    "TextAnswer",
    "read_answer",
    "redact_answer",
]


class _Facts:
    """The attributes of every response."""

    status_code: int
    headers: Headers
    content: bytes
    """The decompressed body."""


class JsonObjectAnswer(_Facts, dict[str, Any]):
    """A JSON object.

    >>> answer = read_answer(HttpAnswer(200, {"content-type": "application/json"}, b'{"id": 1}'))
    >>> answer, answer.status_code
    ({'id': 1}, 200)
    """


class JsonListAnswer(_Facts, list[Any]):
    """A JSON array."""


class TextAnswer(_Facts, str):
    """Text: a body that is not JSON, or a JSON string."""


class BinaryAnswer(_Facts, bytes):
    """A body that is neither JSON nor text."""


Answer = JsonObjectAnswer | JsonListAnswer | TextAnswer | BinaryAnswer | int | float | bool | None
"""The result of a request. A JSON number, true, false or null is returned without attributes."""


def read_answer(answer: HttpAnswer) -> Answer:
    """The body parsed as JSON if it is JSON, else as text or bytes.

    A body is JSON if its content type is JSON, or if it is an object or array with any content type. A text
    that is only a number stays text.
    """
    body = answer.body
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    made: JsonObjectAnswer | JsonListAnswer | TextAnswer | BinaryAnswer
    if kind.endswith(("/json", "+json")) or body.lstrip()[:1] in (b"{", b"["):
        try:
            found = loads(body)
        except ValueError:
            made = _text_or_bytes(answer)
        else:
            if isinstance(found, dict):
                made = JsonObjectAnswer(found)
            elif isinstance(found, list):
                made = JsonListAnswer(found)
            elif isinstance(found, str):
                made = TextAnswer(found)
            else:
                return found  # type: ignore[no-any-return]  # int, float, bool or None
    else:
        made = _text_or_bytes(answer)
    made.status_code = answer.status
    made.headers = Headers(answer.headers)
    made.content = body
    return made


def redact_answer(answer: HttpAnswer, secrets: Sequence[str]) -> HttpAnswer:
    """The answer with every secret in its headers and body replaced by "***"."""
    return HttpAnswer(answer.status, redact(answer.headers, secrets), redact(answer.body, secrets))


def _text_or_bytes(answer: HttpAnswer) -> TextAnswer | BinaryAnswer:
    charset = "utf-8"
    for parameter in answer.headers.get("content-type", "").split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset":
            charset = value.strip("\"' ")
    try:
        return TextAnswer(answer.body.decode(charset))
    except (UnicodeDecodeError, LookupError):
        return BinaryAnswer(answer.body)
