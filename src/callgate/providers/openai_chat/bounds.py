"""What bounds the cost of a request in OpenAI's chat dialect, and what its answer is billed by.

Most hosts speak this dialect, so the fields of all of them are known here; any other field is refused.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.billing import (
    STANDARD,
    Billing,
    CostBound,
    InputBound,
    UnboundedCostError,
    UnboundedOutputError,
    asked_for,
    check_fields,
    read_reported_cost,
    sum_bounds,
    unbounded_part,
    whole_number,
)
from callgate.providers.canonical.json import as_dict, as_list, as_text
from callgate.response import Cost, Response

__all__ = [
    "IMAGE_TYPES",
    "bill_chat",
    "bill_tier",
    "bound_chat",
    "check_tier",
    "check_tools",
    "holds_1h",
    "read_cost",
]

_FIELDS = frozenset(
    {
        "add_generation_prompt", "bad_words", "chat_template_kwargs", "cache_control",
        "continue_final_message", "echo", "enable_thinking", "encoding_format", "dimensions",
        "frequency_penalty", "function_call", "functions", "grammar", "guided_choice", "guided_grammar",
        "guided_json", "guided_regex", "ignore_eos", "include_reasoning", "include_stop_str_in_output",
        "input", "json_schema", "length_penalty", "logit_bias", "logprobs", "max_completion_tokens",
        "max_tokens", "messages", "metadata", "min_p", "min_tokens", "model", "n", "parallel_tool_calls",
        "prediction", "presence_penalty", "prompt", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "prompt_mode", "prompt_truncate_len", "random_seed", "reasoning",
        "reasoning_effort", "reasoning_format", "reasoning_split", "regex", "repetition_penalty",
        "response_format", "safe_prompt", "safety_identifier", "seed", "service_tier", "session_id",
        "skip_special_tokens", "stop", "stop_token_ids", "store", "stream", "stream_options",
        "structured_outputs", "suffix", "temperature", "thinking", "thinking_budget", "tool_choice", "tools",
        "top_a", "top_k", "top_logprobs", "top_p", "truncate_prompt_tokens", "typical_p", "user", "verbosity",
    }
)  # fmt: skip
"""Fields of a body that leave its cost within the bound; `modalities` is looked at apart."""
_TEXT_ONLY = "modalities"
_MESSAGE_MEDIA = ("audio",)
_TEXTS = frozenset(
    {"output_text", "input_text", "text", "refusal", "thinking", "reasoning", "tool_reference"}
)
IMAGE_TYPES = frozenset({"image", "image_url", "input_image"})
_TOOLS = frozenset({"custom", "function"})
_STANDARD_TIERS = frozenset({"default", "standard", "standard_only", "on_demand", "scale"})
_MAYBE_TIERS = frozenset({"", "auto"})
"""The project's setting decides."""
_CHEAP_TIERS = frozenset({"flex"})
_TIER_FACTORS = {"ultrafast": 6.0}
"""Multiples of the standard price that genai-prices does not list."""
_SEARCHES = re.compile(r"search-(preview|api)|deep-research|:online$|perplexity|\bsonar|compound")
"""Models that search the web in a call, or call tools of the provider's, by their names."""
_DOLLARS_PER_TICK = 1e-10
"""xAI's `cost_in_usd_ticks`."""


def bound_chat(body: Mapping[str, Any], path: str) -> CostBound:
    """The most that a body can be billed for.

    Args:
        body: As it is sent.
        path: Where below the base URL: an embedding has no output.

    Raises:
        UnboundedCostError: Something in it has no bound.
    """
    model = as_text(body.get("model")).lower()
    if _SEARCHES.search(model):
        raise UnboundedCostError(f"the model {body['model']}, which searches the web or calls tools itself,")
    check_fields(body, _FIELDS | {_TEXT_ONLY})
    if body.get(_TEXT_ONLY) not in (None, ["text"]):
        raise UnboundedCostError("an answer that is more than text (modalities)")
    bound = _Input()
    stripped = dict(body)
    stripped["messages"] = [_message(message, bound) for message in as_list(body.get("messages"))]
    for name in ("prompt", "input"):
        if isinstance(body.get(name), Mapping):
            raise UnboundedCostError(f"the field {name}")
    check_tools(body.get("tools"))
    return CostBound(
        bound.tokens(stripped, prompted=bool(body.get("tools") or body.get("functions") or "grok" in model)),
        _longest(body, path),
        "1h" if holds_1h(body) else "5m",
        check_tier(body.get("service_tier")),
    )


def bill_chat(response: Response, request: Mapping[str, Any]) -> Billing:
    """How the answer to a request is billed: by the cost that it reports, else in its tier."""
    raw = as_dict(response.raw)
    reported = read_cost(as_dict(raw.get("usage")))
    return Billing(reported=reported) if reported is not None else bill_tier(raw.get("service_tier"), request)


