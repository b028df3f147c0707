"""The content blocks of a stream as far as they have come, for formats that stream block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from callgate.providers.canonical.json import read_arguments, read_index, write_json
from callgate.providers.canonical.streamed_arguments import StreamedArguments
from callgate.providers.canonical.tools import ANSWER_TOOL, make_call_id
from callgate.response import Delta, ToolCallDelta

__all__ = ["StreamedBlock", "StreamedBlocks"]

_MAX_INDEX = 100_000


class StreamedBlock:
    """One block: how it began, and the pieces that followed.

    Attributes:
        start: The block as the stream began it, in the provider's form; empty when it began without.
        kind: What its first piece belongs to ("text", "input"); empty before.
        pieces: The pieces of text by the field that they belong to.
        items: The pieces of lists by the field that they belong to.
        arguments: Of a tool call; None for other blocks.
        number: Of the call among the caller's; None for other blocks and for the answer tool.
        is_answer: True when it is a call of the tool whose input is the answer (`ANSWER_TOOL`).
        ended: True after the stream has ended it.
    """

    __slots__ = (
        "arguments",
        "ended",
        "id",
        "is_answer",
        "items",
        "kind",
        "name",
        "number",
        "pieces",
        "start",
    )

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.kind = ""
        self.pieces: dict[str, list[str]] = {}
        self.items: dict[str, list[Any]] = {}
        self.arguments: StreamedArguments | None = None
        self.number: int | None = None
        self.is_answer = False
        self.id = ""
        self.name = ""
        self.ended = False

    @property
    def is_fresh(self) -> bool:
        """True while no piece has followed the start."""
        return not (self.ended or self.pieces or self.items or self.arguments)

    def text(self, field: str) -> str:
        """All pieces of a field."""
        return "".join(self.pieces.get(field, ()))

    def add(self, field: str, text: str) -> None:
        """Append a piece to a field."""
        self.pieces.setdefault(field, []).append(text)

    def take_arguments(self, given: Any) -> list[Delta]:
        """Take in a piece of a call's arguments (text, or an object), and return the delta it brings."""
        if self.arguments is None:
            self.arguments = StreamedArguments()
        text = write_json(given).decode() if type(given) is dict else given if type(given) is str else ""
        return self._deltas_of(self.arguments.take(text))

    def hold_arguments(self, given: Any) -> None:
        """Keep arguments that came with the start: pieces after them replace them."""
        if self.arguments is None:
            self.arguments = StreamedArguments()
        if given:
            self.arguments.hold(given if type(given) is str else write_json(given).decode())

    def read_arguments(self) -> Any:
        """The arguments as an object, or the model's own text when that is none."""
        arguments, unread = read_arguments("" if self.arguments is None else self.arguments.text)
        return arguments if unread is None else unread

    def release(self, response_id: Any) -> list[Delta]:
        """End the block, and return what was held back of a call: arguments, and an id of our own."""
        self.ended = True
        if self.arguments is None:
            return []
        deltas = self._deltas_of(self.arguments.release())
        if self.number is not None and not self.id:
            self.id = make_call_id(response_id, self.number, self.name, self.read_arguments())
            deltas.append(Delta(tool_call=ToolCallDelta(self.number, self.id)))
        return deltas

    def _deltas_of(self, text: str) -> list[Delta]:
        if text and self.is_answer:
            return [Delta(text)]
        if text and self.number is not None:
            return [Delta(tool_call=ToolCallDelta(self.number, "", "", text))]
        return []


class StreamedBlocks:
    """All blocks of an answer, in the order in which they began.

    Servers leave the index of a block out, or give every block the same: an index that has ended, and one
    that begins again, is another block.

    >>> blocks = StreamedBlocks()
    >>> blocks.at(0, "text").add("text", "Hi")
    >>> blocks.end(0, None), blocks.at(0, "text") is blocks.at(0, "text"), len(list(blocks))
    ([], True, 2)
    """

    __slots__ = ("_blocks", "_by_index", "_calls", "_ids")

    def __init__(self) -> None:
        self._blocks: list[StreamedBlock] = []
        self._by_index: dict[int, StreamedBlock] = {}
        self._calls = 0
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __iter__(self) -> Iterator[StreamedBlock]:
        return iter(self._blocks)

    def begin(self, index: Any, start: dict[str, Any], kind: str = "") -> StreamedBlock:
        """The block that begins under this index; pieces of its kind that came before are its own."""
        block = self._latest(index)
        if block is not None and block.is_fresh and block.start == start:
            return block  # the same event again
        if (
            block is None
            or block.ended
            or block.start
            or block.kind not in ("", kind)
            or read_index(index, _MAX_INDEX) is None
        ):
            block = self._new(index)
        block.start = start
        block.kind = kind
        return block

    def at(self, index: Any, kind: str) -> StreamedBlock:
        """The block that a piece of this kind belongs to."""
        block = self._latest(index)
        if block is None or block.ended or block.kind not in ("", kind):
            block = self._new(index)
        block.kind = kind
        return block

    def find(self, index: Any) -> StreamedBlock | None:
        """The block under this index that has not ended; None when there is none."""
        block = self._latest(index)
        return None if block is None or block.ended else block

    def begin_call(self, block: StreamedBlock, identity: str, name: str) -> list[Delta]:
        """Make a block a call of the caller's tool or the answer tool; return the deltas that it brings."""
        if block.number is not None or block.is_answer:
            return []
        if block.arguments is None:
            block.arguments = StreamedArguments()
        waiting = block.arguments.text if block.arguments else ""
        block.name = name
        block.is_answer = name == ANSWER_TOOL
        if block.is_answer:
            return [Delta(waiting)] if waiting else []
        block.number = self._calls
        self._calls += 1
        if identity not in self._ids:
            self._ids.add(identity)
            block.id = identity
        return [Delta(tool_call=ToolCallDelta(block.number, block.id, name, waiting))]

    def end(self, index: Any, response_id: Any) -> list[Delta]:
        """End the block under this index; return the deltas that were held back until then."""
        block = self._latest(index)
        return [] if block is None else self._end(block, response_id)

    def release(self, response_id: Any) -> list[Delta]:
        """End all blocks; return the deltas that were held back until then."""
        return [delta for block in self._blocks for delta in self._end(block, response_id)]

    def _end(self, block: StreamedBlock, response_id: Any) -> list[Delta]:
        is_call_without_start = block.arguments is not None and not block.start and block.number is None
        begun = self.begin_call(block, "", "") if is_call_without_start else []
        return begun + block.release(response_id)

    def answer_text(self, field: str) -> str | None:
        """The text exactly as it was streamed, when the answer tool was called; else None.

        Args:
            field: The field that pieces of text belong to.
        """
        if not any(block.is_answer for block in self._blocks):
            return None
        texts: list[str] = []
        for block in self._blocks:
            if block.is_answer and block.arguments is not None:
                texts.append(block.arguments.text)
            elif block.arguments is None:
                start = block.start.get(field)
                texts.append((start if type(start) is str else "") + block.text(field))
        return "".join(texts)

    def _latest(self, index: Any) -> StreamedBlock | None:
        number = read_index(index, _MAX_INDEX)
        if number is not None:
            return self._by_index.get(number)
        return self._blocks[-1] if self._blocks else None

    def _new(self, index: Any) -> StreamedBlock:
        block = StreamedBlock()
        self._blocks.append(block)
        number = read_index(index, _MAX_INDEX)
        if number is not None:
            self._by_index[number] = block
        return block
