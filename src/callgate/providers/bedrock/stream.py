"""One streamed answer of Bedrock's `ConverseStream`, put together as it would have come in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.bedrock.frames import FrameDecoder
from callgate.providers.bedrock.response import is_server_tool, read_answer, request_id
from callgate.providers.canonical.errors import cut_off
from callgate.providers.canonical.json import as_dict, as_text, read_object, update_counts
from callgate.providers.canonical.streamed_blocks import StreamedBlock, StreamedBlocks
from callgate.response import Delta, Response
from callgate.transport.eventstream import Frame

__all__ = ["ConverseStream"]

_NO_DELTAS: list[Delta] = []
_REASONING_FIELDS = ("text", "signature", "redactedContent")


class ConverseStream(FrameDecoder):
    """Reads one stream of frames; `raw` of the answer is the `ConverseResponse` that they add up to.

    The answer is whole with `messageStop`; `metadata` with the usage follows it.
    """

    __slots__ = ("_blocks", "_whole")

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._blocks = StreamedBlocks()
        self._whole: dict[str, Any] = {}

    def _read_text(self, body: bytes) -> Response:
        content = read_object(body)
        if "output" not in content:
            raise self._error(body)
        return read_answer(content, self._headers)

    def _answer(self) -> Response:
        self._blocks.release(request_id(self._headers))
        content = [_whole(block) for block in self._blocks]
        whole = {"output": {"message": {"role": "assistant", "content": content}}, **self._whole}
        if not self._whole.get("stopReason"):
            raise cut_off(whole if self._blocks or self._whole else None, self._headers)
        response = read_answer(whole, self._headers)
        text = self._blocks.answer_text("text")
        if text is not None:
            response.text = response.data = text  # as it was streamed, not the same JSON written anew
        return response

    def _take(self, frame: Frame) -> list[Delta]:
        kind = frame.text(":event-type")
        event = read_object(frame.payload or b"{}")
        index = event.get("contentBlockIndex")
        if kind == "contentBlockDelta":
            return self._take_delta(index, as_dict(event.get("delta")))
        if kind == "contentBlockStart":
            return self._begin(index, as_dict(event.get("start")))
        if kind == "contentBlockStop":
            return self._blocks.end(index, request_id(self._headers))
        if kind in ("messageStop", "metadata"):
            usage = as_dict(self._whole.get("usage"))
            update_counts(usage, event.get("usage"))
            self._whole |= {name: value for name, value in event.items() if value is not None and name != "p"}
            if usage:
                self._whole["usage"] = usage
            return self._blocks.release(request_id(self._headers))
        return _NO_DELTAS

    def _begin(self, index: Any, start: dict[str, Any]) -> list[Delta]:
        use = start.get("toolUse")
        block = self._blocks.begin(index, start, "input" if "toolUse" in start else "")
        if type(use) is not dict:
            return _NO_DELTAS
        block.hold_arguments(use.get("input"))
        if is_server_tool(use):
            return _NO_DELTAS
        return self._blocks.begin_call(block, as_text(use.get("toolUseId")), as_text(use.get("name")))

    def _take_delta(self, index: Any, delta: dict[str, Any]) -> list[Delta]:
        deltas: list[Delta] = []
        text = delta.get("text")
        if type(text) is str:
            self._blocks.at(index, "text").add("text", text)
            deltas += [Delta(text)] if text else []
        use = delta.get("toolUse")
        if type(use) is dict:
            deltas += self._blocks.at(index, "input").take_arguments(use.get("input"))
        if delta.get("citation"):
            self._blocks.at(index, "text").items.setdefault("citations", []).append(delta["citation"])
        if type(delta.get("toolResult")) is list:
            self._blocks.at(index, "result").items.setdefault("results", []).extend(delta["toolResult"])
        reasoning = as_dict(delta.get("reasoningContent"))
        for field in _REASONING_FIELDS:
            piece = as_text(reasoning.get(field))
            if piece:
                self._blocks.at(index, "reasoning").add(f"reasoning {field}", piece)
                deltas += [Delta(reasoning=piece)] if field == "text" else []
        return deltas


def _whole(block: StreamedBlock) -> dict[str, Any]:
    """The block as it stands in an answer of one piece."""
    start, fields = block.start, block.pieces
    if block.arguments is not None:
        use = {**as_dict(start.get("toolUse")), "input": block.read_arguments()}
        return {**start, "toolUse": use}
    if "toolResult" in start:
        results = _joined(block.items.get("results", []))
        return {"toolResult": {**as_dict(start["toolResult"]), "content": results}}
    if "reasoning redactedContent" in fields:
        return {"reasoningContent": {"redactedContent": block.text("reasoning redactedContent")}}
    if "reasoning text" in fields or "reasoning signature" in fields:
        thought: dict[str, Any] = {"text": block.text("reasoning text")}
        if "reasoning signature" in fields:
            thought["signature"] = block.text("reasoning signature")
        return {"reasoningContent": {"reasoningText": thought}}
    if "citations" in block.items:
        cited = [{"text": block.text("text")}]
        return {"citationsContent": {"content": cited, "citations": block.items["citations"]}}
    return {**start, "text": block.text("text")} if "text" in fields else dict(start)


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
