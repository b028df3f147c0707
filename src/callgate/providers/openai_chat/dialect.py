"""OpenAI's chat dialect, as it is spoken by OpenAI and by everybody else.

Reading is generous and needs not know who is speaking (`openai_chat_answer`); what a host accepts is noted
in the hosts table (`ChatQuirks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError
from callgate.providers.canonical.json import write_json
from callgate.providers.canonical.messages import REPLAY
from callgate.providers.canonical.sse_decoder import decode_body
from callgate.providers.canonical.tools import AnswerFormat, describe_answer, read_answer_format
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.providers.host import ChatQuirks
from callgate.providers.openai_chat.errors import error_of_body
from callgate.providers.openai_chat.response import read_answer
from callgate.providers.openai_chat.stream import ChatStream
from callgate.response import Response

__all__ = ["OpenAIChat"]


class OpenAIChat:
    """The dialect of `POST /chat/completions`, and of the older `/completions` for a bare `prompt`.

    `max_tokens` and all other fields are sent as given, except where the host's quirks say otherwise.

    >>> wire = OpenAIChat().encode({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    >>> wire.path, wire.body
    ('/chat/completions', b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}')
    """

    name = "openai_chat"

    def __init__(self, quirks: ChatQuirks | None = None) -> None:
        self._quirks = quirks or ChatQuirks()
        self._translates = self._quirks != ChatQuirks()

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON.

        Without `path` it goes to `/chat/completions`, or to `/completions` when it has a `prompt` and no
        `messages`. A stream is asked to tell its usage.

        Raises:
            InvalidRequestError: when something in it has no JSON form.
        """
        body = self._in_the_hosts_words(request) if self._translates else request
        messages = body.get("messages")
        if type(messages) is list:
            for message in messages:
                if type(message) is dict and REPLAY in message:
                    body = {**body, "messages": _without_replays(messages)}
                    break
        if stream:
            body = {**body, "stream": True}
            if self._quirks.stream_options:
                options = body.get("stream_options")
                body["stream_options"] = {"include_usage": True, **(options or {})}
        elif body.get("stream") is not None:
            body = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
        if path is None:
            path = "/completions" if "prompt" in body and "messages" not in body else "/chat/completions"
        elif path[:1] != "/":
            path = "/" + path
        return WireRequest(path, write_json(body if type(body) is dict else dict(body)), stream=stream)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        """The answer in our words; of several choices the first.

        Raises:
            APIClientError: when the body is an error after all.
            ResponseError: when it cannot be read.
        """
        return decode_body(
            body,
            lambda: self.stream_decoder(headers),
            lambda data: read_answer(data, headers, status_code),
        )

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        """A decoder for one streamed answer."""
        return ChatStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        """The typed error for an answer with an error status; never raises."""
        return error_of_body(status_code, body, headers)

    def _in_the_hosts_words(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        renamed = {ours: its for ours, its in self._quirks.renamed if ours in request}
        wants_completion_tokens = self._quirks.completion_tokens_for
        if (
            wants_completion_tokens is not None
            and "max_tokens" in request
            and "messages" in request
            and "max_completion_tokens" not in request
            and wants_completion_tokens.match(str(request.get("model")))
        ):
            renamed["max_tokens"] = "max_completion_tokens"
        schema_models = self._quirks.schema_models
        if schema_models is not None and not schema_models.match(str(request.get("model"))):
            wanted = read_answer_format(request.get("response_format"))
            if wanted is not None and wanted.schema is not None:
                request = _with_schema_in_words(request, wanted)
        if not renamed:
            return request
        return {renamed.get(name, name): value for name, value in request.items()}


def _with_schema_in_words(request: Mapping[str, Any], wanted: AnswerFormat) -> dict[str, Any]:
    """The request with the schema in its system message; that the answer is JSON stays the host's matter."""
    told = describe_answer(wanted)
    messages = list(request.get("messages") or ())
    first = messages[0] if messages else None
    if isinstance(first, Mapping) and first.get("role") == "system" and type(first.get("content")) is str:
        messages[0] = {**first, "content": f"{first['content']}\n\n{told}"}
    else:
        messages.insert(0, {"role": "system", "content": told})
    return {**request, "messages": messages, "response_format": {"type": "json_object"}}


def _without_replays(messages: list[Any]) -> list[Any]:
    """The messages without what only the dialect that made it can send back."""
    return [
        {name: value for name, value in message.items() if name != REPLAY}
        if type(message) is dict
        else message
        for message in messages
    ]
