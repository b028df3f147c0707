"""One streamed message of Anthropic's, put together as it would have come in one piece.

Anthropic sends the events as server-sent events, Amazon in binary frames; `MessageBuilder` reads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError
from callgate.providers.anthropic.errors import error_of_content
from callgate.providers.anthropic.response import read_answer
from callgate.providers.canonical.errors import cut_off
from callgate.providers.canonical.json import as_dict, as_list, as_text, read_object, update_counts
from callgate.providers.canonical.sse_decoder import EventStreamDecoder
from callgate.providers.canonical.streamed_blocks import StreamedBlock, StreamedBlocks
from callgate.response import Delta, Response
from callgate.transport.sse import ServerSentEvent

__all__ = ["MessageBuilder", "MessageStream"]

_NO_DELTAS: list[Delta] = []
_OF_EVENT = frozenset({"type", "delta", "usage"})
# Other kinds of block are only gathered: the provider wants them back whole.
_READ_KINDS = frozenset({"text", "thinking", "tool_use"})
# Kind of delta -> its field, which is also the field of the block, and the kind of the block.
_TEXT_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "thinking"),
}


class MessageBuilder:
    """Adds up parsed events to a message.

    >>> builder = MessageBuilder({})
    >>> delta = {"type": "text_delta", "text": "Hi"}
    >>> builder.take({"type": "content_block_delta", "index": 0, "delta": delta})
    [Delta(text='Hi', reasoning='', tool_call=None)]
    """

    __slots__ = ("_blocks", "_ended", "_headers", "_message", "_usage")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._message: dict[str, Any] = {}
        self._blocks = StreamedBlocks()
        self._usage: dict[str, Any] = {}
        self._ended = False

    def take(self, event: dict[str, Any]) -> list[Delta]:
        """Take in one event, and return the deltas that it brings.

        Raises:
            APIClientError: The event is an error.
        """
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._take_delta(event.get("index"), as_dict(event.get("delta")))
        if kind == "content_block_start":
            return self._begin(event.get("index"), as_dict(event.get("content_block")))
        if kind == "content_block_stop":
            return self._blocks.end(event.get("index"), self._message.get("id"))
        if kind == "message_delta":
            # Some fields stand beside the delta: `context_management`.
            for fields in (event, as_dict(event.get("delta"))):
                self._message |= {k: v for k, v in fields.items() if k not in _OF_EVENT and v is not None}
            update_counts(self._usage, event.get("usage"))
            if self._message.get("stop_reason"):
                return self._blocks.release(self._message.get("id"))
        elif kind in ("message_start", "message"):  # some servers answer with one event: the whole message
            self._message |= as_dict(event.get("message")) if kind == "message_start" else event
            update_counts(self._usage, self._message.get("usage"))
            for index, block in enumerate(as_list(self._message.get("content"))):
                self._begin(index, as_dict(block))
        elif kind == "message_stop":
            self._ended = True
            return self._blocks.release(self._message.get("id"))
        elif kind == "error" or (event.get("error") and kind is None):
            raise error_of_content(event, None, self._headers)
        return _NO_DELTAS

    def finish(self) -> Response:
        """Return the whole answer.

        Raises:
            ResponseError: The events stopped before the message had ended.
        """
        self._blocks.release(self._message.get("id"))
        message = {**self._message, "content": [_whole(block) for block in self._blocks]}
        if self._usage:
            message["usage"] = self._usage
        # Without message_stop the reason to stop is proof enough: nothing comes after it but the end.
        if not self._ended and not message.get("stop_reason"):
            raise cut_off(message if self._message or self._blocks else None, self._headers)
        response = read_answer(message, self._headers)
        text = self._blocks.answer_text("text")
        if text is not None:
            response.text = response.data = text  # as it was streamed, not the same JSON written anew
        return response

    def _begin(self, index: Any, start: dict[str, Any]) -> list[Delta]:
        kind = as_text(start.get("type"))
        pieces = "input" if kind.endswith("tool_use") else kind if kind in _READ_KINDS else ""
        block = self._blocks.begin(index, start, pieces)
        if kind == "text" and start.get("text"):
            return [Delta(as_text(start["text"]))]
        if kind == "thinking" and start.get("thinking"):
            return [Delta(reasoning=as_text(start["thinking"]))]
        if kind != "tool_use":
            return _NO_DELTAS
        block.hold_arguments(start.get("input"))
        return self._blocks.begin_call(block, as_text(start.get("id")), as_text(start.get("name")))

    def _take_delta(self, index: Any, delta: dict[str, Any]) -> list[Delta]:
        kind = as_text(delta.get("type"))
        if kind == "input_json_delta" or (not kind and "partial_json" in delta):
            return self._blocks.at(index, "input").take_arguments(delta.get("partial_json"))
        if kind in _TEXT_DELTAS:
            field, kind = _TEXT_DELTAS[kind]
            text = as_text(delta.get(field))
            self._blocks.at(index, kind).add(field, text)
            if not text or field == "signature":
                return _NO_DELTAS
            return [Delta(text) if field == "text" else Delta(reasoning=text)]
        if kind == "citations_delta":
            start = self._blocks.at(index, "text").start
            start["citations"] = [*as_list(start.get("citations")), delta.get("citation")]
            return _NO_DELTAS
        block = self._blocks.find(index)
        if block is not None:
            _gather(block, delta)
        return _NO_DELTAS


def _gather(block: StreamedBlock, delta: dict[str, Any]) -> None:
    """Keep the pieces of a block of an unknown kind (`compaction`): text is added, all else replaces."""
    if as_text(block.start.get("type")) in _READ_KINDS:
        return
    for name, value in delta.items():
        if name == "type" or value is None:
            continue
        if type(value) is str:
            block.add(name, value)
        else:
            block.start[name] = value


def _whole(block: StreamedBlock) -> dict[str, Any]:
    """The block as it stands in a message of one piece; without a start its pieces show its type."""
    kind = "tool_use" if block.arguments is not None else block.kind
    whole = {"type": kind, **block.start} if kind else dict(block.start)
    if block.arguments is not None and (block.arguments.text or "input" not in whole):
        whole["input"] = block.read_arguments()
    for field in block.pieces:
        whole[field] = as_text(whole.get(field)) + block.text(field)
    return whole


class MessageStream(EventStreamDecoder):
    """Reads one stream of server-sent events; `raw` of the answer is the message that they add up to."""

    __slots__ = ("_builder",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._builder = MessageBuilder(headers)

    def _take(self, event: ServerSentEvent, deltas: list[Delta]) -> None:
        if event.data[:6] != "[DONE]":  # some servers end as OpenAI's do
            deltas += self._builder.take(read_object(event.data))

    def _error(self, content: Any) -> APIClientError:
        return error_of_content(content, None, self._headers)

    def _answer(self) -> Response:
        return self._builder.finish()

    def _read_whole(self, body: bytes) -> Response:
        return read_answer(read_object(body), self._headers)
