"""One streamed answer of Bedrock's `ConverseStream`, put together as it would have come in one piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from callgate.errors import ResponseError
from callgate.providers.bedrock.errors import error_of_body, error_of_frame
from callgate.providers.bedrock.response import is_server_tool, read_answer
from callgate.providers.canonical.json import as_dict, as_list, as_text, read_arguments, read_object
from callgate.providers.canonical.tools import ANSWER_TOOL
from callgate.response import Delta, Response, ToolCallDelta
from callgate.transport.eventstream import EventStreamParser, Frame

__all__ = ["ConverseStream", "is_failure"]

_MAX_BLOCKS = 100_000


def is_failure(frame: Frame) -> bool:
    """Whether a frame tells of an exception and not of an event."""
    return frame.text(":message-type") in ("exception", "error")


class _Block:
    """One block of the content as far as it has come: its pieces by what they are of."""

    __slots__ = ("citations", "pieces", "results", "start", "tool_index")

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.tool_index = -1
        self.pieces: dict[str, list[str]] = {}
        self.citations: list[Any] = []
        self.results: list[Any] = []
        """What a tool of the provider's own answered."""

    @property
    def is_answer(self) -> bool:
        """Whether it is the tool whose input is the answer."""
        return as_dict(self.start.get("toolUse")).get("name") == ANSWER_TOOL

    def text(self, name: str) -> str:
        """All pieces of one kind."""
        return "".join(self.pieces.get(name, ()))

    def whole(self) -> dict[str, Any]:
        """The block as it stands in an answer of one piece."""
        if "toolUse" in self.start or "input" in self.pieces:
            arguments, unread = read_arguments(self.text("input"))
            use = {**as_dict(self.start.get("toolUse")), "input": arguments if unread is None else unread}
            return {**self.start, "toolUse": use}
        if "toolResult" in self.start:
            return {"toolResult": {**as_dict(self.start["toolResult"]), "content": _joined(self.results)}}
        if "redactedContent" in self.pieces:
            return {"reasoningContent": {"redactedContent": self.text("redactedContent")}}
        if "reasoning" in self.pieces or "signature" in self.pieces:
            told: dict[str, Any] = {"text": self.text("reasoning")}
            if "signature" in self.pieces:
                told["signature"] = self.text("signature")
            return {"reasoningContent": {"reasoningText": told}}
        if self.citations:
            cited = [{"text": self.text("text")}]
            return {"citationsContent": {"content": cited, "citations": self.citations}}
        return {**self.start, "text": self.text("text")} if "text" in self.pieces else dict(self.start)


def _joined(results: list[Any]) -> list[Any]:
    """The pieces of a tool's answer, those of a text put together."""
    joined: list[Any] = []
    texts: list[str] = []
    for item in results:
        if type(item) is dict and type(item.get("text")) is str:
            texts.append(item["text"])
            continue
        if texts:
            joined.append({"text": "".join(texts)})
            texts = []
        joined.append(item)
    return [*joined, {"text": "".join(texts)}] if texts else joined


class ConverseStream:
    """Reads one stream of binary frames. The answer is whole with `messageStop`; `metadata` with the usage
    follows it."""

    __slots__ = ("_blocks", "_headers", "_parser", "_tools", "_whole", "_whole_json")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._parser = EventStreamParser()
        self._blocks: dict[int, _Block] = {}
        self._whole: dict[str, Any] = {}
        self._tools = 0
        is_json = headers.get("content-type", "").startswith("application/json")
        self._whole_json: list[bytes] | None = [] if is_json else None

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield the deltas that `data` completes; those before an error come before it is raised.

        Raises:
            APIClientError: The stream holds an error.
            ResponseError: A frame is damaged or cannot be read.
        """
        if self._whole_json is not None:
            self._whole_json.append(data)
            return
        for frame in self._parser.feed(data):
            if is_failure(frame):
                raise error_of_frame(frame, self._headers)
            deltas: list[Delta] = []
            self._take(frame.text(":event-type"), read_object(frame.payload or b"{}"), deltas)
            yield from deltas

    def finish(self) -> Response:
        """The whole answer; its `raw` is the `ConverseResponse` that the events add up to.

        Raises:
            ResponseError: when the stream broke off before its end.
        """
        if self._whole_json is not None:
            body = b"".join(self._whole_json)
            content = read_object(body)
            if "output" not in content:
                raise error_of_body(500, body, self._headers)
            return read_answer(content, self._headers)
        if not self._whole.get("stopReason"):
            began = bool(self._blocks or self._whole)
            raise ResponseError(
                "the stream broke off before its end" if began else "the stream held no answer",
                response_content=self._assembled() if began else None,
                headers=self._headers,
            )
        response = read_answer(self._assembled(), self._headers)
        if any(block.is_answer for block in self._blocks.values()):
            # Exactly what was streamed, not the same JSON written anew.
            response.text = response.data = "".join(
                block.text("input") if block.is_answer else block.text("text")
                for _, block in sorted(self._blocks.items())
            )
        return response

    def _take(self, kind: str, event: dict[str, Any], deltas: list[Delta]) -> None:
        if kind == "contentBlockDelta":
            self._take_delta(self._block(event), as_dict(event.get("delta")), deltas)
        elif kind == "contentBlockStart":
            block = self._block(event)
            block.start = as_dict(event.get("start"))
            use = block.start.get("toolUse")
            if type(use) is dict and not is_server_tool(use) and not block.is_answer:
                block.tool_index = self._tools
                self._tools += 1
                identity, name = as_text(use.get("toolUseId")), as_text(use.get("name"))
                deltas.append(Delta(tool_call=ToolCallDelta(block.tool_index, identity, name)))
        elif kind in ("messageStop", "metadata"):
            self._whole |= {name: value for name, value in event.items() if value is not None and name != "p"}

    def _block(self, event: dict[str, Any]) -> _Block:
        index = event.get("contentBlockIndex")
        if type(index) is not int or not 0 <= index < _MAX_BLOCKS:
            index = 0
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block()
        return block

    def _take_delta(self, block: _Block, delta: dict[str, Any], deltas: list[Delta]) -> None:
        text = as_text(delta.get("text"))
        if "text" in delta:
            block.pieces.setdefault("text", []).append(text)
            if text:
                deltas.append(Delta(text))
        use = delta.get("toolUse")
        if type(use) is dict:
            piece = as_text(use.get("input"))
            block.pieces.setdefault("input", []).append(piece)
            if piece and block.is_answer:
                deltas.append(Delta(piece))
            elif piece and block.tool_index >= 0:
                deltas.append(Delta(tool_call=ToolCallDelta(block.tool_index, "", "", piece)))
        if delta.get("citation"):
            block.citations.append(delta["citation"])
        block.results += as_list(delta.get("toolResult"))
        reasoning = as_dict(delta.get("reasoningContent"))
        for name in ("text", "signature", "redactedContent"):
            piece = as_text(reasoning.get(name))
            if piece:
                block.pieces.setdefault("reasoning" if name == "text" else name, []).append(piece)
                if name == "text":
                    deltas.append(Delta(reasoning=piece))

    def _assembled(self) -> dict[str, Any]:
        content = [block.whole() for _, block in sorted(self._blocks.items())]
        return {"output": {"message": {"role": "assistant", "content": content}}, **self._whole}
