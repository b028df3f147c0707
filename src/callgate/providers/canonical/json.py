"""JSON from the other side of the wire, read without trust; and JSON for it, written.

What a provider sends is hostile until proven otherwise: truncated, nested a thousand deep, with numbers that
are none. Everything here either gives a plain value or raises a `ResponseError`; nothing else ever comes out.
The readers of single values (`as_dict`, `as_text`, `token_count` ...) never raise: a field of the wrong type
reads as a field that is absent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import orjson

from callgate.errors import InvalidRequestError, ResponseError
from callgate.exact_json import dumps, loads, read_integer

__all__ = [
    "as_dict",
    "as_list",
    "as_objects",
    "as_text",
    "as_text_or_none",
    "excerpt",
    "read_arguments",
    "read_counts",
    "read_index",
    "read_json",
    "read_object",
    "token_count",
    "update_counts",
    "write_json",
]

# orjson writes at most 254 levels, so what is nested deeper could be read but never written down again.
_MAX_DEPTH = 200
_MAX_TOKENS = 10**12
_EXCERPT = 2000
_MOST_REPEATED = 8
_OBJECT = json.JSONDecoder(strict=False)
_LONE_SURROGATE = re.compile(
    r"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def read_json(data: bytes | str) -> Any:
    """Parse the JSON value in `data`.

    Integers are exact, whatever their size. What strict JSON forbids but servers do send (NaN, a number too
    large, half a surrogate pair, bytes that are no UTF-8) reads as null or as U+FFFD, so that one bad figure
    does not cost the whole answer.

    Raises:
        ResponseError: when it is no JSON, or nested deeper than 200 levels.

    >>> read_json(b'{"a": [1, NaN]}')
    {'a': [1, None]}
    """
    try:
        value = loads(data)
    except ValueError:
        value = _read_leniently(data)
    if len(data) > 2 * _MAX_DEPTH and _is_too_deep(data, value):
        raise ResponseError(
            f"the answer is nested deeper than {_MAX_DEPTH} levels", response_content=excerpt(data)
        )
    return value


def read_object(data: bytes | str) -> dict[str, Any]:
    """Parse the JSON object in `data`.

    Raises:
        ResponseError: when it is no JSON, nested too deep, or not an object.
    """
    value = read_json(data)
    if type(value) is not dict:
        raise ResponseError(
            f"the answer is not a JSON object but {type(value).__name__}", response_content=excerpt(data)
        )
    return value


def read_arguments(value: Any) -> tuple[dict[str, Any], str | None]:
    """The arguments of a tool call, and the model's own text when that is no JSON object.

    Models write arguments as JSON text; some servers send the object itself, or JSON text within JSON text.
    Nothing at all, null, and an empty list mean that the tool is called without arguments. An empty object
    before the arguments is a stand-in, and the same object again is a repetition.

    >>> read_arguments('{"city": "Oslo"}'), read_arguments("null")
    (({'city': 'Oslo'}, None), ({}, None))
    >>> read_arguments('{"city": "Os')
    ({}, '{"city": "Os')
    """
    if type(value) is dict:
        return value, None
    if not isinstance(value, str):
        return {}, None if value is None or value == [] else write_json(value).decode()
    if not value.strip():
        return {}, None
    try:
        read = read_json(value)
        if type(read) is str and read.lstrip().startswith("{"):
            read = read_json(read)
    except ResponseError:
        read = _read_repeated_object(value)
    if type(read) is dict:
        return read, None
    return {}, None if read is None or read == [] else value


def write_json(value: Any) -> bytes:
    """`value` as JSON. Messages, conversations, pydantic models and dataclasses are written as their fields.

    Raises:
        InvalidRequestError: when something in it cannot be said in JSON.
    """
    try:
        return orjson.dumps(value, _plain, orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError:
        return _write_exactly(value)


def token_count(value: Any) -> int:
    """A number of tokens; 0 for whatever cannot be one (text, a negative, a fraction, an absurd number).

    >>> token_count(12), token_count(True), token_count(1e300), token_count(None)
    (12, 0, 0, 0)
    """
    if type(value) is int:
        return value if 0 <= value <= _MAX_TOKENS else 0
    if type(value) is float and 0 <= value <= _MAX_TOKENS and value.is_integer():
        return int(value)
    return 0


def read_index(value: Any, largest: int) -> int | None:
    """The index that a server gives, as a number or as text; None when it is none from 0 to `largest`.

    >>> read_index(1, 9), read_index("1", 9), read_index(1.0, 9), read_index(-1, 9), read_index(None, 9)
    (1, 1, 1, None, None)
    """
    is_text = type(value) is str and value.isdecimal() and len(value) < 10
    if is_text or (type(value) is float and value.is_integer()):
        value = int(value)
    return value if type(value) is int and 0 <= value <= largest else None


def read_counts(*values: Any) -> tuple[list[int], bool]:
    """The numbers of tokens of one usage; and whether all are known: each value is such a number, or None.

    >>> read_counts(12, 0, None), read_counts(12, "5"), read_counts(-1)
    (([12, 0, 0], True), ([12, 0], False), ([0], False))
    """
    counts: list[int] = []
    is_known = True
    for value in values:
        if type(value) is int and 0 <= value <= _MAX_TOKENS:
            counts.append(value)
        elif value is None:
            counts.append(0)
        else:
            counts.append(token_count(value))
            is_known = is_known and (value == 0 or counts[-1] > 0)
    return counts, is_known


def update_counts(held: dict[str, Any], new: Any) -> None:
    """Take the counts of a later report of usage into `held`, nested ones too.

    Every report of a stream counts from its beginning, so a later count replaces an earlier one. But some
    gateways end with zeros: those, and what is null, replace nothing.

    >>> usage = {"prompt_tokens": 5}
    >>> update_counts(usage, {"prompt_tokens": 0, "completion_tokens": 2})
    >>> usage
    {'prompt_tokens': 5, 'completion_tokens': 2}
    """
    for name, value in as_dict(new).items():
        before = held.get(name)
        if type(before) is dict and type(value) is dict:
            held[name] = dict(before)
            update_counts(held[name], value)
        elif value is not None and (value != 0 or not before):
            held[name] = value


def as_dict(value: Any) -> dict[str, Any]:
    """`value` when it is an object, else an empty one."""
    return value if type(value) is dict else {}


def as_objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; of one object without a list that one.

    >>> as_objects([{"a": 1}, None]), as_objects({"a": 1}), as_objects("a")
    ([{'a': 1}], [{'a': 1}], [])
    """
    if type(value) is dict:
        return [value]
    return [item for item in as_list(value) if type(item) is dict]


