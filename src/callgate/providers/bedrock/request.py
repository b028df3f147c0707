"""The canonical request as the body of `Converse`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.anthropic.hosting import refuse_anthropic_only
from callgate.providers.anthropic.models import check_sampling, is_claude, takes_system_turns, thinking_fields
from callgate.providers.bedrock.content import ContentWriter, cache_point, tools_as_text
from callgate.providers.bedrock.models import (
    caches_prompts,
    family_of,
    is_named,
    model_behind,
    refuse_unnamed,
)
from callgate.providers.bedrock.tools import forces_tool, write_answer_format, write_tools
from callgate.providers.canonical.conversation import fold_conversation
from callgate.providers.canonical.fields import (
    merge_extra_body,
    read_betas,
    read_service_tier,
    refuse_media_output,
)
from callgate.providers.canonical.messages import (
    MEANT_FOR_OPENAI,
    read_max_tokens,
    read_stop,
    refuse,
    refuse_several_answers,
)
from callgate.providers.canonical.tools import read_answer_format

__all__ = ["SERVICE_TIERS", "write_body"]

SERVICE_TIERS: Mapping[str, str | None] = {
    "auto": None,
    "default": "default",
    "standard": "default",
    "standard_only": "default",
    "flex": "flex",
    "priority": "priority",
    "reserved": "reserved",
}
"""Canonical tier -> Bedrock's."""

_OWN_FIELDS = frozenset(
    {
        "additionalModelRequestFields", "additionalModelResponseFieldPaths", "guardrailConfig",
        "inferenceConfig", "outputConfig", "performanceConfig", "promptVariables", "requestMetadata",
        "serviceTier", "toolConfig",
    }
)  # fmt: skip
_TRANSLATED = frozenset(
    {
        "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p",
        "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "stream",
        "system", "n", "metadata", "service_tier", "cache_control", "betas", "anthropic_beta", "speed",
        "base_model", "extra_body",
    }
)  # fmt: skip
_MISSING = frozenset(
    {"seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "user", "audio"}
)
"""Fields without a counterpart in Converse."""
_WRITTEN_APART = _TRANSLATED | _MISSING | MEANT_FOR_OPENAI


def write_body(request: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The body; the model stands in the path.

    Raises:
        InvalidRequestError: Something in the request cannot be encoded.
    """
    refuse_several_answers(request)
    refuse_media_output(request, "Bedrock")
    refuse_anthropic_only(request, "Bedrock", web_search=False)
    model = model_behind(request, model)
    body = _conversation(request, model)
    additional: dict[str, Any] = {}
    for name, value in request.items():
        if value is not None and name not in _WRITTEN_APART:
            # Fields that are not Converse's are the model's own: top_k and the like.
            (body if name in _OWN_FIELDS else additional)[name] = value
    fields, max_tokens = _effort(request, model)
    _write_inference(body, request, max_tokens)
    additional = {
        **fields,
        **_betas(request, model),
        **additional,
        **(body.get("additionalModelRequestFields") or {}),
    }
    if additional:
        body["additionalModelRequestFields"] = additional
    _write_account(body, request)
    write_tools(body, request, model)
    wanted = read_answer_format(request.get("response_format"))
    if wanted is not None:
        write_answer_format(body, wanted, model)
    if "toolConfig" not in body and _holds_tool_blocks(body["messages"]):
        body["messages"] = tools_as_text(body["messages"])
    return merge_extra_body(body, request)


def _conversation(request: Mapping[str, Any], model: str) -> dict[str, Any]:
    caches = caches_prompts(model)
    writer = ContentWriter(caches)
    system, turns = fold_conversation(
        request,
        system=writer.system,
        user=writer.user,
        assistant=writer.assistant,
        tool=writer.tool,
        system_turns=takes_system_turns(model),
    )
    last, blocks = turns[-1]
    if last == "assistant" and isinstance(blocks[-1].get("text"), str):
        blocks[-1] = {**blocks[-1], "text": blocks[-1]["text"].rstrip()}
    elif caches and request.get("cache_control") is not None:
        blocks += cache_point(request["cache_control"])
    messages = [{"role": speaker, "content": blocks} for speaker, blocks in turns]
    return {"messages": messages, **({"system": system} if system else {})}


def _effort(request: Mapping[str, Any], model: str) -> tuple[dict[str, Any], int | None]:
    """The fields that an effort becomes, and `max_tokens` with room for the thoughts."""
    effort, max_tokens = request.get("reasoning_effort"), read_max_tokens(request)
    if is_claude(model):
        fields, max_tokens = thinking_fields(model, effort, max_tokens, forced_tool=forces_tool(request))
        check_sampling(model, request, thinks="thinking" in fields)
        return fields, max_tokens
    if effort is None:
        return {}, max_tokens
    if not is_named(model) and effort != "none":
        raise refuse_unnamed(model, "reasoning_effort")
    if family_of(model).startswith("amazon."):
        if effort == "none":
            return {"reasoningConfig": {"type": "disabled"}}, max_tokens
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}, max_tokens
    return {"reasoning_effort": effort} if is_named(model) else {}, max_tokens


def _write_inference(body: dict[str, Any], request: Mapping[str, Any], max_tokens: int | None) -> None:
    temperature = request.get("temperature")
    if isinstance(temperature, int | float) and temperature > 1:
        raise refuse(f"temperature is at most 1 for Bedrock, got {temperature}")
    inference = {
        "maxTokens": max_tokens,
        "temperature": temperature,
        "topP": request.get("top_p"),
        "stopSequences": read_stop(request) or None,
    }
    inference = {name: value for name, value in inference.items() if value is not None}
    if inference:
        body["inferenceConfig"] = {**inference, **(body.get("inferenceConfig") or {})}


def _betas(request: Mapping[str, Any], model: str) -> dict[str, Any]:
    betas = read_betas(request)
    if betas and not is_claude(model):
        raise refuse(f"{model} has no betas; only Claude has them")
    return {"anthropic_beta": betas} if betas else {}


def _write_account(body: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Add what concerns the bill: the service tier and the metadata of the request."""
    tier = read_service_tier(request, SERVICE_TIERS, "Bedrock")
    if tier is not None:
        body.setdefault("serviceTier", {"type": tier})
    metadata = request.get("metadata")
    if isinstance(metadata, Mapping) and metadata:
        body.setdefault("requestMetadata", {str(name): str(value) for name, value in metadata.items()})


def _holds_tool_blocks(messages: list[dict[str, Any]]) -> bool:
    return any("toolUse" in block or "toolResult" in block for turn in messages for block in turn["content"])
