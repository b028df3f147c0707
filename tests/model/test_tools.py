"""The tool loop: the model asks for tools, they are called side by side, and it is told what came of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from callgate import Calling, ConfigurationError, ServerError, Tool, ToolError, iModel
from callgate.model.tools import ToolRun
from callgate.providers.catalog import find_dialect
from callgate.response import Response, ToolCall
from callgate.testing import Answer, SimulatedToolCall, Simulator
from callgate.testing.simulator import Ask
from tests.composition.provider_setups import PROVIDER_SETUPS, ProviderSetup

HELLO = [{"role": "user", "content": "How is Oslo?"}]


class Scripted:
    """A model that answers as the script says, and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *answers: Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    async def call(self, calling: Calling) -> Response:
        self.asked.append(json.loads(json.dumps(calling.payload)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def wants(*calls: ToolCall, **facts: Any) -> Response:
    return Response(tool_calls=list(calls), finish_reason="tool_call", **facts)


DONE = Response(text="It is cold.", finish_reason="stop")


def run(backend: Scripted, tools: list[Any], **options: Any) -> ToolRun:
    async def main() -> ToolRun:
        async with iModel(backend=backend) as model:
            return await model.run_tools(HELLO, tools=tools, **options)

    return asyncio.run(main())


def told(backend: Scripted) -> list[str]:
    """What the last request says of the tools' results."""
    return [message["content"] for message in backend.asked[-1]["messages"] if message["role"] == "tool"]


def get_weather(city: str) -> dict[str, Any]:
    """The weather of a city."""
    if city == "Atlantis":
        raise LookupError("no such city")
    return {"city": city, "celsius": 7}


def test_the_result_of_a_tool_is_sent_to_the_model_which_answers() -> None:
    backend = Scripted(wants(ToolCall("c1", "get_weather", {"city": "Oslo"}), text="Let me look."), DONE)
    given = list(HELLO)
    result = run(backend, [get_weather], temperature=0)
    assert (result.text, result.response) == ("It is cold.", DONE)
    assert len(result.callings) == 2
    assert backend.asked[1]["messages"] == [
        *HELLO,
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
                }
            ],
        },
        {
            "role": "tool",
            "tool_call_id": "c1",
            "name": "get_weather",
            "content": '{"city":"Oslo","celsius":7}',
        },
    ]
    assert all(request["temperature"] == 0 for request in backend.asked)
    assert all(request["tools"][0]["function"]["name"] == "get_weather" for request in backend.asked)
    assert given == HELLO, "the caller's conversation is left alone"
    assert result.messages == backend.asked[1]["messages"], "and can be gone on with from here"


def test_tools_asked_for_together_run_side_by_side() -> None:
    meeting = asyncio.Barrier(3)

    async def meet(number: int) -> int:
        await meeting.wait()  # passes only when all three are here
        return number

    calls = [ToolCall(f"c{number}", "meet", {"number": number}) for number in range(3)]
    backend = Scripted(wants(*calls), DONE)
    assert run(backend, [meet]).text == "It is cold."
    assert told(backend) == ["0", "1", "2"], "in the order in which they were asked for"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (ToolCall("c1", "get_weather", {"city": "Atlantis"}), "no such city"),
        (ToolCall("c1", "get_weather", {"town": "Oslo"}), "city"),
        (ToolCall("c1", "get_weather", {}, raw_arguments='{"city": '), "not a JSON object"),
        (ToolCall("c1", "get_wether", {"city": "Oslo"}), "there are get_weather"),
    ],
    ids=["it raised", "wrong arguments", "no JSON", "no such tool"],
)
def test_the_error_of_a_tool_is_sent_to_the_model_which_may_try_again(call: ToolCall, says: str) -> None:
    backend = Scripted(wants(call), wants(ToolCall("c2", "get_weather", {"city": "Oslo"})), DONE)
    assert run(backend, [get_weather]).text == "It is cold."
    first, second = told(backend)
    assert first.startswith("error: ")
    assert says in first
    assert "celsius" in second


MARKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "anthropic": lambda body: body["messages"][-1]["content"][0]["is_error"],
    "bedrock": lambda body: body["messages"][-1]["content"][0]["toolResult"]["status"] == "error",
    "gemini": lambda body: "error" in body["contents"][-1]["parts"][0]["functionResponse"]["response"],
    "openai_chat": lambda body: body["messages"][-1]["content"].startswith("error: "),
    "openai_responses": lambda body: body["input"][-1]["output"].startswith("error: "),
}


@pytest.mark.parametrize("dialect", MARKS)
def test_a_failed_tool_is_marked_in_the_form_of_each_provider(dialect: str) -> None:
    backend = Scripted(wants(ToolCall("c1", "get_weather", {"city": "Atlantis"})), DONE)
    run(backend, [get_weather])
    request = {"model": "m", **backend.asked[-1]}
    body = json.loads(find_dialect(dialect).encode(request).body)
    assert MARKS[dialect](body)
    if dialect.startswith("openai"):
        assert b"is_error" not in find_dialect(dialect).encode(request).body, "not a field of these"


