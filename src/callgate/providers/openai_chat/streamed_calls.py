"""The tool calls of a streamed choice: which call each piece belongs to, and what the pieces add up to.

By the format, `index` names the call, and its id and name come with its first piece. Servers leave out any of
the three, repeat them with every piece, give every call the index 0 or every piece an id of its own, and send
the name late or in pieces. So no single field decides what is one call: an id that is known does, else a call
ends where its arguments are complete.
"""

from __future__ import annotations

from typing import Any

from callgate.providers.canonical.json import as_dict, as_list, as_text, write_json
from callgate.providers.canonical.streamed_arguments import StreamedArguments
from callgate.providers.canonical.tools import ANSWER_TOOL, make_call_id
from callgate.response import Delta, ToolCallDelta

__all__ = ["StreamedCall", "StreamedCalls"]

_MAX_INDEX = 1024


class StreamedCalls:
    """The tool calls of one choice, in their order.

    >>> calls = StreamedCalls()
    >>> pieces = [{"function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}}]
    >>> [delta.tool_call.arguments for piece in pieces for delta in calls.take([piece])]
    ['{', '}']
    >>> len(calls.whole("chatcmpl-1"))
    1
    """

    __slots__ = ("_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: dict[int, StreamedCall] = {}
        self._by_index: dict[int, int] = {}
        """The server's index -> the number of the latest call under it."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, pieces: Any) -> list[Delta]:
        """Take in the `tool_calls` of one chunk, and return the deltas that they bring."""
        deltas: list[Delta] = []
        taken: set[int] = set()
        for piece in as_list(pieces):
            if type(piece) is not dict:
                continue
            number = self._number_of(piece, taken)
            taken.add(number)
            call = self._calls.get(number)
            if call is None:
                call = self._calls[number] = StreamedCall(number)
            deltas.extend(call.take(piece))
        return deltas

    def release(self, response_id: Any) -> list[Delta]:
        """Return the deltas that were held back until the calls are known to have ended."""
        return [delta for _, call in sorted(self._calls.items()) for delta in call.release(response_id)]

    def whole(self, response_id: Any) -> list[dict[str, Any]]:
        """Return the calls as they stand in an answer of one piece."""
        return [call.whole(response_id) for _, call in sorted(self._calls.items())]

    def _number_of(self, piece: dict[str, Any], taken: set[int]) -> int:
        """The number of the call that a piece belongs to: of a call so far, or of a new one."""
        given = piece.get("index")
        index: int | None = given if type(given) is int and 0 <= given < _MAX_INDEX else None
        identity = as_text(piece.get("id"))
        if identity:
            for number, call in self._calls.items():
                if call.id == identity:
                    return number
        last = max(self._calls, default=-1)
        number = last if index is None else self._by_index.get(index, index)
        held = self._calls.get(number)
        if held is None:
            number = last + 1 if index is None else number
        elif not held.is_continued_by(piece, identity, index is not None, shares_chunk=number in taken):
            number = last + 1
        if index is not None:
            self._by_index[index] = number
        return number


class StreamedCall:
    """One tool call as far as it has come."""

    __slots__ = ("_arguments", "_kind", "_more", "_number", "id", "name")

    def __init__(self, number: int) -> None:
        self._number = number
        self._kind = "function"
        self._arguments = StreamedArguments()
        self._more: dict[str, Any] = {}
        self.id = ""
        self.name = ""

    def is_continued_by(
        self, piece: dict[str, Any], identity: str, indexed: bool, *, shares_chunk: bool
    ) -> bool:
        """Whether a piece that may belong to this call does.

        Args:
            piece: With the index of this call, or with none.
            identity: Its id, which no call has so far; empty when it has none.
            indexed: Whether it has an index.
            shares_chunk: Whether this call had a piece in the same chunk already.
        """
        function = as_dict(piece.get("custom")) or as_dict(piece.get("function"))
        name = as_text(function.get("name"))
        text = _text_of(function)
        if not name and not identity:
            return True
        if not indexed and name and (shares_chunk or not name.startswith(self.name)):
            return False  # without an index, another name is another call and no piece of one
        if identity and self.id and name:
            # A new id with every piece is seen, and with the name too; then the arguments go on.
            begun = bool(self._arguments) and not self._arguments.is_complete
            return begun and not text.lstrip().startswith("{")
        if self._arguments.is_complete:
            return not text.strip() and name in ("", self.name)
        return not (self._arguments.holds and name and name != self.name)

    def take(self, piece: dict[str, Any]) -> list[Delta]:
        """Take in one piece, and return the delta it brings; a repeated name or id is not new."""
        custom = piece.get("custom")
        if type(custom) is dict:
            self._kind = "custom"
        function = custom if type(custom) is dict else as_dict(piece.get("function"))
        self._more |= {
            key: value
            for key, value in piece.items()
            if key not in ("index", "id", "type", "function", "custom") and value is not None
        }
        new_id = "" if self.id else as_text(piece.get("id"))
        self.id = self.id or new_id
        new_name = self._take_name(as_text(function.get("name")))
        text = self._arguments.take(_text_of(function), may_stand_in=self._kind == "function")
        if self.name == ANSWER_TOOL:
            return [Delta(text)] if text else []
        if not (new_id or new_name or text):
            return []
        return [Delta(tool_call=ToolCallDelta(self._number, new_id, new_name, text))]

    def release(self, response_id: Any) -> list[Delta]:
        """Return what was held back: arguments of `{}` that no others have replaced, and an id of our own."""
        text = self._arguments.release()
        if self.name == ANSWER_TOOL:
            return [Delta(text)] if text else []
        new_id = "" if self.id else self._made_id(response_id)
        self.id = self.id or new_id
        return [Delta(tool_call=ToolCallDelta(self._number, new_id, "", text))] if text or new_id else []

    def whole(self, response_id: Any) -> dict[str, Any]:
        """Return the call as it stands in an answer of one piece."""
        identity = self.id or self._made_id(response_id)
        arguments = self._arguments.text
        if self._kind == "custom":
            inner = {"custom": {"name": self.name, "input": arguments}}
        else:
            inner = {"function": {"name": self.name, "arguments": arguments}}
        return {"id": identity, "type": self._kind, **inner, **self._more}

    def _take_name(self, name: str) -> str:
        """What is new in a name that comes at once, in pieces, or again and again as far as it goes."""
        if not name or name == self.name:
            return ""
        if name.startswith(self.name):
            new = name[len(self.name) :]
        elif self._arguments and self._arguments.text.strip():
            return ""  # the name was complete before its arguments began
        else:
            new = name
        self.name += new
        return new

    def _made_id(self, response_id: Any) -> str:
        return make_call_id(response_id, self._number, self.name, self._arguments.text)


def _text_of(function: dict[str, Any]) -> str:
    arguments = function.get("input") if "input" in function else function.get("arguments")
    return write_json(arguments).decode() if type(arguments) is dict else as_text(arguments)
