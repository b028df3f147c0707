"""The content of an answer in blocks; Anthropic, Bedrock and Gemini differ only in the form of a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from callgate.providers.canonical.json import read_arguments, write_json
from callgate.providers.canonical.messages import REPLAY
from callgate.providers.canonical.tools import ANSWER_TOOL, make_call_id
from callgate.response import FinishReason, Response, ToolCall, Usage

__all__ = ["AnswerContent", "arguments_text"]


def arguments_text(call: ToolCall) -> str:
    """The arguments of a call as JSON text, or the model's own text where that is no JSON object."""
    return write_json(call.arguments).decode() if call.raw_arguments is None else call.raw_arguments


@dataclass(slots=True)
class AnswerContent:
    """The content of one answer, block by block.

    Attributes:
        texts, thoughts: Their pieces, in order.
        calls: The calls of the caller's tools.
        is_answered_by_tool: True when the tool was called whose input is the answer (`ANSWER_TOOL`).
        is_translatable: True when the canonical format can hold all of it; else the blocks are kept as they
            came (see `callgate.providers.canonical.messages.REPLAY`).
        response_id: Of the answer, for the ids of calls that came without one.

    >>> content = AnswerContent(["It is ", "blue."])
    >>> content.take_use("call_1", "paint", '{"colour": "blue"}')
    >>> response = content.response({}, {}, finish_reason="stop", replayed_by=("anthropic", []))
    >>> response.text, response.finish_reason, response.tool_calls[0].arguments
    ('It is blue.', 'tool_call', {'colour': 'blue'})
    """

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    is_answered_by_tool: bool = False
    is_translatable: bool = True
    response_id: Any = None

    def take_use(self, identity: str, name: str, given: Any) -> None:
        """Take in one use of a tool; `given` is its input, as an object or as the model's own text."""
        arguments, unread = read_arguments(given)
        if not identity or any(identity == call.id for call in self.calls):
            content = arguments if unread is None else unread
            identity = make_call_id(self.response_id, len(self.calls), name, content)
        self.take_call(ToolCall(identity, name, arguments, unread))

    def take_call(self, call: ToolCall) -> None:
        """Take in one call: of the caller's tool, or of the tool whose input is the answer."""
        if call.name == ANSWER_TOOL:
            self.is_answered_by_tool = True
            self.texts.append(arguments_text(call))
        else:
            self.calls.append(call)

    def response(
        self,
        raw: dict[str, Any],
        headers: Mapping[str, str],
        status_code: int = 200,
        *,
        finish_reason: FinishReason | None,
        raw_finish_reason: str | None = None,
        replayed_by: tuple[str, list[Any]],
        usage: Usage | None = None,
        model: str | None = None,
        id: str | None = None,
    ) -> Response:
        """The Response with this content.

        Args:
            raw, headers, status_code: Of the answer.
            finish_reason: The canonical reason; tool calls in the content override it.
            raw_finish_reason: The provider's own word.
            replayed_by: The dialect's name, and the blocks as they came.
            usage, model, id: Where the provider states them.
        """
        if self.calls and (finish_reason == "stop" or not raw_finish_reason):
            finish_reason = "tool_call"  # Gemini ends with STOP whatever it was, some gateways with nothing
        elif finish_reason == "tool_call" and self.is_answered_by_tool and not self.calls:
            finish_reason = "stop"
        dialect, blocks = replayed_by
        metadata: dict[str, Any] = {}
        # An answer by the tool goes back as text: sent as a call it would want a result.
        if not self.is_translatable and not self.is_answered_by_tool:
            metadata = {REPLAY: {"dialect": dialect, "content": blocks}}
        return Response(
            text="".join(self.texts),
            reasoning="".join(self.thoughts) or None,
            tool_calls=self.calls,
            finish_reason=finish_reason,
            raw_finish_reason=raw_finish_reason,
            usage=usage,
            model=model,
            id=id,
            raw=raw,
            headers=headers,
            status_code=status_code,
            metadata=metadata,
        )
