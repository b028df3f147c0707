"""The canonical request as the body of `POST /v1/messages`.

Amazon and Google carry the same body under other paths; what differs between the hosts of Claude is added
by each dialect (see `hosting`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.anthropic.content import (
    assistant_blocks,
    content_blocks,
    plain_if_text,
    system_blocks,
    tool_result,
)
from callgate.providers.anthropic.models import (
    DEFAULT_MAX_TOKENS,
    check_sampling,
    takes_output_format,
    takes_system_turns,
    thinking_fields,
)
from callgate.providers.anthropic.tools import write_answer_format, write_tools
from callgate.providers.canonical.conversation import fold_conversation
from callgate.providers.canonical.fields import refuse_media_output
from callgate.providers.canonical.json import as_text
from callgate.providers.canonical.messages import (
    MEANT_FOR_OPENAI,
    read_max_tokens,
    read_stop,
    refuse_several_answers,
)
from callgate.providers.canonical.tools import read_answer_format, read_tool_choice, read_tools

__all__ = ["write_body"]

_TRANSLATED = frozenset(
    {
        "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "reasoning_effort", "user", "metadata", "system", "stream",
        "n", "base_model",
    }
)  # fmt: skip
_BY_HOST = frozenset(
    {
        "service_tier", "speed", "inference_geo", "betas", "anthropic_beta", "web_search_options",
        "extra_body",
    }
)  # fmt: skip
"""Fields that the dialect of the host writes."""
_MISSING = frozenset({"seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "audio"})
"""Fields that Claude does not have."""
_WRITTEN_APART = _TRANSLATED | _BY_HOST | _MISSING | MEANT_FOR_OPENAI


def write_body(request: Mapping[str, Any], model: str, *, holds_to_schema: bool = True) -> dict[str, Any]:
    """The body, without what differs between hosts: `model`, `stream`, `anthropic_version`, tiers, betas.

    Args:
        request: The canonical request.
        model: The model whose abilities count.
        holds_to_schema: True when the host can hold answers and tool calls to a JSON schema.

    Raises:
        InvalidRequestError: Something in the request cannot be encoded.
    """
    refuse_several_answers(request)
    refuse_media_output(request, "Claude")
    system, messages = _conversation(request, model)
    thinking, max_tokens = thinking_fields(
        model, request.get("reasoning_effort"), read_max_tokens(request), forced_tool=_forces_tool(request)
    )
    check_sampling(model, request, thinks="thinking" in thinking)
    body: dict[str, Any] = {
        "max_tokens": DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens,
        "messages": messages,
    }
    if system:
        body["system"] = system
    body |= {
        name: value for name, value in request.items() if name not in _WRITTEN_APART and value is not None
    }
    _merge(body, thinking)
    stop = read_stop(request)
    if stop:
        body["stop_sequences"] = stop
    metadata = request.get("metadata")
    user = (metadata.get("user_id") if isinstance(metadata, Mapping) else None) or request.get("user")
    if user is not None:
        body["metadata"] = {"user_id": user}
    strict = holds_to_schema and takes_output_format(model)
    write_tools(body, request, model, strict=strict)
    wanted = read_answer_format(request.get("response_format"))
    if wanted is not None:
        write_answer_format(body, wanted, model, strict=strict)
    return body


def _forces_tool(request: Mapping[str, Any]) -> bool:
    given = request.get("tool_choice")
    choice = read_tool_choice(given)
    if choice is None:
        return isinstance(given, Mapping) and given.get("type") in ("any", "tool")
    return choice.mode in ("required", "named") and bool(read_tools(request))


def _merge(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Add translated fields; fields that the caller wrote in Claude's own form win."""
    for name, value in fields.items():
        given = body.get(name)
        if given is None:
            body[name] = value
        elif isinstance(given, Mapping):
            body[name] = {**value, **given} if name == "output_config" else given


def _conversation(request: Mapping[str, Any], model: str) -> tuple[Any, list[dict[str, Any]]]:
    """The system prompt (as a text where possible) and the messages."""
    system, turns = fold_conversation(
        request,
        system=system_blocks,
        user=content_blocks,
        assistant=assistant_blocks,
        tool=lambda message: [tool_result(message)],
        system_turns=takes_system_turns(model),
    )
    if turns[-1][0] == "assistant":
        _strip_end(turns[-1][1])
    messages = [{"role": speaker, "content": plain_if_text(blocks)} for speaker, blocks in turns]
    if all(block.keys() == {"type", "text"} for block in system):
        return "\n\n".join(block["text"] for block in system), messages
    return system, messages


def _strip_end(blocks: list[dict[str, Any]]) -> None:
    """Cut white space off the text that the answer is to continue: Claude refuses it there."""
    last = blocks[-1]
    if last.get("type") == "text":
        blocks[-1] = {**last, "text": as_text(last.get("text")).rstrip()}
