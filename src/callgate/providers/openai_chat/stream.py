"""One streamed answer of OpenAI's chat dialect, put together as it would have come in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError, ResponseError
from callgate.providers.canonical.json import (
    as_dict,
    as_objects,
    as_text,
    read_index,
    read_object,
    update_counts,
)
from callgate.providers.canonical.sse_decoder import EventStreamDecoder
from callgate.providers.openai_chat.errors import error_of_content
from callgate.providers.openai_chat.response import read_answer, read_content, read_reasoning_details
from callgate.providers.openai_chat.streamed_calls import StreamedCall, StreamedCalls
from callgate.providers.openai_chat.thoughts import add_details, add_parts
from callgate.response import Delta, Response
from callgate.transport.sse import ServerSentEvent

__all__ = ["ChatStream"]

_READ_APART = frozenset({"choices", "usage", "obfuscation"})
_DELTA_READ_APART = frozenset(
    {
        "role",
        "content",
        "refusal",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "tool_calls",
        "function_call",
    }
)
_CHOICE_READ_APART = frozenset({"delta", "message", "index", "text", "usage"})
_MAX_CHOICES = 1024


class ChatStream(EventStreamDecoder):
    """Reads one stream of `chat.completion.chunk` objects, or of the older `text_completion` ones.

    The stream has come to its end when `[DONE]` was seen or every choice has a finish reason: not all
    hosts send `[DONE]`, and what may follow a finish reason is the usage alone. The deltas are those of the
    first choice; `raw` of the answer is the `chat.completion` object that the chunks add up to.

    >>> stream = ChatStream({})
    >>> chunk = b'data: {"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]}'
    >>> list(stream.feed(chunk)), list(stream.feed(b"\\n\\n"))
    ([], [Delta(text='4', reasoning='', tool_call=None)])
    >>> stream.finish().text
    '4'
    """

    __slots__ = ("_choices", "_done", "_provider", "_top", "_usage")

    def __init__(self, headers: Mapping[str, str], provider: str = "") -> None:
        super().__init__(headers)
        self._provider = provider
        self._top: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: dict[str, Any] | None = None
        self._done = False

    def _read_whole(self, body: bytes) -> Response:
        return read_answer(read_object(body), self._headers, provider=self._provider)

    def _error(self, content: Any) -> APIClientError:
        return error_of_content(content, None, self._headers)

    def _answer(self) -> Response:
        if not self._choices:
            raise ResponseError("the stream held no answer", headers=self._headers)
        whole = dict(self._top)
        whole["choices"] = [
            choice.whole(index, self._top.get("id")) for index, choice in sorted(self._choices.items())
        ]
        if self._usage is not None:
            whole["usage"] = self._usage
        if not self._done and not all(choice.finished for choice in self._choices.values()):
            raise ResponseError(
                "the stream broke off before its end", response_content=whole, headers=self._headers
            )
        return read_answer(whole, self._headers, provider=self._provider)

    def _take(self, event: ServerSentEvent, deltas: list[Delta]) -> None:
        if self._done:
            return
        if event.data[:6] == "[DONE]":
            self._done = True
            if 0 in self._choices:
                deltas.extend(self._choices[0].release(self._top.get("id")))
            return
        chunk = read_object(event.data)
        if chunk.get("error") or chunk.get("object") == "error":
            raise error_of_content(chunk, None, self._headers)
        for name, value in chunk.items():
            # Azure's first chunk has only empty values; what is empty never replaces what is not.
            if value and name not in _READ_APART:
                self._top[name] = "chat.completion" if value == "chat.completion.chunk" else value
        self._take_usage(chunk.get("usage") or as_dict(chunk.get("x_groq")).get("usage"))
        for item in as_objects(chunk.get("choices")):
            self._take_choice(item, deltas)

    def _take_usage(self, usage: Any) -> None:
        if type(usage) is dict:
            self._usage = self._usage or {}
            update_counts(self._usage, usage)

    def _take_choice(self, item: dict[str, Any], deltas: list[Delta]) -> None:
        if item.get("error"):
            raise error_of_content(item, None, self._headers)
        self._take_usage(item.get("usage"))  # Moonshot counts in the last choice
        index = read_index(item.get("index"), _MAX_CHOICES) or 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        delta = item.get("delta")
        if type(delta) is not dict and type(item.get("message")) is dict:
            delta = choice.rest_of(item["message"])
        if type(delta) is dict:
            new = choice.take(delta)
        else:
            text = as_text(item.get("text"))
            choice.is_bare_text = choice.is_bare_text or "text" in item
            choice.text.append(text)
            new = [Delta(text)] if text else []
        choice.take_the_rest(item)
        if index == 0:
            deltas.extend(new)
            if choice.finished:
                deltas.extend(choice.release(self._top.get("id")))


class _Choice:
    """One choice of the answer as far as it has come."""

    __slots__ = (
        "calls",
        "details",
        "finished",
        "is_bare_text",
        "legacy_call",
        "message",
        "parts",
        "reasoning",
        "rest",
        "text",
    )

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: dict[str, list[str]] = {}
        """By the host's name of the field."""
        self.details: list[Any] = []
        self.parts: list[dict[str, Any]] = []
        """The content, of hosts that send it as a list."""
        self.message: dict[str, Any] = {}
        self.calls = StreamedCalls()
        self.legacy_call: StreamedCall | None = None
        self.rest: dict[str, Any] = {}
        self.finished = False
        self.is_bare_text = False

    def take(self, delta: dict[str, Any]) -> list[Delta]:
        """What one delta adds."""
        content = delta.get("content")
        if content is None or type(content) is str:
            text, reasoning = content or "", ""
            if text and self.parts:
                add_parts(self.parts, [{"type": "text", "text": text}])
        else:
            text, reasoning = read_content(content)
            if not self.parts and self.text:
                self.parts.append({"type": "text", "text": "".join(self.text)})
            add_parts(self.parts, content)
        for name in ("reasoning_content", "reasoning"):
            piece = delta.get(name)
            if type(piece) is str and piece:
                self.reasoning.setdefault(name, []).append(piece)
                reasoning = reasoning or piece  # some hosts send it under both names
        if text:
            self.text.append(text)
        refusal = as_text(delta.get("refusal"))
        if refusal:
            self.message["refusal"] = self.message.get("refusal", "") + refusal
            text += refusal
        if len(delta) > 1 or "content" not in delta:
            details = delta.get("reasoning_details")
            if details:
                reasoning = reasoning or read_reasoning_details(details)
                add_details(self.details, details)
            self._take_the_rest_of(delta)
        deltas = [Delta(text, reasoning)] if text or reasoning else []
        calls = delta.get("tool_calls")
        if calls:
            deltas.extend(self.calls.take(calls))
        legacy = delta.get("function_call")
        if type(legacy) is dict:
            if self.legacy_call is None:
                self.legacy_call = StreamedCall(0)
            deltas.extend(self.legacy_call.take({"function": legacy}))
        return deltas

    def rest_of(self, message: dict[str, Any]) -> dict[str, Any]:
        """What a message holds beside the text so far: some hosts end with all of it."""
        text = message.get("content")
        said = "".join(self.text)
        if type(text) is not str or not said or not text.startswith(said):
            return message
        return {**message, "content": text[len(said) :]}

    def release(self, response_id: Any) -> list[Delta]:
        """The deltas of its tool calls that were held back until it had ended."""
        legacy = [] if self.legacy_call is None else self.legacy_call.release(response_id)
        return [*self.calls.release(response_id), *legacy]

    def take_the_rest(self, item: dict[str, Any]) -> None:
        """Why it finished, log probabilities, and what else stands beside the delta."""
        for name, value in item.items():
            if value is None or name in _CHOICE_READ_APART:
                continue
            if name == "finish_reason":
                self.finished = self.finished or bool(value)
            held = self.rest.get(name)
            if name == "logprobs" and type(held) is dict and type(value) is dict:
                for kind, tokens in value.items():
                    if type(held.get(kind)) is list and type(tokens) is list:
                        held[kind].extend(tokens)
                    else:
                        held[kind] = tokens
            else:
                self.rest[name] = value

    def whole(self, index: int, response_id: Any) -> dict[str, Any]:
        """The choice as it stands in an answer of one piece."""
        rest = {"finish_reason": None, **self.rest}
        text = "".join(self.text)
        if self.is_bare_text:
            return {"index": index, "text": text, **rest}
        message: dict[str, Any] = {"role": "assistant", "content": text or None, **self.message}
        for name, pieces in self.reasoning.items():
            message[name] = "".join(pieces)
        if self.details:
            message["reasoning_details"] = self.details
        if any(part.get("type") == "thinking" for part in self.parts):
            message["content"] = self.parts
        if self.calls:
            message["tool_calls"] = self.calls.whole(response_id)
        if self.legacy_call is not None:
            message["function_call"] = self.legacy_call.whole(response_id)["function"]
        return {"index": index, "message": message, **rest}

    def _take_the_rest_of(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if value is None or name in _DELTA_READ_APART:
                continue
            held = self.message.get(name)
            if type(held) is list and type(value) is list:
                held.extend(value)
            else:
                self.message[name] = value
