"""What the simulated model says: asked-for values in, an answer out, whatever dialect it will be said in."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from callgate.testing.simulator.instances import instance_of
from callgate.testing.simulator.options import Options
from callgate.testing.simulator.prose import write

__all__ = ["Answer", "Answers", "Ask", "Finish", "Script", "SimulatedToolCall", "ToolSpec", "count_tokens"]

Finish = Literal["stop", "length", "tool_call", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the request offers: its name and the JSON schema of its arguments."""

    name: str
    parameters: dict[str, Any]


@dataclass(slots=True)
class Ask:
    """One request, as the simulator understood it; the same for every dialect.

    A callable given as `answers=` receives it. `body` is the request's own JSON.
    """

    dialect: str
    model: str
    body: dict[str, Any]
    text: str = ""
    """What the user said last."""
    input_chars: int = 0
    stream: bool = False
    max_tokens: int | None = None
    tools: Sequence[ToolSpec] = ()
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or `=NAME` for one tool by name."""
    parallel: bool = True
    tool_results: Sequence[str] = ()
    """What the tools answered, when the request brings tool results as its last message."""
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
    """What only this dialect knows, such as a deployment's name."""


@dataclass(frozen=True, slots=True)
class SimulatedToolCall:
    """A tool call in an answer. `arguments` may be a mapping, or raw text (to test what is no valid JSON).

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
        """The arguments as an object, for the dialects that say them so; empty when the text is none."""
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
    """Anything but 200 answers with the dialect's error for this status instead."""
    message: str = ""
    """The error's message; the dialect's usual one when empty."""
    retry_after: float | None = None
    """Seconds told to a client with a 429 or 503, in the forms that `retry_after=` selects."""
    fault: str | None = None
    """A fault by name (see `Options.faults`), sure to happen to this answer."""
    output_tokens: int | None = None
    """What the usage says was written, reasoning included; counted from the text when None."""
    cached_tokens: int | None = None
    """What the usage says was read from the prompt cache; by `cached_share` when None."""
    stopped_by: str = ""
    """The stop sequence that ended the text, for the dialects that tell."""


Script = Sequence["str | int | Answer"] | Callable[[Ask], "str | int | Answer | None"]

_LONG_WORD = 8