def as_list(value: Any) -> list[Any]:
    """`value` when it is a list, else an empty one."""
    return value if type(value) is list else []


def as_text(value: Any) -> str:
    """`value` when it is text, else empty text."""
    return value if type(value) is str else ""


def as_text_or_none(value: Any) -> str | None:
    """`value` when it is text that is not empty, else None."""
    return value if type(value) is str and value else None


def excerpt(data: bytes | str) -> str:
    """The beginning of `data` as text, for an error to show."""
    head = data[:_EXCERPT]
    return head if isinstance(head, str) else head.decode("utf-8", "replace")


def _read_repeated_object(text: str) -> Any:
    """The one object in "{}{...}" or "{...}{...}" whose objects are the same; the text itself otherwise."""
    objects: list[Any] = []
    rest = text.strip()
    for _ in range(_MOST_REPEATED):
        if not rest.startswith("{"):
            break
        try:
            end = _OBJECT.raw_decode(rest)[1]
            read = read_json(rest[:end])
        except (ValueError, RecursionError, ResponseError):
            return text
        if read and read not in objects:
            objects.append(read)
        rest = rest[end:].lstrip()
    if rest or len(objects) > 1:
        return text
    return objects[0] if objects else {}


def _read_leniently(data: bytes | str) -> Any:
    text = data if isinstance(data, str) else data.decode("utf-8-sig", "replace")
    text = _LONE_SURROGATE.sub(lambda found: found[1] or "\\ufffd", text)
    try:
        return json.loads(
            text,
            strict=False,
            parse_constant=lambda _: None,
            parse_int=_finite_int,
            parse_float=_finite_float,
        )
    except (ValueError, RecursionError):
        what = "the answer is empty" if not text.strip() else "the answer is not JSON"
        raise ResponseError(what, response_content=excerpt(data)) from None


def _finite_int(digits: str) -> int | None:
    try:
        return read_integer(digits)
    except ValueError:
        return None


def _finite_float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _is_too_deep(data: bytes | str, value: Any) -> bool:
    brackets = (
        data.count("{") + data.count("[") if isinstance(data, str) else data.count(b"{") + data.count(b"[")
    )
    if brackets <= _MAX_DEPTH:
        return False
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            return True
        children: list[Any] = []
        for item in level:
            if type(item) is dict:
                children.extend(item.values())
            elif type(item) is list:
                children.extend(item)
        level = children
    return False


def _write_exactly(value: Any) -> bytes:
    try:
        return dumps(value, _plain, orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError as error:
        raise InvalidRequestError(
            f"the request cannot be written as JSON: {error}", surely_unsent=True
        ) from None


def _plain(value: Any) -> Any:
    for name in ("to_dict", "to_messages", "model_dump"):
        say = getattr(value, name, None)
        if callable(say):
            return say()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set | tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
