"""One streamed answer of Gemini's, put together as it would have come in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError
from callgate.providers.canonical.content import arguments_text
from callgate.providers.canonical.errors import cut_off
from callgate.providers.canonical.json import as_dict, as_list, read_object, update_counts
from callgate.providers.canonical.sse_decoder import EventStreamDecoder
from callgate.providers.canonical.tools import ANSWER_TOOL
from callgate.providers.gemini.errors import error_of_content
from callgate.providers.gemini.response import is_blocked, read_answer, read_call
from callgate.response import Delta, Response, ToolCallDelta
from callgate.transport.sse import ServerSentEvent

__all__ = ["GeminiStream"]

_JUST_TEXT = (frozenset({"text"}), frozenset({"text", "thought"}))


class GeminiStream(EventStreamDecoder):
    """Reads one stream of `GenerateContentResponse` chunks, each with what is new; `raw` of the answer is the
    one chunk that all of them add up to.

    There is no end mark: the answer is whole when the candidate has a finish reason, or the prompt was
    blocked. Of several candidates the first is read.
    """

    __slots__ = ("_candidate", "_ids", "_parts", "_whole")

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._whole: dict[str, Any] = {}
        self._candidate: dict[str, Any] | None = None
        self._parts: list[tuple[dict[str, Any], list[str] | None]] = []
        """Each part, and the pieces of its text: adding text to text takes quadratic time."""
        self._ids: list[str] = []

    def _error(self, content: Any) -> APIClientError:
        return error_of_content(content, None, self._headers)

    def _read_whole(self, body: bytes) -> Response:
        return read_answer(read_object(body), self._headers)

    def _answer(self) -> Response:
        finished = self._candidate is not None and self._candidate.get("finishReason")
        if not finished and not is_blocked(self._whole):
            raise cut_off(self._assembled() if self._whole else None, self._headers)
        response = read_answer(self._assembled(), self._headers)
        for call, identity in zip(response.tool_calls, self._ids, strict=False):
            call.id = identity
        return response

    def _take(self, event: ServerSentEvent, deltas: list[Delta]) -> None:
        if event.data[:6] == "[DONE]":  # some gateways end as OpenAI's streams do
            return
        chunk = read_object(event.data)
        if chunk.get("error"):
            raise error_of_content(chunk, None, self._headers)
        usage = as_dict(self._whole.get("usageMetadata"))
        update_counts(usage, chunk.get("usageMetadata"))
        self._whole |= {
            name: value for name, value in chunk.items() if name != "candidates" and value is not None
        }
        if usage:
            self._whole["usageMetadata"] = usage
        for candidate in as_list(chunk.get("candidates")):
            if type(candidate) is dict and not candidate.get("index"):
                self._take_candidate(candidate, deltas)

    def _take_candidate(self, candidate: dict[str, Any], deltas: list[Delta]) -> None:
        if self._candidate is None:
            self._candidate = {}
        self._candidate |= {
            name: value for name, value in candidate.items() if name != "content" and value is not None
        }
        for part in as_list(as_dict(candidate.get("content")).get("parts")):
            if type(part) is not dict:
                continue
            self._add(part)
            text = part.get("text")
            if type(text) is str:
                if text:
                    deltas.append(Delta(reasoning=text) if part.get("thought") is True else Delta(text))
            elif type(part.get("functionCall")) is dict:
                deltas.append(self._take_call(part["functionCall"]))

    def _take_call(self, given: dict[str, Any]) -> Delta:
        number = len(self._ids)
        call = read_call(given, self._whole.get("responseId"), number, self._ids)
        if call.name == ANSWER_TOOL:
            return Delta(arguments_text(call))
        self._ids.append(call.id)
        return Delta(tool_call=ToolCallDelta(number, call.id, call.name, arguments_text(call)))

    def _add(self, part: dict[str, Any]) -> None:
        """Append a part; text goes to the text before it, unless a signature stands between them."""
        if part.keys() not in _JUST_TEXT or type(part["text"]) is not str:
            self._parts.append((part, None))
            return
        if self._parts:
            last, pieces = self._parts[-1]
            if pieces is not None and part.get("thought") == last.get("thought"):
                pieces.append(part["text"])
                return
        self._parts.append((part, [part["text"]]))

    def _assembled(self) -> dict[str, Any]:
        if self._candidate is None:
            return dict(self._whole)
        parts = [
            part if pieces is None else {**part, "text": "".join(pieces)} for part, pieces in self._parts
        ]
        candidate = {**self._candidate, "content": {"parts": parts, "role": "model"}}
        return {"candidates": [candidate], **self._whole}
