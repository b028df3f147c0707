"""Requests and answers of the simulated model, independent of the dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

__all__ = ["LONG_WORD", "Answer", "Ask", "Finish", "Script", "SimulatedToolCall", "ToolSpec", "count_tokens"]

Finish = Literal["stop", "length", "tool_call", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the request offers: its name and the JSON schema of its arguments."""

    name: str
    parameters: dict[str, Any]


@dataclass(slots=True)
class Ask:
    """One parsed request, in the same form for every dialect.

    Passed to a callable given as `answers=`. `body` is the request's JSON.
    """

    dialect: str
    model: str
    body: dict[str, Any]
    text: str = ""
    """The last user message."""
    input_chars: int = 0
    stream: bool = False
    max_tokens: int | None = None
    tools: Sequence[ToolSpec] = ()
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or `=NAME` for one tool by name."""
    parallel: bool = True
    tool_results: Sequence[str] = ()
    """The tools' results, when they are the last message of the request."""
    json_schema: dict[str, Any] | None = None
    json_object: bool = False
    reasoning: bool = False
    include_usage: bool = False
    stop: Sequence[str] = ()
    choices: int = 1
    attempt: int = 1
    """1 for the first request with this content, 2 for the second, and so on."""
    input_tokens: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    """Facts of one dialect only, such as a deployment's name."""


@dataclass(frozen=True, slots=True)
class SimulatedToolCall:
    """A tool call in an answer. `arguments` is a mapping, or raw text (to send invalid JSON).

    >>> SimulatedToolCall("get_weather", {"city": "Oslo"}).text
    '{"city":"Oslo"}'
    """

    name: str
    arguments: Mapping[str, Any] | str
    id: str = ""

    @property
    def text(self) -> str:
        """The arguments as JSON text."""
        if isinstance(self.arguments, str):
            return self.arguments
        return orjson.dumps(self.arguments).decode()

    @property
    def value(self) -> dict[str, Any]:
        """The arguments as an object, for dialects that send one; empty when the text is no JSON object."""
        try:
            value = orjson.loads(self.text)
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the simulated model, for `Simulator(answers=[...])`.

    >>> Answer("Paris").finish
    'stop'
    >>> Answer(status=503, message="down for maintenance").status
    503
    >>> Answer("cut off in mid-body", fault="truncated").fault
    'truncated'
    """

    text: str = ""
    tool_calls: Sequence[SimulatedToolCall] = ()
    reasoning: str = ""
    finish: Finish = "stop"
    status: int = 200
    """Any other status answers with the dialect's error for it."""
    message: str = ""
    """The error's message; empty: the dialect's usual message."""
    retry_after: float | None = None
    """Seconds to wait, sent with a 429 or 503 in the forms of `Options.retry_after`."""
    fault: str | None = None
    """The name of a fault (see `Options.faults`) applied to this answer."""
    output_tokens: int | None = None
    """Output tokens in the usage, with reasoning; None: counted from the text."""
    cached_tokens: int | None = None
    """Input tokens read from the prompt cache in the usage; None: by `cached_share`."""
    stopped_by: str = ""
    """The stop sequence that ended the text, for dialects that report it."""


Script = Sequence["str | int | Answer"] | Callable[[Ask], "str | int | Answer | None"]

LONG_WORD = 8


def count_tokens(text: str) -> int:
    """Tokens of an answer: its number of words.

    In text with few spaces, such as JSON or Chinese, eight characters count as one token.

    >>> count_tokens("The Sun is a star."), count_tokens('{"answer":"yes"}')
    (5, 2)
    """
    return max(len(text.split()), -(-len(text) // LONG_WORD))
