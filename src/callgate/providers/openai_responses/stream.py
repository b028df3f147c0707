"""One streamed answer of the Responses dialect, put together as it would have come in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError, ResponseError
from callgate.providers.canonical.json import (
    as_dict,
    as_list,
    as_text,
    read_index,
    read_object,
    token_count,
    write_json,
)
from callgate.providers.canonical.sse_decoder import EventStreamDecoder
from callgate.providers.canonical.streamed_arguments import StreamedArguments
from callgate.providers.openai_chat.errors import error_of_content
from callgate.providers.openai_responses.response import OutputItems, call_id, read_answer
from callgate.response import Delta, Response, ToolCall, ToolCallDelta
from callgate.transport.sse import ServerSentEvent

__all__ = ["ResponsesStream"]

# Pieces of text: event without "delta" or "done" -> (list of parts in the item, type of part, field of it).
_TEXTS = {
    "response.output_text.": ("content", "output_text", "text"),
    "response.refusal.": ("content", "refusal", "refusal"),
    "response.reasoning_text.": ("content", "reasoning_text", "text"),
    "response.reasoning_summary_text.": ("summary", "summary_text", "text"),
}
_CALLS = {
    "response.function_call_arguments.": ("function_call", "arguments"),
    "response.custom_tool_call_input.": ("custom_tool_call", "input"),
}
_ARGUMENTS = frozenset({"arguments", "input"})
_MAX_INDEX = 100_000


class ResponsesStream(EventStreamDecoder):
    """Reads one stream of `response.*` events.

    The last event holds the whole answer. Some gateways send it without its output, or not at all; then the
    answer is what the other events add up to.
    """

    __slots__ = ("_done", "_final", "_items", "_items_by_id", "_reasoned", "_top")

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._top: dict[str, Any] = {}
        self._final: dict[str, Any] | None = None
        self._done = False
        self._items: dict[int, _Item] = {}
        self._items_by_id: dict[str, _Item] = {}
        self._reasoned: tuple[Any, ...] | None = None

    def _read_whole(self, body: bytes) -> Response:
        return read_answer(read_object(body), self._headers)

    def _error(self, content: Any) -> APIClientError:
        return error_of_content(content, None, self._headers)

    def _answer(self) -> Response:
        final = self._final
        output = [item.whole() for _, item in sorted(self._items.items()) if item.kind]
        if final is None and self._done and output:
            final = {**self._top, "status": "completed"}
        if final is None:
            raise ResponseError(
                "the stream broke off before its end", response_content=output, headers=self._headers
            )
        read, streamed = OutputItems(as_list(final.get("output"))), OutputItems(output)
        if output and (not (read.text or read.calls) or _have_lost_arguments(read.calls, streamed.calls)):
            final = {**final, "output": output}
        return read_answer(final, self._headers)

    def _take(self, event: ServerSentEvent, deltas: list[Delta]) -> None:
        if self._final is not None:
            return
        if event.data[:6] == "[DONE]":
            self._done = True
            return
        data = read_object(event.data)
        kind = as_text(data.get("type")) or event.event
        if kind in ("response.completed", "response.incomplete") or data.get("object") == "response":
            self._final = {**self._top, **as_dict(data.get("response", data))}
        elif kind == "response.failed":
            raise self._error(data.get("response"))
        elif kind == "error" or (data.get("error") and not kind.startswith("response.")):
            raise self._error(data)
        elif kind == "response.created":
            self._top = as_dict(data.get("response"))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            item = self._item(data, kind)
            item.take_item(as_dict(data.get("item")), kind.endswith("done"), deltas)
        elif kind.endswith((".delta", ".done")):
            self._take_piece(kind, data, deltas)

    def _take_piece(self, kind: str, data: dict[str, Any], deltas: list[Delta]) -> None:
        start, _, end = kind.rpartition(".")
        start += "."
        if start in _CALLS:
            call_kind, field = _CALLS[start]
            piece = _arguments_text(data.get(field if end == "done" else "delta"))
            self._item(data).take_arguments(call_kind, piece, end == "done", deltas)
        elif start in _TEXTS:
            holder, part_kind, field = _TEXTS[start]
            place = (holder, token_count(data.get("summary_index") or data.get("content_index")), part_kind)
            piece = as_text(data.get(field if end == "done" else "delta"))
            new = self._item(data).take_text(place, piece, end == "done")
            if new and "reasoning" in start:
                deltas.append(
                    Delta(reasoning=self._separator((token_count(data.get("output_index")), *place)) + new)
                )
            elif new:
                deltas.append(Delta(new))

    def _item(self, data: dict[str, Any], kind: str = "") -> _Item:
        """The item that an event is about: by the id that began one, else by the index, else the latest.

        Some gateways leave out the index or give every item the same; others change the id with each event.
        """
        given = as_dict(data.get("item"))
        identity = as_text(data.get("item_id")) or as_text(given.get("id"))
        item = self._items_by_id.get(identity)
        if item is not None:
            return item
        latest = max(self._items, default=0)
        index = read_index(data.get("output_index"), _MAX_INDEX)
        number = latest if index is None else index
        item = self._items.get(number)
        ids_last = kind.endswith("added") or index is None
        if item is not None and given and item.is_other_than(given, ids_last=ids_last):
            number, item = latest + 1, None
        if item is None:
            item = self._items[number] = _Item(sum(1 for other in self._items.values() if other.is_call))
        if given and identity:
            self._items_by_id[identity] = item
        return item

    def _separator(self, place: tuple[Any, ...]) -> str:
        """The blank line between one thought and the next."""
        before, self._reasoned = self._reasoned, place
        return "" if before is None or before == place else "\n\n"


class _Item:
    """One item of the output as far as it has come."""

    __slots__ = ("_arguments", "_begun", "_fields", "_number", "_texts", "kind")

    def __init__(self, number: int) -> None:
        self._number = number  # among the tool calls
        self._fields: dict[str, Any] = {}
        self._texts: dict[tuple[str, int, str], list[str]] = {}
        self._arguments = StreamedArguments()
        self._begun = False
        self.kind = ""
        """Its type; empty when nothing is known of it."""

    @property
    def is_call(self) -> bool:
        return self.kind in ("function_call", "custom_tool_call")

    def is_other_than(self, item: dict[str, Any], *, ids_last: bool) -> bool:
        """Whether this one has begun, and as another than `item`.

        Args:
            item: As it is at its beginning, or at its end.
            ids_last: False where its id may have changed.
        """
        names = ("type", "call_id", "id") if ids_last else ("type", "call_id")
        pairs = [(as_text(self._fields.get(name)), as_text(item.get(name))) for name in names]
        return any(held and given and held != given for held, given in pairs)

    def take_item(self, item: dict[str, Any], done: bool, deltas: list[Delta]) -> None:
        """Take in the item as it is at its beginning, or at its end."""
        self._fields |= {name: value for name, value in item.items() if name not in _ARGUMENTS}
        self.kind = as_text(item.get("type")) or self.kind
        if not self.is_call:
            return
        if not self._begun:
            self._begun = True
            name = as_text(item.get("name"))
            deltas.append(Delta(tool_call=ToolCallDelta(self._number, call_id(item), name)))
        text = _arguments_text(item.get("arguments") or item.get("input"))
        if done:
            self.take_arguments(self.kind, text, True, deltas)
        else:
            self._arguments.hold(text)

    def take_arguments(self, kind: str, text: str, done: bool, deltas: list[Delta]) -> None:
        """Take in a piece of a call's arguments, or at the end all of them: pieces may be missing."""
        self.kind = self.kind or kind
        if done:
            text = self._arguments.complete(text)
        else:
            text = self._arguments.take(text, may_stand_in=self.kind == "function_call")
        if text:
            deltas.append(Delta(tool_call=ToolCallDelta(self._number, arguments=text)))

    def take_text(self, place: tuple[str, int, str], text: str, done: bool) -> str:
        """Take in a piece of a text, or at the end all of it; returns what is new."""
        self.kind = self.kind or (
            "reasoning" if "reasoning" in place[2] or place[0] == "summary" else "message"
        )
        held = self._texts.setdefault(place, [])
        if done:
            text = "" if held else text
        if text:
            held.append(text)
        return text

    def whole(self) -> dict[str, Any]:
        """The item as it stands in an answer of one piece; its own fields go before its pieces."""
        item = {"type": self.kind, **self._fields}
        if self.is_call:
            field = "arguments" if self.kind == "function_call" else "input"
            item[field] = self._arguments.text
            return item
        for holder in ("content", "summary"):
            parts = [
                {"type": kind, ("refusal" if kind == "refusal" else "text"): "".join(pieces)}
                for (place, _, kind), pieces in sorted(self._texts.items())
                if place == holder
            ]
            if parts and not item.get(holder):
                item[holder] = parts
        return item


def _arguments_text(given: Any) -> str:
    return write_json(given).decode() if type(given) is dict else as_text(given)


def _have_lost_arguments(calls: list[ToolCall], streamed: list[ToolCall]) -> bool:
    """Whether the last event has the calls that were streamed, and one of them without its arguments."""
    if len(calls) != len(streamed):
        return False
    return any(
        not (call.arguments or call.raw_arguments) and (whole.arguments or whole.raw_arguments)
        for call, whole in zip(calls, streamed, strict=True)
    )
