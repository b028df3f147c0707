"""The results of a call: values without I/O.

Every dialect decodes into a `Response`. `Delta` is one piece of a stream within the layers, `StreamChunk` one
piece for the reader of a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal

from typing_extensions import TypeVar

__all__ = [
    "Cost",
    "Delta",
    "FinishReason",
    "Parsed",
    "Response",
    "StreamChunk",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]

Parsed = TypeVar("Parsed", default=Any)
"""The type of `Response.parsed`: the `response_model` of the call."""

FinishReason = Literal["stop", "length", "tool_call", "content_filter", "error"]


@dataclass(slots=True)
class Usage:
    """Tokens of one answer, counted the same way for every provider.

    `input_tokens` includes cache reads and writes, and `output_tokens` includes reasoning, so that sums mean
    the same everywhere; each includes its sound, where a provider counts that by itself. `total_tokens` is their sum unless given.
    `cache_write_1h_tokens` are those of `cache_write_tokens` that the provider keeps for an hour, at a higher price.
    `is_known` is False if a count is missing or unreadable: it is 0 then, and the cost is not known.

    >>> Usage(10, 5) + Usage(1, 1, reasoning_tokens=1)
    Usage(input_tokens=11, output_tokens=6, total_tokens=17, cache_read_tokens=0, cache_write_tokens=0, reasoning_tokens=1)
    """  # noqa: E501

    COUNTS: ClassVar = (
        "input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens",
        "reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "cache_write_1h_tokens",
        "output_image_tokens",
    )  # fmt: skip

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = field(default=0, repr=False)
    output_audio_tokens: int = field(default=0, repr=False)
    cache_write_1h_tokens: int = field(default=0, repr=False)
    output_image_tokens: int = field(default=0, repr=False)
    is_known: bool = field(default=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.total_tokens:
            self.total_tokens = self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.total_tokens + other.total_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.input_audio_tokens + other.input_audio_tokens,
            self.output_audio_tokens + other.output_audio_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.output_image_tokens + other.output_image_tokens,
            self.is_known and other.is_known,
        )

    def to_dict(self) -> dict[str, int]:
        """Six counts by name, ready for JSON; those of sound, images and an hour's cache if there are any."""
        counts = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }
        if self.input_audio_tokens:
            counts["input_audio_tokens"] = self.input_audio_tokens
        if self.output_audio_tokens:
            counts["output_audio_tokens"] = self.output_audio_tokens
        if self.cache_write_1h_tokens:
            counts["cache_write_1h_tokens"] = self.cache_write_1h_tokens
        if self.output_image_tokens:
            counts["output_image_tokens"] = self.output_image_tokens
        return counts


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a call in US dollars.

    >>> Cost(0.25, 0.5).total
    0.75
    """

    input: float
    output: float

    @property
    def total(self) -> float:
        """Input and output together, in US dollars."""
        return self.input + self.output

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.input + other.input, self.output + other.output)


@dataclass(slots=True)
class ToolCall:
    """A tool call that the model requests.

    `arguments` is the parsed object. If the model wrote something other than a JSON object, `arguments` is
    empty and `raw_arguments` has its text, which can be sent back to the model.

    >>> ToolCall("call_1", "get_weather", {"city": "Oslo"}).name
    'get_weather'
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    raw_arguments: str | None = None


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of a tool call in a stream; pieces of one call share `index`."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Delta:
    """One piece of a streamed answer: text, reasoning, or a piece of a tool call."""

    text: str = ""
    reasoning: str = ""
    tool_call: ToolCallDelta | None = None


@dataclass(slots=True)
class Response(Generic[Parsed]):
    """One complete response, of any provider.

    Attributes:
        text: The text; empty if the model only called tools.
        data: The text again, or the result of a tool.
        reasoning: The model's visible reasoning, or None.
        tool_calls: The requested tool calls, in the model's order.
        finish_reason: The canonical reason of the end; `raw_finish_reason` is the provider's.
        usage: Tokens; None if the provider reported none.
        model, id: As the provider names them.
        raw: The provider's JSON, unchanged.
        headers: The headers, with lower-case names.
        status_code: The HTTP status.
        parsed: The validated object, if a `response_model` was given.
        metadata: Further facts, such as a session id.

    >>> Response(text="4").data
    '4'
    """

    text: str = ""
    data: Any = field(default=None, repr=False)
    reasoning: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    id: str | None = None
    raw: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    status_code: int = 200
    metadata: dict[str, Any] = field(default_factory=dict)
    parsed: Parsed = None  # type: ignore[assignment]  # only without a response_model

    def __post_init__(self) -> None:
        if self.data is None:
            self.data = self.text


@dataclass(slots=True)
class StreamChunk:
    """One chunk of a streamed response for its reader; `str(chunk)` is its content.

    The last chunk has `is_final` and the complete `response`. Reasoning and pieces of tool calls are in
    `metadata` under "reasoning" and "tool_call", with empty content.

    >>> str(StreamChunk("Hel", 0)) + str(StreamChunk("lo", 1))
    'Hello'
    """

    content: str
    index: int = 0
    is_final: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    response: Response | None = None

    def __str__(self) -> str:
        return self.content
