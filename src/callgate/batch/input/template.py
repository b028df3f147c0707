"""`--template "Translate: {text}"`: a prompt with columns in it."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

import orjson

from callgate.errors import InputError

__all__ = ["Template"]


class Template:
    """A text with `{column}` in it; `{{` and `}}` stand for the braces themselves.

    What stands between the braces is a column's name and nothing else: no attributes, indices or formats, so
    that a template can reach nothing but the row. Texts are put in as they are, other values as JSON, null as
    nothing.

    Args:
        text: The template.
        source: Where it came from, for the error.

    Raises:
        InputError: when the braces do not match, or name no column at all.

    >>> Template("Translate: {text}").render({"text": "Hund"})
    'Translate: Hund'
    """

    __slots__ = ("_pieces", "columns", "text")

    def __init__(self, text: str, *, source: str = "--template") -> None:
        self.text = text
        self._pieces: list[tuple[str, str | None]] = []
        names: dict[str, None] = {}
        try:
            for literal, name, form, conversion in string.Formatter().parse(text):
                if name is not None:
                    # The parser splits "{a:b}" and "{a!r}"; here they are part of the column's name.
                    name += f"!{conversion}" if conversion else ""
                    name += f":{form}" if form else ""
                    names[name] = None
                self._pieces.append((literal, name))
        except ValueError as error:
            raise InputError(
                f"{error}; write {{column}} for a column and {{{{ or }}}} for a brace", source=source
            ) from None
        if not names:
            raise InputError(f"names no column; write for example {text.strip()} {{text}}", source=source)
        if "" in names:
            raise InputError("has empty braces {}; write the column's name into them", source=source)
        self.columns = tuple(names)
        """The columns it needs, each once, in the order of their first use."""

    def render(self, record: Mapping[str, Any]) -> str:
        """The prompt for one row.

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
                elif value is not None:
                    texts.append(orjson.dumps(value, default=str).decode())
        return "".join(texts)