def bill_tier(reported: Any, request: Mapping[str, Any]) -> Billing:
    """The billing in the service tier that an answer names; without one in the tier that was asked for."""
    if as_text(reported).lower() in _MAYBE_TIERS:
        return check_tier(asked_for(request, "service_tier"))[0]
    return _billing_of(reported)


def check_tier(tier: Any) -> tuple[Billing, ...]:
    """Every billing that a request with this tier may end in."""
    name = as_text(tier).lower()
    if name in _MAYBE_TIERS:
        return STANDARD, _billing_of("priority")
    return (STANDARD,) if name in _CHEAP_TIERS else (_billing_of(name),)


def _billing_of(tier: Any) -> Billing:
    name = as_text(tier).lower()
    if name in _STANDARD_TIERS:
        return STANDARD
    return Billing((("service_tier", name),), _TIER_FACTORS.get(name))


def check_tools(tools: Any) -> None:
    """Refuse tools that the provider runs: what they find is read, and they are billed besides.

    Raises:
        UnboundedCostError: One is neither a function nor a tool of the caller's.
    """
    for tool in as_list(tools):
        kind = tool.get("type") if isinstance(tool, Mapping) else type(tool).__name__
        if kind not in _TOOLS and not (kind is None and "name" in tool):
            raise UnboundedCostError(f"a tool of type {kind}" if kind else f"a tool with {', '.join(tool)}")


def holds_1h(value: Any) -> bool:
    """Whether a mark in it asks the provider to keep its prompt cache for longer than five minutes.

    Raises:
        UnboundedCostError: It is to be kept for half a day, at a price that is not known.
    """
    if isinstance(value, Mapping):
        ttl = value.get("ttl")
        if ttl == "12h":
            raise UnboundedCostError("a prompt cache that is kept for 12 hours")
        return ttl == "1h" or any(map(holds_1h, value.values()))
    return isinstance(value, list | tuple) and any(map(holds_1h, value))


def _longest(body: Mapping[str, Any], path: str) -> int:
    if path.partition("?")[0].rstrip("/").endswith("/embeddings"):
        return 0
    given = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    choices = 1 if body.get("n") is None else body["n"]
    # Providers differ in which of the two they obey. Some read "200", and -1 as without end.
    if not given or not all(map(whole_number, (*given, choices))):
        raise UnboundedOutputError
    predicted = len(str(as_dict(body.get("prediction")).get("content") or "").encode())
    longest: int = max(given) + predicted + sum_bounds([body.get("thinking_budget")])
    return longest * int(choices) * _prompt_count(body.get("prompt"))


def _prompt_count(prompt: Any) -> int:
    """How many prompts a completion is asked for at once; a list of tokens is one."""
    return sum(not isinstance(each, int) for each in as_list(prompt)) or 1


def _message(message: Any, bound: InputBound) -> Any:
    if not isinstance(message, Mapping):
        raise UnboundedCostError(f"a message of type {type(message).__name__}")
    for name in _MESSAGE_MEDIA:
        if message.get(name):
            raise UnboundedCostError(f"a message's {name}")
    return {**message, "content": bound.content(message.get("content"))}


class _Input(InputBound):
    """Reads the parts of a message: text, images, and lists of these."""

    __slots__ = ()

    def read(self, part: Mapping[str, Any]) -> Any:
        kind = part.get("type")
        if kind in IMAGE_TYPES:
            return self._image(part)
        if kind in _TEXTS:
            return part
        raise unbounded_part(part)

    def _image(self, part: Mapping[str, Any]) -> dict[str, Any]:
        image = part.get("image_url") or part.get("source")
        address = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(address, str) and address.startswith("data:"):
            kind = mimetypes.guess_type(address)[0] or "of no known type"
            if not kind.startswith("image/"):
                raise UnboundedCostError(f"a part of type {part['type']} that is {kind}")
        return self.image(part, "image_url", "source")


def read_cost(usage: Mapping[str, Any]) -> Cost | None:
    """The cost that OpenRouter, xAI or Perplexity report in a usage; None: it has none."""
    ticks = read_reported_cost(usage.get("cost_in_usd_ticks"))
    if ticks is not None:
        return Cost(0.0, ticks.total * _DOLLARS_PER_TICK)
    cost = usage.get("cost")
    if isinstance(cost, Mapping):
        reading = cost.get("input_tokens_cost", cost.get("input_cost"))
        writing = cost.get("output_tokens_cost", cost.get("output_cost"))
        return read_reported_cost(cost.get("total_cost"), reading, writing)
    details = as_dict(usage.get("cost_details"))
    shares = (
        details.get(f"upstream_inference_{chat}_cost", details.get(f"upstream_inference_{other}_cost"))
        for chat, other in (("prompt", "input"), ("completions", "output"))
    )
    reported = read_reported_cost(cost, *shares)
    if not usage.get("is_byok"):
        return reported
    # The cost is a fee; what the user's own key at the provider behind it costs is reported apart.
    upstream = read_reported_cost(details.get("upstream_inference_cost"))
    return None if upstream is None else upstream + (reported or Cost(0.0, 0.0))
