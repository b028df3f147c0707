"""Canonical requests of every kind, for all dialects; `request_conformance` encodes and judges each of them.

A request stands in the one request format. It names no model: the dialect's tests add theirs. No entry is
addressed to one provider; what a provider does not have is refused or left out by its dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.messages import Message

__all__ = ["REQUESTS", "WEATHER", "weather"]

Request = Mapping[str, Any]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PNG_URL = f"data:image/png;base64,{PNG}"
PDF_URL = "data:application/pdf;base64,JVBERi0xLjQK"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PLACE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "height": {"type": ["number", "null"]}},
    "required": ["name", "height"],
    "additionalProperties": False,
}
NESTED = {
    "type": "object",
    "properties": {
        "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        "kind": {"enum": ["hill", "peak"], "type": "string"},
    },
    "required": ["places", "kind"],
    "additionalProperties": False,
    "$defs": {"Place": PLACE},
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather in a city.", "parameters": CITY},
}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "clock"}}
PLAIN: list[Any] = [{"role": "user", "content": "How is the weather in Oslo?"}]


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def _user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _call(
    identity: str | None = "call_1", arguments: Any = '{"city": "Oslo"}', **more: Any
) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {
        **({} if identity is None else {"id": identity}),
        "type": "function",
        "function": function,
        **more,
    }


def _called(
    *calls: dict[str, Any], content: Any = None, results: list[Any] | None = None, **more: Any
) -> list[Any]:
    """A conversation in which the model called tools and was given the results."""
    calls = calls or (_call(),)
    if results is None:
        results = [{"role": "tool", "tool_call_id": call.get("id"), "content": "rain"} for call in calls]
    return [*PLAIN, {"role": "assistant", "content": content, "tool_calls": list(calls), **more}, *results]


def _result(content: Any, **more: Any) -> list[Any]:
    return _called(results=[{"role": "tool", "tool_call_id": "call_1", "content": content, **more}])


_CACHED = {"cache_control": {"type": "ephemeral"}}
_CACHED_1H = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
_ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
}
_NAMED = {"type": "function", "function": {"name": "weather"}}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE, "strict": True}}
_LOOSE_SCHEMA = {"type": "json_schema", "json_schema": {"name": "places", "schema": NESTED}}
_FILE = {"type": "file", "file": {"file_data": PDF_URL, "filename": "a.pdf"}}
_SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
_IMAGE = {"type": "image_url", "image_url": {"url": PNG_URL}}

_CONVERSATIONS: dict[str, list[Any]] = {
    "user": PLAIN,
    "system": [{"role": "system", "content": "Be short."}, *PLAIN],
    "developer": [{"role": "developer", "content": "Be short."}, *PLAIN],
    "two systems": [
        {"role": "system", "content": "Be short."},
        {"role": "system", "content": "Be kind."},
        *PLAIN,
    ],
    "system in parts": [{"role": "system", "content": [_text("Be short."), _text("Be kind.")]}, *PLAIN],
    "late system": [
        *PLAIN,
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "And now?"},
        {"role": "system", "content": "Answer in French."},
    ],
    "late system before user": [
        *PLAIN,
        {"role": "assistant", "content": "Rain."},
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": "And now?"},
    ],
    "late developer": [*PLAIN, {"role": "developer", "content": "Answer in French."}],
    "many turns": [
        *PLAIN,
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "Snow."},
        {"role": "user", "content": "Still?"},
    ],
    "two users": [*PLAIN, {"role": "user", "content": "Please."}],
    "assistant last": [*PLAIN, {"role": "assistant", "content": "It is"}],
    "assistant in parts": [
        *PLAIN,
        {"role": "assistant", "content": [_text("It "), _text("rains.")]},
        {"role": "user", "content": "Still?"},
    ],
    "assistant first": [{"role": "assistant", "content": "Hello!"}, *PLAIN],
    "empty assistant": [*PLAIN, {"role": "assistant", "content": ""}, {"role": "user", "content": "Well?"}],
    "blank assistant": [*PLAIN, {"role": "assistant", "content": "\n"}, {"role": "user", "content": "Well?"}],
    "refusal": [
        *PLAIN,
        {"role": "assistant", "content": None, "refusal": "I cannot."},
        {"role": "user", "content": "Please."},
    ],
    "message objects": [Message("system", "Be short."), Message("user", "Hello!")],
    "names": [
        {"role": "system", "content": "Be short.", "name": "boss"},
        {"role": "user", "content": "Hello!", "name": "Ann"},
        {"role": "assistant", "content": "Hi!", "name": "bot"},
        {"role": "user", "content": "Hello!", "name": "Bob"},
    ],
    "text parts": _user(_text("How is the weather"), _text("in Oslo?")),
    "bare texts as parts": _user("How is the weather", "in Oslo?"),
    "responses parts": _user(
        {"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": PNG_URL}
    ),
    "empty part": _user(_text(""), _text("Hello!")),
    "blank part": _user(_text(" "), _text("Hello!")),
    "image inline": _user(_text("What is it?"), _IMAGE),
    "image by url": _user(_text("What is it?"), {"type": "image_url", "image_url": {"url": "https://x.io/a.png"}}),
    "image with detail": _user({**_IMAGE, "image_url": {"url": PNG_URL, "detail": "low"}}, _text("?")),
    "image as a text": _user({"type": "image_url", "image_url": PNG_URL}, _text("What is it?")),
    "audio": _user(_text("Write it down."), _SOUND),
    "file inline": _user(_text("What is in it?"), _FILE),
    "file by id": _user(_text("What is in it?"), {"type": "file", "file": {"file_id": "file-1"}}),
    "file by url": _user(_text("?"), {"type": "file", "file": {"file_url": "https://x.io/a.pdf"}}),
    "cached system": [{"role": "system", "content": [{**_text("Be short."), **_CACHED}]}, *PLAIN],
    "cached user": _user({**_text("A long text."), **_CACHED_1H}, _text("What is it about?")),
    "cached message": [{"role": "user", "content": "A long text.", **_CACHED}],
    "cached image": _user({**_IMAGE, **_CACHED}, _text("What is it?")),
}  # fmt: skip

_TOOL_CONVERSATIONS: dict[str, list[Any]] = {
    "result": _called(),
    "result beside text": _called(content="Let me see."),
    "result beside blank text": _called(content="\n\n"),
    "result beside empty text": _called(content=""),
    "result beside parts": _called(content=[_text("Let me see.")]),
    "result with a name": _result("rain", name="weather"),
    "empty result": _result(""),
    "result of null": _result(None),
    "result as JSON": _result('{"sky": "rain"}'),
    "result in parts": _result([_text("rain, "), _text("wind")]),
    "result with an image": _result([_text("See:"), _IMAGE]),
    "result that is an image": _result([_IMAGE]),
    "result with a file": _result([_FILE]),
    "cached result": _result([{**_text("rain"), **_CACHED}]),
    "result then user": [*_called(), {"role": "user", "content": "And in Bergen?"}],
    "result then system": [*_called(), {"role": "system", "content": "Answer in French."}],
    "answer after result": [
        *_called(),
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "Thanks. And in Bergen?"},
    ],
    "parallel results": _called(_call("a"), _call("b", '{"city": "Bergen"}')),
    "results in another order": _called(
        _call("a"),
        _call("b", '{"city": "Bergen"}'),
        results=[
            {"role": "tool", "tool_call_id": "b", "content": "snow"},
            {"role": "tool", "tool_call_id": "a", "content": "rain"},
        ],
    ),
    "ids of another provider": _called(_call("fc.1|/é " + "x" * 90)),
    "short id": _called(_call("1")),
    "arguments as an object": _called(_call(arguments={"city": "Oslo"})),
    "no arguments": _called(_call(arguments="")),
    "arguments cut off": _called(_call(arguments='{"city": "Os')),
    "calls with an index": _called(_call(index=0)),
    "thoughts of a chat model": _called(reasoning_content="First the weather.", content=None),
    "thoughts of OpenRouter": _called(
        reasoning="First the weather.",
        reasoning_details=[
            {"type": "reasoning.text", "text": "First the weather.", "signature": "c2ln", "index": 0}
        ],
    ),
    "thoughts of Mistral": _called(
        content=[{"type": "thinking", "thinking": [_text("First the weather.")]}, _text("Let me see.")]
    ),
    "signed call": _called(_call(extra_content={"google": {"thought_signature": "c2ln"}})),
}  # fmt: skip

_WITH_TOOLS: dict[str, Request] = {
    "one tool": {},
    "two tools": {"tools": [WEATHER, CLOCK]},
    "flat tool": {"tools": [{"type": "function", "name": "weather", "parameters": CITY}]},
    "strict tool": {
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": PLACE, "strict": True}}]
    },
    "tool with definitions": {
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": NESTED}}]
    },
    "tool of nulls": {
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": None, "parameters": None, "strict": None},
            }
        ]
    },
    "cached tool": {"tools": [{**WEATHER, **_CACHED}]},
    "custom tool": {"tools": [{"type": "custom", "custom": {"name": "shell", "format": {"type": "text"}}}]},
    "choice auto": {"tool_choice": "auto"},
    "choice none": {"tool_choice": "none"},
    "choice none after a result": {"messages": _called(), "tool_choice": "none"},
    "choice required": {"tool_choice": "required"},
    "choice named": {"tool_choice": _NAMED},
    "choice named flat": {"tool_choice": {"type": "function", "name": "weather"}},
    "choice allowed": {"tools": [WEATHER, CLOCK], "tool_choice": _ALLOWED},
    "choice allowed required": {
        "tools": [WEATHER, CLOCK],
        "tool_choice": {**_ALLOWED, "allowed_tools": {**_ALLOWED["allowed_tools"], "mode": "required"}},
    },
    "serial calls": {"parallel_tool_calls": False},
    "parallel calls": {"parallel_tool_calls": True},
    "schema and tools": {"response_format": _SCHEMA},
    "schema and named tool": {"response_format": _SCHEMA, "tool_choice": _NAMED},
    "schema and tools after a result": {"messages": _called(), "response_format": _SCHEMA},
    "effort and tools": {"reasoning_effort": "low"},
    "effort and named tool": {"reasoning_effort": "low", "tool_choice": _NAMED},
    "effort and required tool": {"reasoning_effort": "low", "tool_choice": "required"},
}

_SETTINGS: dict[str, Request] = {
    "temperature": {"temperature": 0},
    "high temperature": {"temperature": 1.5},
    "top_p": {"top_p": 0.9},
    "max_tokens": {"max_tokens": 100},
    "max_completion_tokens": {"max_completion_tokens": 100},
    "both limits": {"max_tokens": 100, "max_completion_tokens": 100},
    "stop": {"stop": "END"},
    "stops": {"stop": ["END", "STOP"]},
    "five stops": {"stop": ["1", "2", "3", "4", "5"]},
    "seed": {"seed": 7},
    "one answer": {"n": 1},
    "two answers": {"n": 2},
    "penalties": {"frequency_penalty": 0.5, "presence_penalty": -0.5},
    "logit_bias": {"logit_bias": {"50256": -100}},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "user name": {"user": "user-1"},
    "metadata": {"metadata": {"run": "7"}},
    "store": {"store": False},
    "tier auto": {"service_tier": "auto"},
    "tier default": {"service_tier": "default"},
    "tier flex": {"service_tier": "flex"},
    "tier priority": {"service_tier": "priority"},
    "no effort": {"reasoning_effort": "none"},
    "low effort": {"reasoning_effort": "low"},
    "high effort": {"reasoning_effort": "high"},
    "effort and limit": {"reasoning_effort": "medium", "max_tokens": 4000},
    "effort and temperature": {"reasoning_effort": "low", "temperature": 0.2},
    "verbosity": {"verbosity": "low"},
    "modalities text": {"modalities": ["text"]},
    "modalities audio": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    "prediction": {"prediction": {"type": "content", "content": "rain"}},
    "web search": {"web_search_options": {"search_context_size": "low"}},
    "cache key": {"prompt_cache_key": "k1"},
    "safety identifier": {"safety_identifier": "u1"},
    "stream options": {"stream_options": {"include_usage": True}},
    "text format": {"response_format": {"type": "text"}},
    "JSON format": {"response_format": {"type": "json_object"}},
    "schema": {"response_format": _SCHEMA},
    "loose schema": {"response_format": _LOOSE_SCHEMA},
    "schema and effort": {"response_format": _SCHEMA, "reasoning_effort": "low"},
    "nulls": {"temperature": None, "max_tokens": None, "tools": None, "stop": None, "response_format": None},
    "empty tools": {"tools": []},
}

REQUESTS: Mapping[str, Request] = {
    **{name: {"messages": messages} for name, messages in _CONVERSATIONS.items()},
    "prompt": {"prompt": "How is the weather in Oslo?"},
    "prompt and system": {"prompt": "How is the weather in Oslo?", "system": "Be short."},
    "system field": {"messages": PLAIN, "system": "Be short."},
    **{name: {"messages": told, "tools": [WEATHER]} for name, told in _TOOL_CONVERSATIONS.items()},
    "results without tools": {"messages": [*_called(), {"role": "user", "content": "And in Bergen?"}]},
    **{name: {"messages": PLAIN, "tools": [WEATHER], **more} for name, more in _WITH_TOOLS.items()},
    **{name: {"messages": PLAIN, **more} for name, more in _SETTINGS.items()},
}
"""Name -> request, without a model."""
