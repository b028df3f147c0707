"""The most that one attempt at a call can cost: what `--budget` reserves for each.

Text makes no more tokens than it has bytes, and a picture no more than the dearest provider counts for one.
What else a request can bring along only shows when the provider opens it: the pages of a document, the length
of a recording, what a search of its own finds. Nothing bounds these, so they are refused.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any

import orjson

from callgate.batch.cost.possible_models import possible_calls
from callgate.batch.input.images import ImageFile
from callgate.batch.input.rows import Row
from callgate.call.calling import Calling
from callgate.errors import InputError
from callgate.model.base import Caller
from callgate.policies.structured.layer import MOST_ASKS
from callgate.response import Response, Usage

__all__ = ["longest_answer", "worst_case"]

_MOST_IMAGE_TOKENS = 50_000
"""More than any provider counts for one image: 8 tiles of 5,667 and a base, at OpenAI's smallest model."""
_COMPLAINT_TOKENS = 5_000
"""Ten problems of 300 characters, and what stands around them, at a token a byte."""

_FROM_ELSEWHERE = frozenset(
    {
        "cachedContent", "cached_content", "container", "conversation", "data_sources", "enable_search",
        "mcp_servers", "plugins", "previous_response_id", "search_parameters", "web_search_options",
    }
)  # fmt: skip
"""Fields of a request by which the provider reads what does not stand in it, or has others do work."""
_NOT_OURS = frozenset(
    {
        "best_of", "generationConfig", "generation_config", "inferenceConfig", "max_output_tokens", "models",
    }
)  # fmt: skip
"""Fields by which a provider may be told of another length, number of answers or model than we know of."""
_CONVERSATIONS = ("messages", "input", "contents", "system", "prompt")
_TEXTS = frozenset(
    {
        "custom_tool_call", "custom_tool_call_output", "function_call", "function_call_output", "input_text",
        "message", "output_text", "reasoning", "reasoning_text", "redacted_thinking", "refusal",
        "search_result", "summary_text", "text", "thinking", "tool_result", "tool_use",
    }
)  # fmt: skip
"""Parts of a message whose bytes say all."""
_IMAGES = frozenset({"image", "image_url", "input_image"})
_UNTYPED = frozenset(
    {"cachePoint", "functionCall", "reasoningContent", "text", "thought", "thoughtSignature", "toolUse"}
)
"""What a part without a type may consist of, for its bytes to say all."""
_TOOLS = frozenset({"custom", "function"})
_USUAL_TIERS = (None, "auto", "default", "flex", "standard", "standard_only")
"""Service tiers that cost the price that is known, or less."""
_UNTYPED_TOOLS = frozenset({"cachePoint", "functionDeclarations", "function_declarations", "toolSpec"})


async def worst_case(model: Caller, calling: Calling, row: Row) -> float:
    """The most that one attempt of this call can cost, in US dollars, whoever makes it.

    Raises:
        InputError: naming the row's line, when it cannot be told: the price is not known, or nothing bounds
            the length of the answer, or what is to be read.
    """
    return max(_worst_of(call, row) for call in possible_calls(model, calling))


def longest_answer(request: Mapping[str, Any]) -> int | None:
    """The most tokens that a request lets be written, all its choices together; None: nothing bounds them.

    Where the bound is set by both of its names, the larger one counts: providers differ in which they obey.
    What is no whole number above 0 bounds nothing, and that many choices may be any number: some servers read
    "200", and -1 as without end.

    >>> longest_answer({"max_tokens": 100, "n": 2}), longest_answer({}), longest_answer({"max_tokens": -1})
    (200, None, None)
    """
    given = (request.get("max_completion_tokens"), request.get("max_tokens"))
    bounds: list[Any] = [bound for bound in given if bound is not None]
    choices: Any = 1 if request.get("n") is None else request["n"]
    if not bounds or not all(type(count) is int and count > 0 for count in (*bounds, choices)):
        return None
    longest: int = max(bounds) * choices
    return longest


class _UnboundedError(Exception):
    """Nobody can say how many tokens a piece of a request will be; the text names the piece."""


