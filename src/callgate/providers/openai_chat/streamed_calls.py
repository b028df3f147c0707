"""The tool calls of a streamed choice: which call each piece belongs to, and what the pieces add up to.

By the format, `index` names the call, and its id and name come with its first piece. Servers leave out any of
the three, repeat them with every piece, give every call the index 0 or every piece an id of its own, and send
the name late or in pieces. So no single field decides what is one call: an id that is known does, else a call
ends where its arguments are complete.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from callgate.providers.canonical.json import as_objects, as_text, read_index, write_json
from callgate.providers.canonical.streamed_arguments import StreamedArguments
from callgate.providers.canonical.tools import ANSWER_TOOL, make_call_id
from callgate.providers.openai_chat.response import function_of
from callgate.response import Delta, ToolCallDelta

__all__ = ["StreamedCall", "StreamedCalls"]

_MAX_INDEX = 1023
_READ_APART = frozenset({"index", "id", "type", "function", "custom", "name", "arguments"})


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
        for piece in as_objects(pieces):
            number = self._number_of(piece, taken)
            taken.add(number)
            call = self._calls.get(number)
            if call is None:
                call = self._calls[number] = StreamedCall(number)
            others = {other.id for other in self._calls.values()} if piece.get("id") else ()
            deltas.extend(call.take(piece, taken_ids=others))
        return deltas

    def release(self, response_id: Any) -> list[Delta]:
        """Return the deltas that were held back until the calls are known to have ended."""
        calls = [call for _, call in sorted(self._calls.items()) if not call.is_empty]
        return [delta for call in calls for delta in call.release(response_id)]

    def whole(self, response_id: Any) -> list[dict[str, Any]]:
        """Return the calls as they stand in an answer of one piece; without those that are empty."""
        return [call.whole(response_id) for _, call in sorted(self._calls.items()) if not call.is_empty]

    def _number_of(self, piece: dict[str, Any], taken: set[int]) -> int:
        """The number of the call that a piece belongs to: of a call so far, or of a new one."""
        index = read_index(piece.get("index"), _MAX_INDEX)
        identity = as_text(piece.get("id"))
        if identity:
            known = self._known_as(identity, index, piece)
            if known is not None:
                return known
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

    def _known_as(self, identity: str, index: int | None, piece: dict[str, Any]) -> int | None:
        """The number of the call so far that a piece with this id belongs to; two calls may have one id."""
        numbers = [number for number, call in self._calls.items() if call.given_id == identity]
        if not numbers:
            return None
        under_index = None if index is None else self._by_index.get(index)
        if under_index in numbers:
            return under_index
        return None if index is not None and self._calls[numbers[-1]].is_left_by(piece) else numbers[-1]


class StreamedCall:
    """One tool call as far as it has come."""

    __slots__ = ("_arguments", "_kind", "_more", "_number", "given_id", "id", "name")

    def __init__(self, number: int) -> None:
        self._number = number
        self._kind = "function"
        self._arguments = StreamedArguments()
        self._more: dict[str, Any] = {}
        self.given_id = ""
        self.id = ""
        """The given one, or one of our own where another call has it."""
        self.name = ""

    @property
    def is_empty(self) -> bool:
        """True while it has no id, no name and no arguments: some servers end with such a piece."""
        return not (self.id or self.name or self._arguments.text)

    def is_left_by(self, piece: dict[str, Any]) -> bool:
        """Whether a piece with its id under another index begins another call."""
        function = _function_of(piece)
        if not self._arguments.is_complete or not as_text(function.get("name")):
            return False
        return _text_of(function).strip() != self._arguments.text.strip()

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
        function = _function_of(piece)
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

    def take(self, piece: dict[str, Any], taken_ids: Collection[str] = ()) -> list[Delta]:
        """Take in one piece, and return the delta it brings; a repeated name or id is not new.

        Args:
            piece: As the server sent it.
            taken_ids: Of the other calls.
        """
        custom = piece.get("custom")
        if type(custom) is dict:
            self._kind = "custom"
        function = _function_of(piece)
        self._more |= {
            key: value for key, value in piece.items() if key not in _READ_APART and value is not None
        }
        new_id = "" if self.given_id else as_text(piece.get("id"))
        self.given_id = self.given_id or new_id
        if new_id in taken_ids:
            new_id = ""
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


def _function_of(piece: dict[str, Any]) -> dict[str, Any]:
    custom = piece.get("custom")
    return custom if type(custom) is dict else function_of(piece)


def _text_of(function: dict[str, Any]) -> str:
    arguments = function.get("input") if "input" in function else function.get("arguments")
    return write_json(arguments).decode() if type(arguments) is dict else as_text(arguments)
