"""What an answer is billed by, and what bounds the bill of a request before it is sent.

Each dialect reads both in its own words (`providers/<dialect>/bounds.py`); prices are looked up by
`model.pricing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from callgate.providers.canonical.json import as_dict, as_list, write_json
from callgate.response import Cost

__all__ = [
    "STANDARD",
    "Billing",
    "CostBound",
    "InputBound",
    "UnboundedCostError",
    "UnboundedOutputError",
    "asked_for",
    "cache_kept",
    "check_fields",
    "read_reported_cost",
    "sum_bounds",
    "unbounded_part",
    "whole_number",
]

_MOST_IMAGE_TOKENS = 50_000
"""More than any provider counts for one image: 8 tiles of 5,667 and a base, at OpenAI's smallest model."""
_PROMPT_TOKENS = 1_000
"""What a provider may add to a request: Claude describes tools in up to 700 tokens, Grok has a prompt of
as many. A chat template has fewer tokens than the body has bytes besides its texts."""


class UnboundedCostError(Exception):
    """Nothing bounds what a piece of a request may cost; the text names the piece."""


class UnboundedOutputError(UnboundedCostError):
    """The request has no `max_tokens` that bounds the answer."""


@dataclass(frozen=True, slots=True)
class Billing:
    """How the tokens of an answer are billed.

    Attributes:
        mode: Keys of a price context of genai-prices, in pairs: ("service_tier", "priority"). Empty: the
            standard price.
        mode_factor: The price of the mode as a multiple of the standard price, for a model whose price in
            this mode is not listed; None: not known.
        factor: Multiplies all prices.
        searches: Web searches, which are billed by their number.
        reported: The cost that the provider reported; it is used instead of any price.

    >>> Billing((("service_tier", "priority"),), mode_factor=1.8).name
    'service_tier=priority'
    """

    mode: tuple[tuple[str, str], ...] = ()
    mode_factor: float | None = None
    factor: float = 1.0
    searches: int = 0
    reported: Cost | None = None

    @property
    def name(self) -> str:
        """The mode, for messages."""
        return ", ".join(f"{name}={value}" for name, value in self.mode)


STANDARD = Billing()


@dataclass(frozen=True, slots=True)
class CostBound:
    """The most that one attempt of a request can be billed for.

    Attributes:
        input_tokens: At most so many are read, whatever the tokenizer.
        output_tokens: At most so many are written, reasoning and all choices included.
        cache_writes: How long a prompt cache may keep the input, which costs more than reading it: "1h", "5m"
            or None for not at all.
        billings: Every way in which the provider may bill it. At least one; the dearest counts.
        text_only: Whether its answer is text; else its model may draw or speak unasked.

    >>> CostBound(100, 50).billings
    (Billing(mode=(), mode_factor=None, factor=1.0, searches=0, reported=None),)
    """

    input_tokens: int
    output_tokens: int
    cache_writes: str | None = None
    billings: tuple[Billing, ...] = (STANDARD,)
    text_only: bool = True


class InputBound(ABC):
    """Bounds the tokens of a request's body: a token has at least one byte, an image at most 50,000 tokens.

    A dialect reads its parts in a subclass, which takes out the bytes of images.

    Example::

        class ChatInput(InputBound):
            def read(self, part):
                return self.image(part, "image_url") if part.get("type") == "image_url" else part

        bound = ChatInput()
        bound.tokens({"messages": bound.messages([{"role": "user", "content": "Hi"}])})
    """

    __slots__ = ("images",)

    def __init__(self) -> None:
        self.images = 0

    @abstractmethod
    def read(self, part: Mapping[str, Any]) -> Any:
        """A part of a message, without the bytes of its images.

        Raises:
            UnboundedCostError: The part has no bound.
        """

    def content(self, content: Any) -> Any:
        """The content of a message with each of its parts read; text stays as it is.

        Raises:
            UnboundedCostError: A part has no bound, or is neither text nor an object.
        """
        if content is None or isinstance(content, str):
            return content
        if isinstance(content, Mapping):
            return self.read(content)
        if not isinstance(content, list):
            raise UnboundedCostError(f"a part of type {type(content).__name__}")
        return [self.content(part) for part in content]

    def messages(self, messages: Any) -> list[dict[str, Any]]:
        """Messages with their content read."""
        given = map(as_dict, as_list(messages))
        return [{**message, "content": self.content(message.get("content"))} for message in given]

    def image(self, part: Mapping[str, Any], *without: str) -> dict[str, Any]:
        """Count an image; the part without the fields that hold its bytes."""
        self.images += 1
        return {name: value for name, value in part.items() if name not in without}

    def tokens(self, body: Mapping[str, Any], *, prompted: int = 0) -> int:
        """The most tokens of a body from which images were taken out.

        Args:
            body: The body.
            prompted: The number of prompts that the provider adds: for tools, or for its model.
        """
        own = self.images * _MOST_IMAGE_TOKENS + _PROMPT_TOKENS * prompted
        return len(write_json(body)) + own


