"""`--template "Translate: {text}"`: texts with columns in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from callgate.errors import InputError
from callgate.exact_json import dumps, loads

__all__ = ["Template", "is_empty"]

_REMEDY = "write {column} for a column, and {{ or }} for a brace"
_EMPTY = frozenset({"NAType", "NaTType"})  # pandas need not be installed
_NEVER_IN_A_NAME = frozenset('"\n\r\t')


class Template:
    """A text with `{column}` in it.

    What stands between the braces is a column's name and nothing else: no attributes, indices or formats, so
    that a template can reach nothing but the row. Texts are inserted as they are, dates and decimals as texts
    too, other values as JSON, empty ones (None, NaN) as nothing.

    Braces around anything that cannot be a column's name, such as an example of JSON, stay as they are:
    `{"word": "{word}"}` has one column. `{{` and `}}` always stand for braces.

    Args:
        text: The template.
        setting: The option that it is, for errors.
        needs_column: Whether a text without any column is an error.

    Raises:
        InputError: when the braces do not match, or there is no column although one is needed.

    >>> Template("Translate: {text}").render({"text": "Hund"})
    'Translate: Hund'
    """

    __slots__ = ("_pieces", "columns", "text")

    def __init__(self, text: str, *, setting: str = "template", needs_column: bool = True) -> None:
        self.text = text
        self._pieces: list[tuple[str, str | None]] = []
        """Each literal text, and the column behind it; None: the next literal follows."""
        try:
            self._pieces.extend(_parse(text))
        except ValueError as error:
            raise InputError(f"the {setting} {error}; {_REMEDY}", setting=setting) from None
        self.columns = tuple(dict.fromkeys(name for _, name in self._pieces if name is not None))
        """The columns it needs, each once, in the order of their first use."""
        if needs_column and not self.columns:
            raise InputError(
                f"the {setting} names no column; write for example {text.strip()} {{text}}", setting=setting
            )

    def render(self, record: Mapping[str, Any]) -> str:
        """The text for one row.

        Raises:
            KeyError: with the name of a column that the row does not have.
        """
        texts: list[str] = []
        for literal, name in self._pieces:
            texts.append(literal)
            if name is not None:
                value = record[name]
                if isinstance(value, str):
                    texts.append(value)
                elif type(value) is float and math.isinf(value):  # JSON has no form of it
                    texts.append(str(value))
                elif not is_empty(value):
                    written = dumps(value, default=str)
                    texts.append(loads(written) if written.startswith(b'"') else written.decode())
        return "".join(texts)


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing: None, or what stands for it in a frame (NaN, pandas' NA and NaT).

    >>> is_empty(float("nan")), is_empty(0), is_empty("")
    (True, False, False)
    """
    if value is None or type(value) is str:
        return value is None
    return (isinstance(value, float | Decimal) and value != value) or type(value).__name__ in _EMPTY


def _parse(text: str) -> Iterator[tuple[str, str | None]]:
    """The pieces of a template.

    Raises:
        ValueError: when its braces do not match.
    """
    literal: list[str] = []
    opened: list[str] = []  # the braces that stay in the text and are not closed yet: "{" or "{{"
    place = 0
    while place < len(text):
        start = _next_brace(text, place)
        literal.append(text[place:start])
        place = start
        if text.startswith("{{", start):
            opened.append("{{")
            literal.append("{")
            place += 2
        elif text.startswith("{", start):
            end = _next_brace(text, start + 1)
            name = text[start + 1 : end]
            if text.startswith("}", end) and _may_be_a_name(name):
                yield "".join(literal), name
                literal = []
                place = end + 1
            elif name or opened or not text.startswith("}", end):
                opened.append("{")
                literal.append("{")
                place += 1
            else:
                raise ValueError("has empty braces {}")
        elif start < len(text):
            brace = opened.pop() if opened else "{{"
            if brace == "{{" and not text.startswith("}}", start):
                raise ValueError("has a } without a {")
            literal.append("}")
            place += len(brace)
    if "{" in opened:
        raise ValueError("has a { without a }")
    yield "".join(literal), None


def _next_brace(text: str, place: int) -> int:
    """The place of the next brace, or the text's length."""
    found = [at for at in (text.find("{", place), text.find("}", place)) if at >= 0]
    return min(found, default=len(text))


def _may_be_a_name(name: str) -> bool:
    return bool(name.strip()) and not _NEVER_IN_A_NAME.intersection(name)
