"""Claude Code, Anthropic's command: one run of it is one call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callgate.errors import (
    APIClientError,
    AuthenticationError,
    ContentFilterError,
    InvalidRequestError,
    OverloadedError,
    QuotaExhaustedError,
    RateLimitError,
    ResourceNotFoundError,
    ResponseError,
    ServerError,
)
from callgate.providers.anthropic.response import FINISH_REASONS, read_usage
from callgate.providers.canonical.billing import Billing, read_reported_cost
from callgate.providers.canonical.errors import build_error
from callgate.providers.canonical.json import (
    as_dict,
    as_list,
    as_text,
    as_text_or_none,
    excerpt,
    read_json,
    write_json,
)
from callgate.providers.canonical.wording import kind_of_refusal
from callgate.providers.claude_code.request import write_command
from callgate.providers.dialect import StreamDecoder
from callgate.response import Delta, Response
from callgate.transport.subprocess import CommandRequest

__all__ = ["ClaudeCode"]

_NO_DELTAS: list[Delta] = []
_BY_NAME: Mapping[str, type[APIClientError]] = {
    "authentication_failed": AuthenticationError,
    "billing_error": QuotaExhaustedError,
    "rate_limit": RateLimitError,
    "invalid_request": InvalidRequestError,
    "model_not_found": ResourceNotFoundError,
    "server_error": ServerError,
    "overloaded": OverloadedError,
}
"""Error name of an assistant's line -> class, where there is no HTTP status."""
_SPENT = re.compile(r"usage limit reached|hit your .*limit", re.IGNORECASE)
_NO_SESSION = re.compile(r"no conversation found", re.IGNORECASE)
# The sentence differs between versions of the command; newer ones link the policy instead of naming it.
_WITHHELD = re.compile(r"violates? our Usage Policy|anthropic\.com/legal/aup", re.IGNORECASE)
_WRONG_USAGE = re.compile(r"unknown option|argument .* is invalid|must be provided", re.IGNORECASE)


