"""OpenAI's Responses dialect: `POST /responses`.

The same things as in the chat dialect, said differently: messages are `input` items, system messages the
`instructions`, tools are flat, and an answer is a list of items with a status instead of a finish reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError, ResponseError, ServerError
from callgate.providers.canonical.errors import no_answer
from callgate.providers.canonical.json import (
    as_dict,
    as_list,
    as_text,
    as_text_or_none,
    read_arguments,
    read_object,
    token_count,
    write_json,
)
from callgate.providers.canonical.messages import REPLAY
from callgate.providers.canonical.sse_decoder import EventStreamDecoder, decode_body
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.providers.openai_chat.errors import error_of_body, error_of_content
from callgate.providers.openai_responses.request import say_request
from callgate.response import Delta, FinishReason, Response, ToolCall, ToolCallDelta, Usage
from callgate.transport.sse import ServerSentEvent

__all__ = ["OpenAIResponses"]

NAME = "openai_responses"

_INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
}


class OpenAIResponses:
    """The Responses dialect.

    - `stop` is refused: this dialect has none. `n` is 1, as everywhere but in the chat dialect and Gemini's.
    - `seed`, the penalties, `logit_bias`, `prediction` and `modalities` have no counterpart and are left out.

    An answer that holds reasoning items has them under `metadata["replay"]`: put that into the assistant
    message that answers for it, and they go back to the model as they came.

    >>> wire = OpenAIResponses().encode({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    >>> wire.path, wire.body
    ('/responses', b'{"model":"m","input":[{"role":"user","content":"Hi"}]}')
    """

    name = NAME

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as this dialect says it.

        Raises:
            InvalidRequestError: when something in it cannot be said.
        """
        body = say_request(request, NAME)
        if stream:
            body["stream"] = True
        where = "/responses" if path is None else path if path[:1] == "/" else "/" + path
        return WireRequest(where, write_json(body), stream=stream)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        """The answer in our words.

        Raises:
            APIClientError: when it tells that it failed.
            ResponseError: when it cannot be read.
        """
        return decode_body(
            body,
            lambda: self.stream_decoder(headers),
            lambda data: _read_answer(data, headers, status_code),
        )

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        """A decoder for one streamed answer."""
        return _ResponsesStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        """The typed error for an answer with an error status; never raises."""
        return error_of_body(status_code, body, headers)


def _read_answer(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    status = data.get("status")
    if data.get("error"):
        raise error_of_content(data, status_code, headers)
    if status == "failed":
        raise ServerError("the response failed without saying why", response_content=data, headers=headers)
    output = data.get("output")
    if type(output) is not list:
        raise no_answer("the answer has no output", data, headers, status_code)
    items = _Items(output)
    reason, raw_reason = _finish_reason(data, items)
    usage = data.get("usage")
    return Response(
        text="".join(items.text),
        reasoning="\n\n".join(items.reasoning) or None,
        tool_calls=items.calls,
        finish_reason=reason,
        raw_finish_reason=raw_reason,
        usage=_read_usage(usage) if type(usage) is dict else None,
        model=as_text_or_none(data.get("model")),
        id=as_text_or_none(data.get("id")),
        raw=data,
        headers=headers,
        status_code=status_code,
        metadata={REPLAY: {"dialect": NAME, "content": output}} if items.must_be_replayed else {},
    )


class _Items:
    """What the items of an answer hold."""

    __slots__ = ("calls", "must_be_replayed", "reasoning", "refused", "text")

    def __init__(self, output: list[Any]) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.refused = False
        self.must_be_replayed = False
        for item in output:
            if type(item) is dict:
                self._take(item)

    def _take(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind == "message":
            for part in as_list(item.get("content")):
                part = as_dict(part)
                if part.get("type") == "refusal":
                    self.refused = True
                    self.text.append(as_text(part.get("refusal")))
                else:
                    self.text.append(as_text(part.get("text")))
        elif kind == "reasoning":
            self.must_be_replayed = True
            said = as_list(item.get("content")) or as_list(item.get("summary"))
            texts = (as_text(as_dict(part).get("text")) for part in said)
            self.reasoning.extend(text for text in texts if text)
        elif kind == "function_call":
            arguments, unread = read_arguments(item.get("arguments"))
            self.calls.append(ToolCall(_call_id(item), as_text(item.get("name")), arguments, unread))
        elif kind == "custom_tool_call":
            self.calls.append(
                ToolCall(_call_id(item), as_text(item.get("name")), {}, as_text(item.get("input")))
            )


def _call_id(item: dict[str, Any]) -> str:
    return as_text(item.get("call_id")) or as_text(item.get("id"))


def _finish_reason(data: dict[str, Any], items: _Items) -> tuple[FinishReason | None, str | None]:
    status = as_text_or_none(data.get("status"))
    if status == "incomplete":
        why = as_text_or_none(as_dict(data.get("incomplete_details")).get("reason"))
        return _INCOMPLETE.get(why or ""), why or status
    if status == "cancelled":
        return "error", status
    if status in ("queued", "in_progress"):
        return None, status
    if items.calls:
        return "tool_call", status
    return "content_filter" if items.refused else "stop", status


def _read_usage(usage: dict[str, Any]) -> Usage:
    given = as_dict(usage.get("input_tokens_details"))
    return Usage(
        token_count(usage.get("input_tokens")),
        token_count(usage.get("output_tokens")),
        token_count(usage.get("total_tokens")),
        token_count(given.get("cached_tokens")),
        token_count(given.get("cache_write_tokens")),
        token_count(as_dict(usage.get("output_tokens_details")).get("reasoning_tokens")),
    )


class _ResponsesStream(EventStreamDecoder):
    """Reads one stream of `response.*` events; the last of them holds the whole answer."""

    __slots__ = ("_calls", "_final", "_items", "_reasoned")

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._final: dict[str, Any] | None = None
        self._items: dict[int, dict[str, Any]] = {}
        self._calls: dict[int, _StreamedCall] = {}
        self._reasoned: tuple[Any, ...] | None = None

    def _read_whole(self, body: bytes) -> Response:
        return _read_answer(read_object(body), self._headers)

    def _error(self, content: Any) -> APIClientError:
        return error_of_content(content, None, self._headers)

    def _answer(self) -> Response:
        if self._final is None:
            raise ResponseError(
                "the stream broke off before its end",
                response_content=[item for _, item in sorted(self._items.items())],
                headers=self._headers,
            )
        if not self._final.get("output") and self._items:
            # Some proxies send the items as they come and an empty list at the end.
            self._final = {**self._final, "output": [item for _, item in sorted(self._items.items())]}
        return _read_answer(self._final, self._headers)

    def _take(self, event: ServerSentEvent, deltas: list[Delta]) -> None:
        if self._final is not None or event.data[:6] == "[DONE]":
            return
        data = read_object(event.data)
        kind = as_text(data.get("type")) or event.event
        if kind in ("response.completed", "response.incomplete"):
            self._final = as_dict(data.get("response"))
        elif kind == "response.failed":
            raise error_of_content(data.get("response"), None, self._headers)
        elif kind == "error" or (data.get("error") and not kind.startswith("response.")):
            raise error_of_content(data, None, self._headers)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._take_item(data, kind.endswith("done"), deltas)
        else:
            self._take_piece(kind, data, deltas)

    def _take_piece(self, kind: str, data: dict[str, Any], deltas: list[Delta]) -> None:
        piece = as_text(data.get("delta"))
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                if piece:
                    deltas.append(Delta(piece))
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                if piece:
                    deltas.append(Delta(reasoning=self._reasoning(data) + piece))
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._call(data).take(piece, deltas)
            case "response.function_call_arguments.done":
                self._call(data).complete(as_text(data.get("arguments")), deltas)
            case "response.custom_tool_call_input.done":
                self._call(data).complete(as_text(data.get("input")), deltas)

    def _take_item(self, data: dict[str, Any], done: bool, deltas: list[Delta]) -> None:
        item = as_dict(data.get("item"))
        if done and item:
            self._items[_output_index(data)] = item
        if item.get("type") not in ("function_call", "custom_tool_call"):
            return
        call = self._call(data)
        call.begin(item, deltas)
        whole = as_text(item.get("arguments")) or as_text(item.get("input"))
        if done:
            call.complete(whole, deltas)

    def _call(self, data: dict[str, Any]) -> _StreamedCall:
        index = _output_index(data)
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = _StreamedCall(len(self._calls))
        return call

    def _reasoning(self, data: dict[str, Any]) -> str:
        """What parts the pieces of one thought from those of the next."""
        place = (_output_index(data), data.get("summary_index"), data.get("content_index"))
        before, self._reasoned = self._reasoned, place
        return "" if before is None or before == place else "\n\n"


def _output_index(data: dict[str, Any]) -> int:
    return token_count(data.get("output_index"))


class _StreamedCall:
    """What has been passed on of one tool call."""

    __slots__ = ("begun", "index", "sent")

    def __init__(self, index: int) -> None:
        self.index = index
        self.begun = False
        self.sent = 0

    def begin(self, item: dict[str, Any], deltas: list[Delta]) -> None:
        """Pass on its id and name, once."""
        if not self.begun:
            self.begun = True
            deltas.append(
                Delta(tool_call=ToolCallDelta(self.index, _call_id(item), as_text(item.get("name"))))
            )

    def take(self, piece: str, deltas: list[Delta]) -> None:
        """Pass on a piece of its arguments."""
        if piece:
            self.sent += len(piece)
            deltas.append(Delta(tool_call=ToolCallDelta(self.index, arguments=piece)))

    def complete(self, arguments: str, deltas: list[Delta]) -> None:
        """Pass on what its pieces left out: all of it, from servers that send none."""
        self.take(arguments[self.sent :], deltas)
