"""Encodes a response as JSON and decodes it. Stored bytes may come from another version or be damaged."""

from __future__ import annotations

from typing import Any

from callgate.exact_json import dumps, loads
from callgate.response import Response, ToolCall, Usage

__all__ = ["decode_response", "encode_response"]

# Stored if they differ from the default. Headers are not stored: they report a quota of the past and may hold
# cookies. `parsed` is read from the text again on access.
_PLAIN = (
    "text",
    "reasoning",
    "finish_reason",
    "raw_finish_reason",
    "model",
    "id",
    "raw",
    "status_code",
    "metadata",
)
_DEFAULTS = {name: getattr(Response(), name) for name in _PLAIN}


def encode_response(response: Response) -> bytes | None:
    """JSON bytes; None if JSON cannot restore the response exactly (it holds objects of a tool)."""
    kept: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(response, name)
        if value != _DEFAULTS[name]:
            kept[name] = value
    if response.tool_calls:
        kept["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": call.arguments, "raw": call.raw_arguments}
            for call in response.tool_calls
        ]
    if response.usage is not None:
        kept["usage"] = response.usage.to_dict()
    if response.data != response.text:
        kept["data"] = response.data
    try:
        encoded = dumps(kept)
        # orjson also encodes tuples, dates and dataclasses, but decodes them as lists, texts and dicts.
        faithful = "data" not in kept or loads(encoded) == kept
    except (TypeError, ValueError, RecursionError):
        return None
    return encoded if faithful else None


def decode_response(encoded: bytes) -> Response:
    """The stored response, without headers.

    Raises:
        ValueError: (or KeyError, TypeError, AttributeError) the bytes are not a stored response.
    """
    kept = loads(encoded)
    calls, usage = kept.get("tool_calls"), kept.get("usage")
    text = kept.get("text", "")
    if not isinstance(text, str):
        raise TypeError("the text of a stored answer is no text")
    response = Response(
        text=text,
        data=kept.get("data"),
        reasoning=kept.get("reasoning"),
        finish_reason=kept.get("finish_reason"),
        raw_finish_reason=kept.get("raw_finish_reason"),
        model=kept.get("model"),
        id=kept.get("id"),
        raw=kept.get("raw"),
        status_code=kept.get("status_code", 200),
        metadata=kept.get("metadata") or {},
    )
    if calls:
        response.tool_calls = [ToolCall(c["id"], c["name"], c["arguments"], c.get("raw")) for c in calls]
    if usage is not None:
        response.usage = Usage(
            usage["input_tokens"],
            usage["output_tokens"],
            usage["total_tokens"],
            usage.get("cache_read_tokens", 0),
            usage.get("cache_write_tokens", 0),
            usage.get("reasoning_tokens", 0),
            usage.get("input_audio_tokens", 0),
            usage.get("output_audio_tokens", 0),
            usage.get("cache_write_1h_tokens", 0),
            usage.get("output_image_tokens", 0),
        )
    if "data" in kept:
        response.data = kept["data"]  # may be None, which the constructor replaces by the text
    return response
