"""Makes the simulated model's answers: scripted ones first, then drawn from the seed and the request."""

from __future__ import annotations

import random
import re
from typing import Any

import orjson

from callgate.testing.simulator.answers import (
    LONG_WORD,
    Answer,
    Ask,
    Script,
    SimulatedToolCall,
    ToolSpec,
    count_tokens,
)
from callgate.testing.simulator.instances import instance_of
from callgate.testing.simulator.options import Options
from callgate.testing.simulator.prose import write

__all__ = ["AnswerMaker"]


class AnswerMaker:
    """Makes the answers of one simulator: scripted ones, then answers drawn from the seed and the content.

    >>> maker = AnswerMaker(Options(output_tokens=5, output_sigma=0))
    >>> count_tokens(maker.make(Ask("openai", "m", {}), content=7)[0].text)
    5
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._rng = random.Random(options.seed)
        self._script: Script = options.answers
        self._next = 0
        self._canned = write(self._rng, options.output_tokens) if options.quick and not options.echo else ""

    def restart(self) -> None:
        """Restart the list of scripted answers."""
        self._next = 0

    def make(self, ask: Ask, content: int) -> list[Answer]:
        """One answer for each choice. Equal content gets equal answers."""
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
            step = script(ask)
        elif self._next < len(script):
            step = script[self._next]
            self._next += 1
        else:
            return None
        if isinstance(step, str):
            return Answer(step)
        if isinstance(step, int):
            return Answer(status=step)
        return step

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
            text = f"Tool result: {'; '.join(ask.tool_results)}. {text}"
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
            return []  # otherwise a tool loop would never end
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
    """The start of the text, at most `tokens` tokens long, with its whitespace."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    if tokens < len(ends):
        text = text[: ends[tokens - 1]] if tokens else ""
    return text[: tokens * LONG_WORD]