def unbounded_part(part: Mapping[str, Any]) -> UnboundedCostError:
    """The error of a part of an unknown kind."""
    kind = part.get("type")
    return UnboundedCostError(f"a part of type {kind}" if kind else f"a part with {', '.join(part)}")


def asked_for(request: Mapping[str, Any], name: str) -> Any:
    """The value of a request's field as it is sent: what `extra_body` holds replaces the field.

    An answer that does not name its mode is billed in the one that was asked for.

    >>> asked_for({"speed": "standard", "extra_body": {"speed": "fast"}}, "speed")
    'fast'
    """
    extra = request.get("extra_body")
    if isinstance(extra, Mapping) and extra.get(name) is not None:
        return extra[name]
    return request.get(name)


def check_fields(body: Mapping[str, Any], known: frozenset[str], within: str = "") -> None:
    """Refuse fields that are not known to leave the cost as it is.

    Raises:
        UnboundedCostError: It has another field with a value.
    """
    for name, value in body.items():
        if name not in known and value not in (None, False, "", []):  # {} searches with what is usual
            raise UnboundedCostError(f"the field {within}{name}")


def cache_kept(value: Any, mark: str) -> str | None:
    """For how long the marks in a body have the prompt cache kept: "1h", "5m", or None without any.

    Args:
        value: The body.
        mark: The field that marks what is to be cached.

    >>> cache_kept({"system": [{"text": "Hi", "cache_control": {"ttl": "1h"}}]}, "cache_control")
    '1h'
    """
    if isinstance(value, list):
        found = {cache_kept(inner, mark) for inner in value}
    elif isinstance(value, Mapping):
        found = {cache_kept(inner, mark) for inner in value.values()}
        if isinstance(value.get(mark), Mapping):
            found.add("1h" if value[mark].get("ttl") == "1h" else "5m")
    else:
        return None
    return "1h" if "1h" in found else "5m" if "5m" in found else None


def whole_number(value: Any) -> int | None:
    """The value if it is a whole number above 0; None otherwise.

    >>> whole_number(3), whole_number(0), whole_number(True), whole_number("3")
    (3, None, None, None)
    """
    return value if type(value) is int and value > 0 else None


def sum_bounds(given: Iterable[Any]) -> int:
    """The sum of those that are whole numbers above 0."""
    return sum(whole_number(value) or 0 for value in given)


def read_reported_cost(total: Any, reading: Any = None, writing: Any = None) -> Cost | None:
    """The cost that a provider reported, in US dollars; None when it is no such amount.

    Args:
        total: All of it.
        reading: What of it the input cost, where that is reported.
        writing: What of it the output cost. Without both, all counts as output.

    >>> read_reported_cost(0.5), read_reported_cost("free")
    (Cost(input=0.0, output=0.5), None)
    """
    if not _is_amount(total):
        return None
    if _is_amount(reading) and _is_amount(writing) and reading + writing:
        share = reading / (reading + writing)
        return Cost(total * share, total * (1 - share))
    return Cost(0.0, float(total))


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")