def test_what_was_no_json_goes_back_to_the_model_as_it_wrote_it() -> None:
    backend = Scripted(wants(ToolCall("c1", "get_weather", {}, raw_arguments='{"city": ')), DONE)
    run(backend, [get_weather])
    assert backend.asked[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"city": '


def test_the_loop_ends_after_max_rounds_with_what_the_model_still_wants() -> None:
    backend = Scripted(wants(ToolCall("c1", "get_weather", {"city": "Oslo"})))
    result = run(backend, [get_weather], max_rounds=3)
    assert len(backend.asked) == len(result.callings) == 3
    assert result.response.tool_calls[0].name == "get_weather"


def test_two_tools_of_one_name_are_refused_before_anything_is_asked() -> None:
    backend = Scripted(DONE)
    with pytest.raises(ToolError, match="get_weather"):
        run(backend, [get_weather, Tool(get_weather)])
    assert backend.asked == []


def test_a_text_is_a_conversation_and_tools_must_be_a_list() -> None:
    async def main() -> None:
        backend = Scripted(DONE)
        async with iModel(backend=backend) as model:
            run = await model.run_tools("How is Oslo?", tools=[get_weather])
            assert run.messages == HELLO
            with pytest.raises(
                ConfigurationError, match="tools must be a list of functions or Tools, got func"
            ):
                await model.run_tools(HELLO, tools=get_weather)  # type: ignore[arg-type]
            assert len(backend.asked) == 1

    asyncio.run(main())


def test_a_call_to_the_model_that_fails_ends_the_loop_with_its_error() -> None:
    failure = ServerError("down", status_code=500, retryable=False)
    backend = Scripted(wants(ToolCall("c1", "get_weather", {"city": "Oslo"})), failure)
    with pytest.raises(ServerError, match="down"):
        run(backend, [get_weather])


def test_cancelling_the_loop_cancels_its_tools() -> None:
    ended: list[str] = []

    async def main() -> None:
        begun = asyncio.Event()

        async def forever() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("tool")

        backend = Scripted(wants(ToolCall("c1", "forever", {})), DONE)
        async with iModel(backend=backend) as model:
            task = asyncio.create_task(model.run_tools(HELLO, tools=[forever]))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert ended == ["tool"]


@pytest.mark.parametrize("value", ["text", 7, None, {"a": [1, 2]}, {1: "number as a key"}, {"when": object}])
def test_any_result_of_a_tool_can_be_sent(value: Any) -> None:
    backend = Scripted(wants(ToolCall("c1", "give", {})), DONE)
    run(backend, [Tool(lambda: value, tool_schema={"name": "give", "parameters": {"type": "object"}})])
    assert isinstance(told(backend)[0], str)


def find_all(value: Any, name: str) -> list[Any]:
    """Every value under this key, however deep."""
    if isinstance(value, dict):
        return [*([value[name]] if name in value else []), *_flat(value.values(), name)]
    return list(_flat(value, name)) if isinstance(value, list) else []


def _flat(values: Any, name: str) -> list[Any]:
    return [found for inner in values for found in find_all(inner, name)]


# Where each dialect has the proof that a thought is the model's own.
PROOF: dict[str, Callable[[Any], list[Any]]] = {
    "openai_responses": lambda body: [
        item["id"] for item in body["input"] if item.get("type") == "reasoning"
    ],
    "anthropic": lambda body: find_all(body, "signature"),
    "gemini": lambda body: find_all(body, "thoughtSignature"),
    "bedrock": lambda body: find_all(body, "signature"),
    "bedrock_invoke": lambda body: find_all(body, "signature"),
    "vertex (Claude)": lambda body: find_all(body, "signature"),
}
SIGNING = [setup for setup in PROVIDER_SETUPS if setup.title in PROOF]


@pytest.mark.parametrize("setup", SIGNING, ids=lambda setup: setup.title)
def test_signed_thoughts_go_back_to_the_model_as_they_came(setup: ProviderSetup) -> None:
    bodies: list[Any] = []

    def model_of(asked: Ask) -> Answer:
        bodies.append(asked.body)
        if asked.tool_results:
            return Answer("It is cold.")
        return Answer(
            tool_calls=[SimulatedToolCall("get_weather", {"city": "Oslo"})], reasoning="I should look."
        )

    async def main() -> ToolRun:
        async with Simulator(answers=model_of) as sim, setup.model_at(sim.url) as model:
            return await model.run_tools(HELLO, tools=[get_weather], reasoning_effort="low")

    result = asyncio.run(main())
    assert result.text == "It is cold."
    first = result.callings[0].response
    assert first.reasoning == "I should look."
    proof = PROOF[setup.title]
    assert proof(bodies[0]) == []
    sent = proof(bodies[1])
    assert len(sent) >= 1
    assert all(json.dumps(each) in json.dumps(first.metadata["replay"]) for each in sent)


def test_a_conversation_goes_on_with_another_provider() -> None:
    """What only one dialect can send back is left out by every other."""
    answer = Answer(
        tool_calls=[SimulatedToolCall("get_weather", {"city": "Oslo"})], reasoning="I should look."
    )
    claude = next(setup for setup in PROVIDER_SETUPS if setup.title == "anthropic")

    async def main() -> None:
        async with Simulator(answers=lambda asked: None if asked.tool_results else answer) as sim:
            async with claude.model_at(sim.url) as model:
                begun = await model.run_tools(
                    HELLO, tools=[get_weather], reasoning_effort="low", max_rounds=1
                )
            for setup in PROVIDER_SETUPS:
                if setup.command:
                    continue
                async with setup.model_at(sim.url) as other:
                    ended = await other.run_tools(begun.messages, tools=[get_weather])
                    assert "celsius" in ended.text, setup.title

    asyncio.run(main())
