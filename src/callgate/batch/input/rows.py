"""`Row`: one row of a batch, and the key by which the next run recognises it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from callgate.exact_json import dumps

__all__ = ["Row", "content_key", "custom_id_key"]


def content_key(content: Mapping[str, Any]) -> int:
    """64 bits that identify the content of a row; equal JSON has equal keys, whatever the order of its names.

    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    try:
        # default=str: a table may hold what JSON does not know (decimals, bytes).
        canonical = dumps(content, default=str, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a name that is no text
        canonical = repr(content).encode()
    return int.from_bytes(blake2b(canonical, digest_size=8).digest(), "big")


def custom_id_key(custom_id: str) -> int:
    """64 bits that identify a row with a `custom_id`.

    >>> custom_id_key("row-1") != custom_id_key("row-2")
    True
    """
    # Canonical JSON of a content begins with "{", so no id can be mistaken for a content.
    return int.from_bytes(blake2b(b"id:" + custom_id.encode(), digest_size=8).digest(), "big")


class Row:
    """One row on its way through a batch. Made by the million, so it has slots and no defaults to compute.

    Attributes:
        index: Its place among the rows of the input, from 0.
        line: The line of the input it begins on, from 1 (in a Parquet file: its number).
        custom_id: Its id in the input, or None.
        key: What identifies it in the next run: its `custom_id`, else all that the row itself holds, whether
            it is sent or not. The settings of the whole run (model, template, system prompt, parameters) are
            no part of it. Equal rows have equal keys, and are counted.
        request: What is sent, in the one request format.
        columns: What is copied to the output, or None.
        path: The path of the endpoint below the base URL, or None: the model's own.

    >>> Row(0, 1, "a", custom_id_key("a"), {"messages": [{"role": "user", "content": "Hi"}]}).custom_id
    'a'
    """

    __slots__ = ("columns", "custom_id", "index", "key", "line", "path", "request")

    def __init__(
        self,
        index: int,
        line: int,
        custom_id: str | None,
        key: int,
        request: dict[str, Any],
        columns: dict[str, Any] | None = None,
        path: str | None = None,
    ) -> None:
        self.index = index
        self.line = line
        self.custom_id = custom_id
        self.key = key
        self.request = request
        self.columns = columns
        self.path = path

    def __repr__(self) -> str:
        name = "" if self.custom_id is None else f" {self.custom_id!r}"
        return f"<Row {self.index}{name} line={self.line} key={self.key:016x}>"
