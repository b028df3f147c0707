"""The canonical request as the body of `generateContent`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.conversation import fold_conversation
from callgate.providers.canonical.fields import merge_extra_body, refuse_fields
from callgate.providers.canonical.messages import MEANT_FOR_OPENAI, read_max_tokens, read_stop, refuse
from callgate.providers.canonical.tools import read_answer_format
from callgate.providers.gemini.content import PartWriter, responses_first
from callgate.providers.gemini.models import is_third_generation, thinking_config
from callgate.providers.gemini.tools import write_answer_format, write_tools

__all__ = ["SERVICE_TIERS", "write_body"]

SERVICE_TIERS: Mapping[str, str | None] = {
    "auto": None,
    "default": "standard",
    "standard": "standard",
    "standard_only": "standard",
    "flex": "flex",
    "priority": "priority",
}
"""Canonical tier -> Google's."""

_SETTINGS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
    "thinking_config": "thinkingConfig",
}
"""Fields that go into `generationConfig`, by their names there."""
_OWN_NAMES = {
    "cached_content": "cachedContent",
    "safety_settings": "safetySettings",
    "system_instruction": "systemInstruction",
    "tool_config": "toolConfig",
}
_TRANSLATED = frozenset(
    {
        "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice",
        "response_format", "reasoning_effort", "stream", "generationConfig", "generation_config", "system",
        "web_search_options", "audio", "extra_body", "base_model", "service_tier", "speed",
    }
)  # fmt: skip
_MISSING = frozenset({"parallel_tool_calls", "user", "metadata", "cache_control"})
"""Fields without a counterpart; Gemini caches prompts by itself."""
_WRITTEN_APART = _TRANSLATED | _MISSING | MEANT_FOR_OPENAI
_SPOKEN_FORMATS = (None, "pcm16")


def write_body(request: Mapping[str, Any], model: str, *, on_vertex: bool = False) -> dict[str, Any]:
    """The body, without the service tier; the model stands in the path.

    Args:
        request: The canonical request.
        model: The model whose abilities count.
        on_vertex: True on Vertex, which has no functions beside Google's own tools.

    Raises:
        InvalidRequestError: Something in the request cannot be encoded.
    """
    _refuse_claudes_fields(request)
    system, contents = _conversation(request, model)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    settings: dict[str, Any] = {}
    for name, value in request.items():
        if value is None or name in _WRITTEN_APART:
            continue
        if name in _SETTINGS:
            settings[_SETTINGS[name]] = value
        else:
            body[_OWN_NAMES.get(name, name)] = value
    max_tokens = read_max_tokens(request)
    if max_tokens is not None:
        settings["maxOutputTokens"] = max_tokens
    stop = read_stop(request)
    if stop:
        settings["stopSequences"] = stop
    write_tools(body, request, model, mixes=is_third_generation(model) and not on_vertex)
    wanted = read_answer_format(request.get("response_format"))
    if wanted is not None:
        write_answer_format(body, settings, wanted, model)
    effort = request.get("reasoning_effort")
    if effort is not None and "thinkingConfig" not in settings:
        thinking = thinking_config(model, effort)
        settings |= {"thinkingConfig": thinking} if thinking else {}
    _write_modalities(settings, request)
    own = request.get("generationConfig") or request.get("generation_config")
    if isinstance(own, Mapping):
        settings |= own
    if settings:
        body["generationConfig"] = settings
    return merge_extra_body(body, request)


def _refuse_claudes_fields(request: Mapping[str, Any]) -> None:
    advice = {"inference_geo": "choose the place by the location", "betas": "only Claude has them"}
    if request.get("speed") not in (None, "standard"):
        advice["speed"] = "use service_tier='priority'"
    refuse_fields(request, "Gemini", advice)


def _conversation(
    request: Mapping[str, Any], model: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The parts of the system instruction, and the contents."""
    writer = PartWriter(is_third_generation(model))
    system, turns = fold_conversation(
        request, system=writer.system, user=writer.user, assistant=writer.assistant, tool=writer.tool
    )
    contents = [
        {"role": "user", "parts": responses_first(parts)}
        if speaker == "user"
        else {"role": "model", "parts": parts}
        for speaker, parts in turns
    ]
    return system, contents


def _write_modalities(settings: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Translate `modalities`, and the voice of `audio`."""
    modalities = request.get("modalities")
    if modalities is None or list(modalities) == ["text"]:
        return
    settings["responseModalities"] = [str(modality).upper() for modality in modalities]
    audio = request.get("audio")
    if isinstance(audio, Mapping) and "AUDIO" in settings["responseModalities"]:
        if audio.get("format") not in _SPOKEN_FORMATS:
            raise refuse(f"Gemini speaks in pcm16 only, not in {audio['format']!r}")
        if audio.get("voice"):
            voice = {"prebuiltVoiceConfig": {"voiceName": audio["voice"]}}
            settings["speechConfig"] = {"voiceConfig": voice}
