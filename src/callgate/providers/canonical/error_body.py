"""The error in a body of any form: what holds its code, and its message.

Providers, gateways and frameworks each wrap an error in a form of their own: an object, a list of objects or
of texts, JSON as a text within JSON, FastAPI's list of details, or a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callgate.errors import InvalidRequestError, ResponseError
from callgate.providers.canonical.json import as_list, read_json, write_json

__all__ = ["error_object", "message_of"]

_HOLDERS = ("error", "errors", "fault", "detail", "Error")
_MESSAGES = (
    "message", "faultstring", "detail", "title", "msg", "Message", "error_message", "errorMessage",
    "error_description", "originalMessage",
)  # fmt: skip
_DEEPEST = 4
_PAGE_TITLE = re.compile(r"<title>(.{1,200}?)</title>", re.IGNORECASE | re.DOTALL)  # a gateway's own page


def error_object(content: Any) -> dict[str, Any]:
    """The object that holds the code and the message of an error, wherever the host puts it.

    >>> error_object({"error": {"message": "busy"}}), error_object([{"error": "busy", "code": 429}])
    ({'message': 'busy'}, {'error': 'busy', 'code': 429, 'message': 'busy', 'type': None})
    """
    return _error_object(content, _DEEPEST)


def _error_object(content: Any, depth: int) -> dict[str, Any]:
    content = _unwrapped(content)
    if type(content) is str:
        return {"message": content} if content else {}
    if type(content) is not dict:
        return {}
    for holder in _HOLDERS:
        inner = content.get(holder)
        if holder != "detail":  # FastAPI's list of details is a message
            inner = _unwrapped(inner)
        if type(inner) is dict and depth and (holder != "detail" or _is_error(inner)):
            found = _error_object(inner, depth - 1)
            return found if _is_error(found) or not _is_error(content) else content
        if type(inner) is str and inner and holder != "detail":
            return {**content, "message": inner, "type": content.get("error_type") or content.get("type")}
    return content


def message_of(error: Mapping[str, Any], content: Any) -> str:
    """The message of an error; of a page its title.

    Args:
        error: What holds the message.
        content: The whole body, parsed or as text.

    >>> message_of({"msg": "busy"}, None), message_of({}, "<html><title>502 Bad Gateway</title></html>")
    ('busy', '502 Bad Gateway')
    """
    for name in _MESSAGES:
        text = _words(error.get(name))
        if text:
            break
    else:
        text = content if type(content) is str else ""
    title = _PAGE_TITLE.search(text)
    return title[1] if title else text


def _unwrapped(value: Any) -> Any:
    """The first item of a list of errors; what JSON as a text holds; anything else as it is."""
    if type(value) is list and value:
        value = next((item for item in value if type(item) is dict), value[0])
    if type(value) is str and value.lstrip().startswith("{"):
        try:
            return read_json(value)
        except ResponseError:
            return value
    return value


def _is_error(value: dict[str, Any]) -> bool:
    return any(value.get(name) for name in (*_MESSAGES, "code", "type", "error"))


def _words(value: Any) -> str:
    """Text as it is; FastAPI's list of details as "body.field: what is wrong"; anything else as JSON."""
    if type(value) is str or value is None:
        return value or ""
    if type(value) is dict:
        inner = next((value[name] for name in ("detail", "message") if value.get(name)), None)
        if inner is not None:
            return _words(inner)
    details = [item for item in as_list(value) if type(item) is dict and "msg" in item]
    if details:
        return "; ".join(
            ".".join(map(str, as_list(item.get("loc")))) + f": {item['msg']}" for item in details[:5]
        )
    try:
        return write_json(value).decode()
    except InvalidRequestError:
        return ""
