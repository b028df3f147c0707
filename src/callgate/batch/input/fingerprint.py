"""The fingerprint of a row: what its provider is asked, in short.

It is kept with the answer, so that the next run finds the rows that it would ask differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from callgate.batch.input.media import MediaPart, MediaPath, MediaRequest
from callgate.batch.input.rows import Row
from callgate.exact_json import dumps

__all__ = ["Defaults", "Fingerprints", "mark_of"]

_FLAT = frozenset({int, bool, type(None)})
_LONGEST = 40
_DIGEST_BYTES = 8
# Where a request goes and how is not what is asked.
_TRANSPORT = "extra_headers"


class Defaults(NamedTuple):
    """What one of the models that may answer adds to a request.

    Attributes:
        fields: Sent unless the request has them.
        wins: Whether its `model` takes the place of the request's own.
    """

    fields: Mapping[str, Any]
    wins: bool = False


class Fingerprints:
    """Makes the fingerprints of the rows of one run.

    A fingerprint is a flat JSON object: the fields of the request, those that may be long as 64 bits. Keys,
    addresses, headers, limits and timeouts are no part of it, nor are columns that are not sent.

    Args:
        models: What each model that may answer adds to a request.
        schema: The `response_format` of requests that have none, or None.

    >>> prints = Fingerprints([Defaults({"model": "gpt-4o-mini", "temperature": 0.0})])
    >>> prints.of(Row(0, 1, None, 1, {"messages": [], "max_tokens": 5}))
    b'{"messages":"71857576257465c7","max_tokens":5,"model":"gpt-4o-mini","temperature":0}'
    """

    __slots__ = ("_models",)

    def __init__(self, models: Iterable[Defaults], schema: Mapping[str, Any] | None = None) -> None:
        form = {} if schema is None else {"response_format": schema}
        different: dict[bytes, _Model] = {}
        for fields, wins in models:
            fields = {**form, **fields}
            different.setdefault(_canonical([fields, wins]), _Model(fields, wins=wins))
        self._models = tuple(different.values())

    def of(self, row: Row, model: str | None = None) -> bytes:
        """The fingerprint of a row.

        Args:
            row: The row.
            model: The name of the model that was asked, where several may be.
        """
        models = self._models
        if len(models) > 1:
            models = tuple(each for each in models if each.name == model) or models
        return models[0].fingerprint(row)

    def all_of(self, row: Row) -> list[bytes]:
        """The fingerprints that an answer to a row may have: one for each model that may be asked."""
        return [model.fingerprint(row) for model in self._models]

    def mark(self, row: Row) -> int:
        """`mark_of` the first of them."""
        return crc32(self._models[0].fingerprint(row))

    def other_marks(self, row: Row) -> list[int]:
        """`mark_of` the others."""
        return [crc32(model.fingerprint(row)) for model in self._models[1:]]


def mark_of(fingerprint: bytes) -> int:
    """32 bits that stand for a fingerprint while rows are compared; 0 stands for none.

    >>> mark_of(b'{"model":"m"}') == mark_of(b'{"model":"n"}')
    False
    """
    return crc32(fingerprint)


class _Model:
    """Fingerprints of rows that one model answers."""

    __slots__ = ("_end", "_fields", "_rest", "_wins", "name")

    def __init__(self, fields: dict[str, Any], *, wins: bool) -> None:
        self.name = fields.get("model")
        self._fields = fields
        self._wins = wins and "model" in fields
        # Of most rows all but the messages is as it was of the row before.
        self._rest: dict[str, Any] | None = None
        self._end = b""

    def fingerprint(self, row: Row) -> bytes:
        rest = {**self._fields, **row.request}
        if self._wins:
            rest["model"] = self.name
        messages = rest.pop("messages", None)
        if row.path is not None:
            rest["endpoint"] = row.path
        if rest != self._rest:
            self._end, self._rest = _end_of(rest), rest
        start = b"{"
        if messages is not None:
            start = b'{"messages":"%b",' % _digest(messages, with_files=type(row.request) is MediaRequest)
        return start + self._end


def _end_of(fields: dict[str, Any]) -> bytes:
    """The fields as the end of a JSON object."""
    parts: dict[str, Any] = {}
    for name, value in fields.items():
        kind = type(value)
        if kind in _FLAT or (kind is str and len(value) <= _LONGEST):
            parts[name] = value
        elif kind is float:
            parts[name] = int(value) if value.is_integer() else value
        elif name != _TRANSPORT:
            parts[name] = _digest(value).decode()
    if not parts:
        parts["model"] = None  # an object does not end in a comma
    return dumps(parts, option=orjson.OPT_SORT_KEYS)[1:]


def _digest(value: Any, *, with_files: bool = False) -> bytes:
    canonical = _canonical_with_files(value) if with_files else _canonical(value)
    return blake2b(canonical, digest_size=_DIGEST_BYTES).hexdigest().encode()


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, str, orjson.OPT_SORT_KEYS)
    except TypeError:
        pass
    try:
        return dumps(value, str, orjson.OPT_SORT_KEYS)  # integers of any size
    except TypeError:  # a name that is no text
        return repr(value).encode()


def _canonical_with_files(value: Any) -> bytes:
    return dumps(value, _name_file, orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS)


def _name_file(value: Any) -> Any:
    """A file by its name in the row and its size: its folder may be another one in the next run."""
    if isinstance(value, MediaPart):
        return dict(value)
    return value.identity if isinstance(value, MediaPath) else str(value)