def count_tokens(text: str) -> int:
    """Tokens of an answer: its words, so that `max_tokens=10` leaves ten of them.

    Where there are few spaces, as in JSON or in Chinese, every eight characters count as one.

    >>> count_tokens("The Sun is a star."), count_tokens('{"answer":"yes"}')
    (5, 2)
    """
    return max(len(text.split()), -(-len(text) // _LONG_WORD))


class Answers:
    """Makes the answers of one simulator: by script while it lasts, else drawn from the seed and the content.

    >>> answers = Answers(Options(output_tokens=5, output_sigma=0))
    >>> count_tokens(answers.make(Ask("openai", "m", {}), content=7)[0].text)
    5
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._rng = random.Random(options.seed)
        self._script: Script = options.answers
        self._next = 0
        self._canned = write(self._rng, options.output_tokens) if options.quick and not options.echo else ""

    def restart(self) -> None:
        """Begin the list of scripted answers again."""
        self._next = 0

    def make(self, ask: Ask, content: int) -> list[Answer]:
        """One answer for each choice asked for. Equal content gets equal answers."""
        scripted = self._scripted(ask)
        if scripted is not None:
            return [self._finished(scripted, ask)] * ask.choices
        if self._canned and not ask.tools and ask.json_schema is None:
            return [self._finished(Answer(self._canned), ask)] * ask.choices
        answers = []
        for choice in range(ask.choices):
            self._rng.seed((self._options.seed << 72) ^ (choice << 64) ^ content)
            answers.append(self._finished(self._drawn(ask), ask))
        return answers

    def _scripted(self, ask: Ask) -> Answer | None:
        script = self._script
        if callable(script):
            said = script(ask)
        elif self._next < len(script):
            said = script[self._next]
            self._next += 1
        else:
            return None
        if isinstance(said, str):
            return Answer(said)
        if isinstance(said, int):
            return Answer(status=said)
        return said

    def _drawn(self, ask: Ask) -> Answer:
        options = self._options
        reasoning = ""
        if options.reasoning_tokens and (options.always_reason or ask.reasoning):
            reasoning = write(self._rng, options.reasoning_tokens)
        if options.content_filter:
            return Answer(reasoning=reasoning, finish="content_filter")
        if options.echo:
            return Answer(ask.text, reasoning=reasoning)
        wanted = self._wanted_tools(ask)
        if wanted:
            calls = tuple(SimulatedToolCall(tool.name, self._arguments(tool)) for tool in wanted)
            return Answer(tool_calls=calls, reasoning=reasoning, finish="tool_call")
        if ask.json_schema is not None:
            text = orjson.dumps(instance_of(ask.json_schema, self._rng)).decode()
            return Answer(text, reasoning=reasoning)
        if ask.json_object:
            return Answer(orjson.dumps({"answer": write(self._rng, 8)}).decode(), reasoning=reasoning)
        text = write(self._rng, self._length())
        if ask.tool_results:
            text = f"The tool says: {'; '.join(ask.tool_results)}. {text}"
        return Answer(text, reasoning=reasoning)

    def _length(self) -> int:
        median, sigma = self._options.output_tokens, self._options.output_sigma
        if sigma == 0:
            return median
        return max(1, round(median * self._rng.lognormvariate(0.0, sigma)))

    def _wanted_tools(self, ask: Ask) -> list[ToolSpec]:
        if not ask.tools or ask.tool_choice == "none" or self._options.tool_calls == "never":
            return []
        if ask.tool_choice.startswith("="):
            return [tool for tool in ask.tools if tool.name == ask.tool_choice[1:]]
        if ask.tool_results:
            return []  # else a tool loop would never come to an end
        named = [tool for tool in ask.tools if _mentions(ask.text, tool.name)]
        if not named and (ask.tool_choice == "required" or self._options.tool_calls == "always"):
            named = [ask.tools[0]]
        return named if ask.parallel else named[:1]

    def _arguments(self, tool: ToolSpec) -> dict[str, Any]:
        made = instance_of(tool.parameters or {"type": "object"}, self._rng)
        return made if isinstance(made, dict) else {}

    def _finished(self, answer: Answer, ask: Ask) -> Answer:
        """The answer with its tokens counted, cut at a stop sequence and at max_tokens."""
        if answer.status != 200:
            return answer
        text, finish = answer.text, answer.finish
        stopped_by = answer.stopped_by
        for stop in ask.stop:
            text, found, _ = text.partition(stop)
            stopped_by = found or stopped_by
        tokens = count_tokens(answer.reasoning)
        if answer.tool_calls:
            finish = "tool_call" if finish == "stop" else finish
            tokens += sum(count_tokens(call.name + call.text) for call in answer.tool_calls)
        elif ask.max_tokens is not None and tokens + count_tokens(text) > ask.max_tokens:
            text, finish = _cut(text, max(0, ask.max_tokens - tokens)), "length"
            tokens = min(tokens, ask.max_tokens)
        tokens += count_tokens(text)
        return Answer(
            text,
            answer.tool_calls,
            answer.reasoning,
            finish,
            fault=answer.fault,
            output_tokens=tokens if answer.output_tokens is None else answer.output_tokens,
            cached_tokens=self._cached(answer, ask),
            stopped_by=stopped_by,
        )

    def _cached(self, answer: Answer, ask: Ask) -> int:
        if answer.cached_tokens is not None:
            return answer.cached_tokens
        return int(ask.input_tokens * self._options.cached_share)


def _mentions(text: str, name: str) -> bool:
    return name in text or name.replace("_", " ").lower() in text.lower()


def _cut(text: str, tokens: int) -> str:
    """The beginning of the text that counts as at most so many tokens, its spaces as they were."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    if tokens < len(ends):
        text = text[: ends[tokens - 1]] if tokens else ""
    return text[: tokens * _LONG_WORD]