class ClaudeCode:
    """The dialect of `claude -p --output-format stream-json`.

    - The prompt goes to stdin; a system message replaces the command's own system prompt.
    - `response_format` with a schema becomes `--json-schema`; the JSON is `text`.
    - `session_id` continues an earlier run: it is in the `metadata` of that answer, beside `total_cost_usd`;
      only the messages since its last answer are sent.
    - The command calls its own tools. In a run of several turns `text` is the last turn's; the deltas of a
      stream show all of them.
    - `temperature`, `top_p`, `stop` and `seed` have no argument and are left out.

    Args:
        command: The program.
        arguments: Further arguments for every call: `["--permission-mode=plan", "--allowedTools=Read"]`.

    >>> ClaudeCode().encode({"model": "sonnet", "prompt": "Hi"}).argv
    ('claude', '-p', '--output-format=stream-json', '--verbose', '--model=sonnet')
    """

    name = "claude_code"

    def __init__(self, command: str = "claude", arguments: tuple[str, ...] = ()) -> None:
        self._command = command
        self._arguments = arguments

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> CommandRequest:
        """The command for one call; its `env` holds only what the request itself asks for.

        Raises:
            InvalidRequestError: The command has no argument for something: tools, an unknown field.
        """
        return write_command(request, stream=stream, command=self._command, arguments=self._arguments)

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        """The cost that the command reported."""
        return Billing(reported=read_reported_cost(response.metadata.get("total_cost_usd")))

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        """The answer in the output of the command, in lines or as one list.

        Raises:
            APIClientError: The command failed.
            ResponseError: There is no result in it.
        """
        stream = _Lines(headers)
        if body.lstrip()[:1] == b"[":
            for line in as_list(read_json(body)):
                stream.take(as_dict(line))
        else:
            stream.feed(body)
        return stream.finish()

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        """A decoder for one run; feed it with stdout."""
        return _Lines(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        """The typed error for a run that ended without a result; never raises.

        Args:
            status_code: Its exit status; negative: the signal that killed it.
            body: The end of its stderr.
            headers: Not used.
        """
        message = body.decode("utf-8", "replace").strip()
        kind: type[APIClientError] = ResponseError
        if _NO_SESSION.search(message):
            kind = ResourceNotFoundError
        elif _WRONG_USAGE.search(message):
            kind = InvalidRequestError
        what = (
            f"was killed by signal {-status_code}" if status_code < 0 else f"exited with status {status_code}"
        )
        problem = f"the command {what} without a result: {message or 'no output'}"
        return build_error(kind, None, problem, content=excerpt(body), headers=headers, trust_headers=False)


class _Lines:
    """Reads the lines of one run: what began, each message of the assistant's, and the result."""

    __slots__ = ("_headers", "_lines", "_partial", "_result", "_streams")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._partial: list[bytes] = []
        self._lines: list[dict[str, Any]] = []
        self._result: dict[str, Any] | None = None
        self._streams = False

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that `data` completes. A line that is no JSON object (a warning) is passed over."""
        if b"\n" not in data:
            self._partial.append(data)
            return _NO_DELTAS
        *lines, rest = (b"".join(self._partial) + data).split(b"\n")
        self._partial = [rest]
        deltas: list[Delta] = []
        for line in lines:
            deltas += self._take_text(line)
        return deltas

    def take(self, line: dict[str, Any]) -> list[Delta]:
        """What one line adds."""
        kind = line.get("type")
        if line.get("parent_tool_use_id"):
            return _NO_DELTAS  # a message of a helper that the command itself runs
        if kind == "stream_event":
            self._streams = True
            delta = as_dict(as_dict(line.get("event")).get("delta"))
            if delta.get("type") == "text_delta" and delta.get("text"):
                return [Delta(as_text(delta["text"]))]
            if delta.get("type") == "thinking_delta" and delta.get("thinking"):
                return [Delta(reasoning=as_text(delta["thinking"]))]
            return _NO_DELTAS
        if kind == "result":
            self._result = line
        if kind in ("result", "assistant") or (kind == "system" and line.get("subtype") == "init"):
            self._lines.append(line)
        if kind == "assistant" and not self._streams and not line.get("error"):
            return [delta for block in _blocks(line) for delta in _delta_of(block)]
        return _NO_DELTAS

    def finish(self) -> Response:
        """The answer, once the command has ended.

        Raises:
            APIClientError: The command failed.
            ResponseError: It gave no result.
        """
        self._take_text(b"".join(self._partial))
        self._partial = []
        if self._result is None:
            raise ResponseError(
                "the command ended without a result",
                response_content=excerpt(write_json(self._lines)) if self._lines else None,
                headers=self._headers,
            )
        if self._result.get("is_error") or as_text(self._result.get("subtype")).startswith("error"):
            raise self._failure(self._result)
        return self._answer(self._result)

    def _take_text(self, line: bytes) -> list[Delta]:
        if line.lstrip()[:1] != b"{":
            return _NO_DELTAS
        try:
            value = read_json(line)
        except ResponseError:
            return _NO_DELTAS
        return self.take(as_dict(value))

    def _answer(self, result: dict[str, Any]) -> Response:
        messages = [line for line in self._lines if line.get("type") == "assistant"]
        last = as_dict(messages[-1].get("message")) if messages else {}
        began = next((line for line in self._lines if line.get("type") == "system"), {})
        thoughts = [as_text(block.get("thinking")) for line in messages for block in _blocks(line)]
        raw_reason = as_text_or_none(result.get("stop_reason")) or as_text_or_none(result.get("subtype"))
        reason = FINISH_REASONS.get(raw_reason or "")
        text = as_text(result.get("result"))
        if "structured_output" in result:
            text = write_json(result["structured_output"]).decode()
        if reason in (None, "tool_call") and result.get("subtype") == "success":
            reason = "stop"  # the tools were its own
        usage = result.get("usage")
        return Response(
            text=text,
            reasoning="".join(thoughts) or None,
            finish_reason=reason,
            raw_finish_reason=raw_reason,
            usage=read_usage(usage) if type(usage) is dict else None,
            model=as_text_or_none(last.get("model")) or as_text_or_none(began.get("model")),
            id=as_text_or_none(last.get("id")) or as_text_or_none(result.get("session_id")),
            raw=self._lines,
            headers=self._headers,
            metadata={
                name: result[name]
                for name in ("session_id", "total_cost_usd", "num_turns", "permission_denials")
                if result.get(name)
            },
        )

    def _failure(self, result: dict[str, Any]) -> APIClientError:
        failed = [line for line in self._lines if line.get("error") and line.get("type") == "assistant"]
        name = as_text(failed[-1].get("error")) if failed else ""
        request_id = as_text_or_none(failed[-1].get("request_id")) if failed else None
        problems = "; ".join(as_text(item) for item in as_list(result.get("errors")))
        message = as_text(result.get("result")) or problems or as_text(result.get("subtype"))
        status = result.get("api_error_status")
        if type(status) is not int or not 400 <= status < 600:
            status = None
        return build_error(
            _kind(name, status, message),
            status,
            message,
            content=result,
            headers=self._headers,
            code=name or as_text_or_none(result.get("subtype")),
            request_id=request_id,
            trust_headers=False,
        )


def _kind(name: str, status: int | None, message: str) -> type[APIClientError] | None:
    """The class of the error; None: by the status."""
    if _SPENT.search(message):
        return QuotaExhaustedError
    if _NO_SESSION.search(message):
        return ResourceNotFoundError
    if _WITHHELD.search(message):
        return ContentFilterError
    kind = kind_of_refusal(message)
    if kind is not None or status is not None:
        return kind
    return _BY_NAME.get(name, APIClientError)


def _blocks(line: dict[str, Any]) -> list[dict[str, Any]]:
    content = as_list(as_dict(line.get("message")).get("content"))
    return [block for block in content if type(block) is dict]


def _delta_of(block: dict[str, Any]) -> list[Delta]:
    if block.get("type") == "text" and block.get("text"):
        return [Delta(as_text(block["text"]))]
    if block.get("type") == "thinking" and block.get("thinking"):
        return [Delta(reasoning=as_text(block["thinking"]))]
    return _NO_DELTAS
