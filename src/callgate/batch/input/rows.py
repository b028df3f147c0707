"""One row of a batch: what it says, and how it is known again in the next run."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

__all__ = ["Row", "content_key", "custom_id_key"]


def content_key(content: Mapping[str, Any]) -> int:
    """64 bits that stand for what a row asks; equal JSON has equal keys, whatever the order of its names.

    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    try:
        # default=str: a table may hold what JSON does not know (decimals, bytes).
        canonical = orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a number of more than 64 bits, a name that is no text
        canonical = repr(content).encode()
    return int.from_bytes(blake2b(canonical, digest_size=8).digest(), "big")


def custom_id_key(custom_id: str) -> int:
    """64 bits that stand for a row with an id of its own.

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
        custom_id: The id it brought along, or None.
        key: What it is known by in the next run: its `custom_id`, else all that it says itself, asked or only
            travelling along. The settings of the whole run (model, template, system prompt, parameters) are
            no part of it. Equal rows have equal keys; they are counted, as one is as good as the other.
        request: What is sent, in the one request format.
        columns: What travels along to the output, or None.

    >>> Row(0, 1, "a", custom_id_key("a"), {"messages": [{"role": "user", "content": "Hi"}]}).custom_id
    'a'
    """

    __slots__ = ("columns", "custom_id", "index", "key", "line", "request")

    def __init__(
        self,
        index: int,
        line: int,
        custom_id: str | None,
        key: int,
        request: dict[str, Any],
        columns: dict[str, Any] | None = None,
    ) -> None:
        self.index = index
        self.line = line
        self.custom_id = custom_id
        self.key = key
        self.request = request
        self.columns = columns

    def __repr__(self) -> str:
        name = "" if self.custom_id is None else f" {self.custom_id!r}"
        return f"<Row {self.index}{name} line={self.line} key={self.key:016x}>"
