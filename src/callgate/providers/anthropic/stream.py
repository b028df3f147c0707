"""One streamed message of Anthropic's, put together as it would have come in one piece.

Who takes the events out of the bytes differs: server-sent events here, Amazon's binary frames in
`bedrock_invoke`. What the events mean is the same: `MessageBuilder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError, ResponseError
from callgate.providers.anthropic.errors import error_of_content
from callgate.providers.anthropic.response import read_answer
from callgate.providers.canonical.json import (
    as_dict,
    as_text,
    read_arguments,
    read_object,
    update_counts,
    write_json,
)
from callgate.providers.canonical.sse_decoder import EventStreamDecoder
from callgate.providers.canonical.tools import ANSWER_TOOL
from callgate.response import Delta, Response, ToolCallDelta
from callgate.transport.sse import ServerSentEvent

__all__ = ["MessageBuilder", "MessageStream"]

_MAX_BLOCKS = 100_000
_NO_DELTAS: list[Delta] = []
_OF_THE_EVENT = frozenset({"type", "delta", "usage"})
# The blocks that are read. Of every other one the pieces are only gathered: the provider wants it back whole.
_READ_KINDS = frozenset({"text", "thinking", "tool_use"})
# Where the pieces of each kind of delta are gathered: type -> (field of the delta, field of the block).
_TEXT_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "input"),
}


class _Block:
    """One block of the content as far as it has come."""

    __slots__ = ("is_answer", "pieces", "start", "tool_index")

    def __init__(self, start: dict[str, Any], tool_index: int) -> None:
        self.start = start
        self.pieces: dict[str, list[str]] = {}
        self.tool_index = tool_index
        self.is_answer = start.get("type") == "tool_use" and start.get("name") == ANSWER_TOOL

    def whole(self) -> dict[str, Any]:
        """The block as it stands in a message of one piece."""
        block = dict(self.start)
        for name, pieces in self.pieces.items():
            text = "".join(pieces)
            if name == "input":
                if text:
                    arguments, unread = read_arguments(text)
                    block[name] = arguments if unread is None else unread
            else:
                block[name] = as_text(block.get(name)) + text
        return block


class MessageBuilder:
    """Adds up events to a message. Fed with parsed events, whoever took them out of the bytes.

    >>> builder = MessageBuilder({})
    >>> delta = {"type": "text_delta", "text": "Hi"}
    >>> builder.take({"type": "content_block_delta", "index": 0, "delta": delta})
    [Delta(text='Hi', reasoning='', tool_call=None)]
    """

    __slots__ = ("_blocks", "_ended", "_headers", "_message", "_tools", "_usage")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, Any] = {}
        self._tools = 0
        self._ended = False

    def take(self, event: dict[str, Any]) -> list[Delta]:
        """What one event adds.

        Raises:
            APIClientError: when it says that the stream failed.
        """
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._take_delta(event)
        if kind == "content_block_start":
            return self._take_start(event)
        if kind == "message_delta":
            # Some of it stands beside the delta: `context_management`.
            for told in (event, as_dict(event.get("delta"))):
                self._message |= {k: v for k, v in told.items() if k not in _OF_THE_EVENT and v is not None}
            self._take_usage(event.get("usage"))
        elif kind == "message_start":
            self._message |= as_dict(event.get("message"))
            self._take_usage(self._message.get("usage"))
            content = self._message.get("content")
            for index, block in enumerate(content if type(content) is list else ()):
                self._block(index, block)
        elif kind == "message_stop":
            self._ended = True
        elif kind == "error" or (event.get("error") and kind is None):
            raise error_of_content(event, None, self._headers)
        return _NO_DELTAS

    def finish(self) -> Response:
        """The whole answer.

        Raises:
            ResponseError: when the events stopped before the message had ended.
        """
        message = self._whole()
        # Without message_stop the reason to stop is proof enough: nothing comes after it but the end.
        if not self._ended and not message.get("stop_reason"):
            raise ResponseError(
                "the stream broke off before its end" if self._message else "the stream held no answer",
                response_content=message if self._message else None,
                headers=self._headers,
            )
        response = read_answer(message, self._headers)
        if any(block.is_answer for block in self._blocks.values()):
            # Exactly what was streamed, not the same JSON written anew.
            response.text = response.data = self._streamed_text()
        return response

    def _whole(self) -> dict[str, Any]:
        whole = dict(self._message)
        whole["content"] = [block.whole() for _, block in sorted(self._blocks.items())]
        if self._usage:
            whole["usage"] = self._usage
        return whole

    def _streamed_text(self) -> str:
        texts: list[str] = []
        for _, block in sorted(self._blocks.items()):
            if block.is_answer:
                texts.append(
                    "".join(block.pieces.get("input", ())) or write_json(block.start.get("input")).decode()
                )
            elif block.start.get("type") == "text":
                texts.append(as_text(block.whole().get("text")))
        return "".join(texts)

    def _take_usage(self, usage: Any) -> None:
        update_counts(self._usage, usage)

    def _block(self, index: Any, start: Any) -> _Block:
        if type(index) is not int or not 0 <= index < _MAX_BLOCKS:
            index = max(self._blocks, default=-1) + (start is not None)
        block = self._blocks.get(index)
        if block is None or start is not None:
            start = as_dict(start)
            block = self._blocks[index] = _Block(start, self._tools)
            if start.get("type") == "tool_use" and not block.is_answer:
                self._tools += 1
        return block

    def _take_start(self, event: dict[str, Any]) -> list[Delta]:
        start = as_dict(event.get("content_block"))
        block = self._block(event.get("index"), start)
        kind = start.get("type")
        if kind == "text" and start.get("text"):
            return [Delta(as_text(start["text"]))]
        if kind == "thinking" and start.get("thinking"):
            return [Delta(reasoning=as_text(start["thinking"]))]
        if kind != "tool_use":
            return _NO_DELTAS
        given = write_json(start["input"]).decode() if start.get("input") else ""
        if block.is_answer:
            return [Delta(given)] if given else _NO_DELTAS
        call = ToolCallDelta(block.tool_index, as_text(start.get("id")), as_text(start.get("name")), given)
        return [Delta(tool_call=call)]

    def _take_delta(self, event: dict[str, Any]) -> list[Delta]:
        delta = as_dict(event.get("delta"))
        kind = as_text(delta.get("type"))
        index = event.get("index")
        if kind == "citations_delta":
            start = self._block(index, None).start
            held = start.get("citations")
            start["citations"] = [*(held if type(held) is list else ()), delta.get("citation")]
            return _NO_DELTAS
        if kind not in _TEXT_DELTAS:
            if type(index) is int and index in self._blocks:
                self._gather(self._blocks[index], delta)
            return _NO_DELTAS
        field, gathered = _TEXT_DELTAS[kind]
        text = as_text(delta.get(field))
        block = self._block(index, None)
        if not block.start:
            # The start got lost, or was never sent: what comes tells what it is.
            block.start["type"] = {"input": "tool_use", "text": "text"}.get(gathered, "thinking")
        block.pieces.setdefault(gathered, []).append(text)
        if not text:
            return _NO_DELTAS
        if gathered == "text":
            return [Delta(text)]
        if gathered == "thinking":
            return [Delta(reasoning=text)]
        if gathered == "input" and block.start.get("type") == "tool_use":
            return (
                [Delta(text)]
                if block.is_answer
                else [Delta(tool_call=ToolCallDelta(block.tool_index, "", "", text))]
            )
        return _NO_DELTAS

    def _gather(self, block: _Block, delta: dict[str, Any]) -> None:
        """Keep the pieces of a block of an unknown kind (`compaction`): text is added, all else replaces."""
        if as_text(block.start.get("type")) in _READ_KINDS:
            return
        for name, value in delta.items():
            if name == "type" or value is None:
                continue
            if type(value) is str:
                block.pieces.setdefault(name, []).append(value)
            else:
                block.start[name] = value


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