def _worst_of(calling: Calling, row: Row) -> float:
    payload = calling.payload
    longest = longest_answer(payload)
    if longest is None:
        raise InputError(
            f"line {row.line}: a budget needs to know the longest answer; use --max-tokens (a whole number"
            " above 0, as must be n where it is given)"
        )
    dialect = getattr(calling.backend, "dialect", None)
    content = _Content(opens_any_address=getattr(dialect, "opens_any_address", False))
    try:
        said = content.read(payload)
    except _UnboundedError as what:
        raise InputError(
            f"line {row.line}: a budget cannot bound what {what} may cost; leave it out, or run without"
            " a budget"
        ) from None
    size = len(said) + content.images * _MOST_IMAGE_TOKENS
    if calling.answer_type is not None:
        # Asked again, it reads the answers that did not fit, and what is wrong with them.
        size += (MOST_ASKS - 1) * (longest + _COMPLAINT_TOKENS)
    # Writing the provider's cache costs more than reading.
    written = size if b'"cache_control"' in said or b'"cachePoint"' in said else 0
    usage = Usage(size, longest, cache_write_tokens=written)
    cost = None if calling.pricer is None else calling.pricer(Response(usage=usage), payload)
    if cost is None:
        raise InputError(
            f"line {row.line}: a budget needs to know the price of {payload.get('model', 'the model')};"
            " give it in dollars per million tokens: --price INPUT,OUTPUT"
        )
    return cost.total


class _Content:
    """Reads a request: counts its pictures, and refuses what nothing bounds."""

    __slots__ = ("_opens_any_address", "images")

    def __init__(self, *, opens_any_address: bool) -> None:
        self.images = 0
        self._opens_any_address = opens_any_address

    def read(self, payload: Mapping[str, Any]) -> bytes:
        """The request as JSON, its pictures left out: their bytes say nothing of their tokens.

        Raises:
            _UnboundedError: when nobody can say how many tokens it will be.
        """
        for name in payload.keys() & (_FROM_ELSEWHERE | _NOT_OURS):
            if payload[name]:
                raise _UnboundedError(f"the field {name}")
        if payload.get("modalities") not in (None, ["text"]):
            raise _UnboundedError("an answer that is more than text (modalities)")
        if payload.get("service_tier") not in _USUAL_TIERS:
            raise _UnboundedError(f"the service tier {payload['service_tier']}")
        for tool in payload.get("tools") or ():
            _check_tool(tool)
        said = dict(payload)
        for name in _CONVERSATIONS:
            if name in said:
                said[name] = self._parts(said[name])
        written = orjson.dumps(said, default=str)
        if b'"ttl":"1h"' in written:
            raise _UnboundedError("a provider's cache that is kept for an hour")
        return written

    def _parts(self, content: Any) -> Any:
        if content is None or isinstance(content, str | int):
            return content
        if isinstance(content, list | tuple):
            return [self._parts(part) for part in content]
        if not isinstance(content, Mapping):
            to_dict = getattr(content, "to_dict", None) or getattr(content, "model_dump", None)
            if to_dict is None:
                raise _UnboundedError(f"a part of type {type(content).__name__}")
            return self._parts(to_dict())
        return self._message(content) if "role" in content else self._part(content)

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if message.get("audio"):
            raise _UnboundedError("a message's audio")
        read = dict(message)
        for name in ("content", "parts", "replay"):
            if name in read:
                inner = read[name]
                # What a provider's own answer was is sent back as it came.
                if name == "replay" and isinstance(inner, Mapping):
                    inner = inner.get("content")
                read[name] = self._parts(inner)
        return read

    def _part(self, part: Mapping[str, Any]) -> dict[str, Any]:
        kind = part.get("type")
        if kind in _IMAGES:
            return self._image(part)
        if kind == "document" and isinstance(part.get("source"), Mapping):
            source = part["source"]
            if source.get("type") in ("text", "content"):
                return {**part, "source": {**source, "content": self._parts(source.get("content"))}}
        elif kind in _TEXTS:
            inner = {name: self._parts(part[name]) for name in ("content", "output") if name in part}
            return {**part, **inner}
        elif kind is None and part.keys() <= _UNTYPED:
            return dict(part)
        raise _UnboundedError(f"a part of type {kind}" if kind else f"a part with {', '.join(part)}")

    def _image(self, part: Mapping[str, Any]) -> dict[str, Any]:
        image = part.get("image_url") or part.get("source")
        place = image.get("url") if isinstance(image, Mapping) else image
        # A file of a row's own is looked at when it is loaded.
        if isinstance(place, str) and not isinstance(place, ImageFile):
            kind = mimetypes.guess_type(place.partition("?")[0])[0] or "of no known type"
            unseen = self._opens_any_address or place.startswith("data:")
            if unseen and not kind.startswith("image/"):
                raise _UnboundedError(f"a part of type {part['type']} that is {kind}")
        self.images += 1
        return {name: value for name, value in part.items() if name not in ("image_url", "source")}


def _check_tool(tool: Any) -> None:
    kind = tool.get("type") if isinstance(tool, Mapping) else type(tool).__name__
    if kind in _TOOLS:
        return
    if kind is None and ("name" in tool or tool.keys() <= _UNTYPED_TOOLS):
        return
    # A tool that the provider itself runs: it reads what that finds, and bills it besides.
    raise _UnboundedError(f"a tool of type {kind}" if kind else f"a tool with {', '.join(tool)}")
