"""How each host deviates from OpenAI's chat dialect in what it accepts, as data.

A field that a host lacks is left out, unless that changes the answer or its price: then the request is
refused (`request.py`). Everything that is not OpenAI's own passes unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "CEREBRAS", "DEEPSEEK", "FIREWORKS", "GOOGLE", "GROQ", "MISTRAL", "NVIDIA_NIM", "OLLAMA", "OPENAI",
    "OPENROUTER", "TOGETHER", "VLLM", "XAI", "ChatQuirks",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChatQuirks:
    """What one host accepts; the defaults are for a server that nothing is known of, where all passes.

    Attributes:
        provider: Its name; a reasoning that it wrote goes back to it whole.
        needs_model: Whether a request without a model cannot work.
        renamed: Fields that it has under another name, in pairs (OpenAI's, its).
        lacks: Fields of OpenAI's format that it refuses or ignores.
        stream_options: Whether it accepts `stream_options`; the others send the usage unasked.
        completion_tokens_for: Models, by a pattern at the start of the name, that take `max_tokens` under
            the name `max_completion_tokens`.
        schema_models: Models, by a pattern at the start of the name, that can be held to a JSON schema; for
            the others it stands in the system message. None: all can.
        schema_beside_tools: Whether it takes a schema beside tools; else the answer is the input of a tool.
        tiers: `service_tier`, in pairs (canonical, its; None to leave it out). None: any passes.
        efforts: `reasoning_effort`, in pairs (canonical, its).
        effort_off: A field that turns reasoning off, in the place of effort "none", and its value.
        developer: Whether it has the role "developer"; else it becomes "system".
        late_system: Whether a system message may stand anywhere; else a later one becomes marked text of the
            user.
        names: Whether messages may have a `name`.
        prefix: Whether a last message of the assistant must be marked as the beginning of the answer.
        cache_control: Whether parts and tools may have it.
        thoughts: Fields of an assistant message that hold reasoning it takes. None: any.
        thoughts_required: Whether every assistant message beside tools must have `reasoning_content`.
        thinking_parts: Whether content may hold parts of type "thinking".
        signatures_for: Models whose first call of a step must have a thought signature.
        audio: Whether messages may hold sound.
        image_detail: Whether an image may have a `detail`.
        audio_form: "object", or "text" for the bare base64 data.
        files: How a file is written: as OpenAI ("openai"), with a URL as its data ("data_url"), with a `url`
            ("url"), as a `document_url` ("document"), not at all ("none"). None: as it stands.
        media_in_results: Whether a tool's message may hold images; else they follow in a user message.
        plain_text: Whether only the user's content may be a list.
        empty_assistant: Whether an assistant message may have neither text nor calls.
        json_arguments: Whether arguments must be a JSON object.
        call_ids: A pattern that the ids of tool calls match; others are replaced. None: any.
        call_indexes: Whether a call in a message must have its index.
        parameters: Whether a function must have parameters.
        strict_functions: Whether a function may be `strict`.
        allowed_tools: Whether `tool_choice` may restrict the tools; else only those are offered.
        custom_tools: Whether it has OpenAI's custom tools.
        user_after_tool: Whether a user message may follow a tool's.
        stop_list: Whether `stop` must be a list.
        top_logprobs: "logprobs" when the count of alternatives stands there.
        web_search: "tool" when a web search is a tool of type "web_search".
    """

    provider: str = ""
    needs_model: bool = False
    renamed: tuple[tuple[str, str], ...] = ()
    lacks: frozenset[str] = frozenset()
    stream_options: bool = True
    completion_tokens_for: re.Pattern[str] | None = None
    schema_models: re.Pattern[str] | None = None
    schema_beside_tools: bool = True
    tiers: tuple[tuple[str, str | None], ...] | None = None
    efforts: tuple[tuple[str, str], ...] = ()
    effort_off: tuple[str, tuple[str, str | bool]] | None = None
    developer: bool = True
    late_system: bool = True
    names: bool = True
    prefix: bool = False
    cache_control: bool = True
    thoughts: frozenset[str] | None = None
    thoughts_required: bool = False
    thinking_parts: bool = True
    signatures_for: re.Pattern[str] | None = None
    audio: bool = True
    image_detail: bool = True
    audio_form: Literal["object", "text"] = "object"
    files: Literal["openai", "data_url", "url", "document", "none"] | None = None
    media_in_results: bool = True
    plain_text: bool = False
    empty_assistant: bool = True
    json_arguments: bool = False
    call_ids: re.Pattern[str] | None = None
    call_indexes: bool = False
    parameters: bool = False
    strict_functions: bool = True
    allowed_tools: bool = True
    custom_tools: bool = True
    user_after_tool: bool = True
    stop_list: bool = False
    top_logprobs: Literal["logprobs"] | None = None
    web_search: Literal["tool"] | None = None


_ONLY_OPENAI = frozenset(
    {
        "audio", "function_call", "functions", "modalities", "moderation", "prediction", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "store", "verbosity",
        "web_search_options",
    }
)  # fmt: skip
_NO_TIERS = (("auto", None), ("default", None))
_THREE_EFFORTS = (("minimal", "low"), ("xhigh", "high"), ("max", "high"))

OPENAI = ChatQuirks(
    provider="openai",
    needs_model=True,
    # Its reasoning families refuse `max_tokens`, which its own older models and all others understand.
    completion_tokens_for=re.compile(r"(?:o\d|gpt-[5-9])"),
    cache_control=False,
    thoughts=frozenset(),
    thinking_parts=False,
    files="openai",
    media_in_results=False,
    call_ids=re.compile(r"(?s).{1,40}"),
)

# What hosts of open models share. Their servers are OpenAI-like, and take less.
_OPEN = ChatQuirks(
    needs_model=True,
    lacks=_ONLY_OPENAI | {"metadata"},
    tiers=_NO_TIERS,
    developer=False,
    cache_control=False,
    thinking_parts=False,
    files="none",
    media_in_results=False,
    json_arguments=True,
    allowed_tools=False,
    custom_tools=False,
)

GROQ = replace(
    _OPEN,
    provider="groq",
    # logprobs, logit_bias and a name are a 400 (console.groq.com/docs/openai).
    lacks=_OPEN.lacks | {"logprobs", "top_logprobs", "logit_bias", "n"},
    stream_options=False,
    schema_models=re.compile(r"openai/gpt-oss|moonshotai/kimi|meta-llama/llama-4"),
    schema_beside_tools=False,
    tiers=(
        ("auto", "auto"),
        ("default", "on_demand"),
        ("on_demand", "on_demand"),
        ("flex", "flex"),
        ("performance", "performance"),
    ),
    efforts=_THREE_EFFORTS,
    names=False,
    thoughts=frozenset({"reasoning"}),
    audio=False,
    media_in_results=True,
)

MISTRAL = replace(
    _OPEN,
    provider="mistral",
    # It refuses every field it does not know, with a 422.
    renamed=(("seed", "random_seed"), ("max_completion_tokens", "max_tokens")),
    lacks=(_ONLY_OPENAI - {"prediction", "prompt_cache_key"}) | {"logit_bias", "user"},
    stream_options=False,
    tiers=(("auto", "auto"), ("default", "standard_only"), ("standard_only", "standard_only")),
    late_system=False,
    names=False,
    prefix=True,
    thoughts=frozenset(),
    thinking_parts=True,
    audio_form="text",
    files="document",
    media_in_results=True,
    empty_assistant=False,
    call_ids=re.compile(r"[a-zA-Z0-9]{9}"),
    parameters=True,
    user_after_tool=False,
)

DEEPSEEK = replace(
    _OPEN,
    provider="deepseek",
    renamed=(("max_completion_tokens", "max_tokens"),),
    lacks=_OPEN.lacks | {"n", "seed", "logit_bias", "parallel_tool_calls"},
    schema_models=re.compile(r"(?!)"),
    effort_off=("thinking", ("type", "disabled")),
    thoughts=frozenset({"reasoning_content"}),
    thoughts_required=True,
    audio=False,
)

OPENROUTER = replace(
    _OPEN,
    provider="openrouter",
    lacks=(_ONLY_OPENAI - {"modalities", "prediction", "prompt_cache_key", "prompt_cache_options"}) | {"n"},
    tiers=None,
    developer=True,
    cache_control=True,
    thoughts=frozenset({"reasoning", "reasoning_details"}),
    files="data_url",
    media_in_results=True,
    json_arguments=False,
    web_search="tool",
)

TOGETHER = replace(
    _OPEN,
    provider="together",
    renamed=(("max_completion_tokens", "max_tokens"),),
    lacks=_OPEN.lacks | {"parallel_tool_calls", "user"},
    stream_options=False,
    efforts=_THREE_EFFORTS,
    effort_off=("reasoning", ("enabled", False)),
    thoughts=frozenset({"reasoning", "reasoning_content"}),
    image_detail=False,
    plain_text=True,
    call_indexes=True,
    strict_functions=False,
    stop_list=True,
    top_logprobs="logprobs",
)

FIREWORKS = replace(
    _OPEN,
    provider="fireworks",
    lacks=_ONLY_OPENAI - {"prediction", "prompt_cache_key"},
    stream_options=False,
    # "flex" is taken, and served and billed as the default.
    tiers=(*_NO_TIERS, ("priority", "priority")),
    efforts=_THREE_EFFORTS,
    names=False,
    thoughts=frozenset({"reasoning_content"}),
    audio=False,
)

CEREBRAS = replace(
    _OPEN,
    provider="cerebras",
    lacks=(_ONLY_OPENAI - {"prediction", "prompt_cache_key"}) | {"metadata"},
    tiers=None,
    efforts=_THREE_EFFORTS,
    developer=True,
    thoughts=frozenset({"reasoning"}),
    audio=False,
)

XAI = replace(
    _OPEN,
    provider="xai",
    lacks=(_OPEN.lacks - {"web_search_options"}) | {"logit_bias"},
    tiers=(*_NO_TIERS, ("priority", "priority")),
    efforts=_THREE_EFFORTS,
    developer=True,
    thoughts=frozenset({"reasoning_content"}),
    audio=False,
    files="url",
    json_arguments=False,
)

NVIDIA_NIM = replace(
    _OPEN, provider="nvidia_nim", thoughts=frozenset({"reasoning", "reasoning_content"}), audio=False
)

# It ignores what it does not know.
OLLAMA = replace(
    _OPEN,
    provider="ollama",
    renamed=(("max_completion_tokens", "max_tokens"),),
    lacks=_OPEN.lacks | {"n", "logit_bias", "user", "parallel_tool_calls"},
    thoughts=frozenset({"reasoning"}),
    audio=False,
)

VLLM = replace(_OPEN, provider="vllm", thoughts=frozenset({"reasoning", "reasoning_content"}))

GOOGLE = replace(
    _OPEN,
    provider="vertex",
    lacks=_OPEN.lacks - {"web_search_options"},
    thoughts=frozenset({"extra_content"}),
    # https://ai.google.dev/gemini-api/docs/thought-signatures: a history without one takes this instead.
    signatures_for=re.compile(r"(?:google/)?gemini-(?:[3-9]|\d\d)"),
)
"""Google's endpoint for OpenAI's dialect, at Vertex and at the Gemini API."""
