"""The matrix: every dialect does everything, through `iModel`, against the simulator.

A row is a function decorated with `row`, a column a `ProviderSetup`. `providers_page.py` makes the table in
docs/providers.md from both. What only one provider does is tested with its dialect, under tests/providers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest
from pydantic import BaseModel

from callgate import (
    APIClientError,
    APIConnectionError,
    AuthenticationError,
    Calling,
    ContentFilterError,
    InvalidRequestError,
    RateLimitError,
    ResourceNotFoundError,
    Response,
    ResponseError,
    RetryConfig,
    ServerError,
    StreamChunk,
    iModel,
)
from callgate.testing import (
    Answer,
    Chunk,
    MemoryTransport,
    Plan,
    SimulatedProvider,
    SimulatedToolCall,
    Simulator,
)
from callgate.testing.clock import VirtualClock
from callgate.testing.simulator import Ask, Options
from tests.composition.provider_setups import PROVIDER_SETUPS, ProviderSetup
from tests.effort import scaled

TEXT: Final = "Oslo is cold today."
HELLO: Final = [{"role": "user", "content": "How is Oslo?"}]
PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FORMS: Final = ("seconds", "fraction", "ms", "date", "body", "none")

_CLAUDES_OWN = "StructuredOutput"

Row = Callable[[ProviderSetup], None]
ROWS: dict[str, Row] = {}


def row(title: str) -> Callable[[Row], Row]:
    """Make a function a row of the matrix."""

    def add(check: Row) -> Row:
        ROWS[title] = check
        return check

    return add


def get_weather(city: str) -> dict[str, int]:
    """The weather of a city."""
    return {"celsius": {"Oslo": 7, "Rome": 21}[city]}


def get_time(city: str) -> str:
    """The time of day in a city."""
    return f"noon in {city}"


class Planet(BaseModel):
    name: str
    moons: int = 0


# -- how a row talks to its provider ---------------------------------------------------------------------


def talk(
    setup: ProviderSetup,
    scenario: Callable[[iModel, Simulator], Coroutine[Any, Any, Any]],
    *,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Run a scenario with the model at a simulator on loopback."""

    async def main() -> Any:
        async with Simulator(**options) as sim, setup.model_at(sim.url, **(settings or {})) as model:
            return await scenario(model, sim)

    return asyncio.run(main())


def ask(setup: ProviderSetup, *, options: dict[str, Any] | None = None, **request: Any) -> Calling:
    """One plain call."""

    async def scenario(model: iModel, _: Simulator) -> Calling:
        return await model.invoke(**{"messages": HELLO, **request})

    calling = talk(setup, scenario, **{"answers": lambda _: TEXT, **(options or {})})
    assert isinstance(calling, Calling)
    return calling


def stream(
    setup: ProviderSetup, *, options: dict[str, Any] | None = None, **request: Any
) -> tuple[list[StreamChunk], APIClientError | None]:
    """One streamed call: the chunks, and the error that ended it."""

    async def scenario(model: iModel, _: Simulator) -> tuple[list[StreamChunk], APIClientError | None]:
        return await read(model, **{"messages": HELLO, **request})

    result: tuple[list[StreamChunk], APIClientError | None] = talk(
        setup, scenario, **{"answers": lambda _: TEXT, **(options or {})}
    )
    return result


async def read(model: iModel, **request: Any) -> tuple[list[StreamChunk], APIClientError | None]:
    chunks: list[StreamChunk] = []
    try:
        async for chunk in model.invoke_stream(**request):
            chunks.append(chunk)
    except APIClientError as error:
        return chunks, error
    return chunks, None


def whole(chunks: list[StreamChunk]) -> Response:
    """The complete answer of a stream; its chunks must add up to it."""
    last = chunks[-1]
    assert last.is_final
    assert last.response is not None
    assert "".join(chunk.content for chunk in chunks) == last.response.text
    return last.response


def failed(
    setup: ProviderSetup, status: int, kind: type[APIClientError], message: str = "not today"
) -> APIClientError:
    """The error of an answer with this status, whole and streamed."""
    answer = Answer(status=status, message="not today")
    error = ask(setup, options={"answers": lambda _: answer}).error
    _, streamed = stream(setup, options={"answers": lambda _: answer})
    assert isinstance(error, kind)
    assert type(streamed) is type(error)
    assert error.status_code == streamed.status_code == setup.statuses.get(status, status)
    assert message in str(error)
    return error


class Watched(SimulatedProvider):
    """A provider that notes when it is asked, and whose answers come in the pieces one wants."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.arrivals: list[float] = []
        self.split: Callable[[bytes], list[bytes]] | None = None
        self.body = b""

    def handle(self, *request: Any) -> Plan:
        self.arrivals.append(self._clock())
        plan = super().handle(*request)
        self.body = plan.body
        if self.split is not None:
            plan.chunks = [Chunk(piece) for piece in self.split(self.body)]
        return plan


# -- what is answered ------------------------------------------------------------------------------------


@row("plain")
def plain(setup: ProviderSetup) -> None:
    calling = ask(setup)
    response = calling.response
    assert (response.text, response.finish_reason) == (TEXT, "stop")
    assert response.usage is not None
    assert response.usage.input_tokens >= 3
    assert response.usage.output_tokens == 4
    assert response.id
    assert response.model == (setup.model if setup.names_model else None)
    assert len(calling.attempts) == 1


@row("stream")
def streamed(setup: ProviderSetup) -> None:
    chunks, error = stream(setup)
    assert error is None
    assert len(chunks) > 2, "it came in pieces"
    response = whole(chunks)
    plain_one = ask(setup).response
    assert (response.text, response.finish_reason) == (TEXT, "stop")
    assert (response.usage, response.model) == (plain_one.usage, plain_one.model)


@row("tool call")
def tool_call(setup: ProviderSetup) -> None:
    asked = Answer(tool_calls=[SimulatedToolCall("get_weather", {"city": "Oslo"})])
    options = {"answers": lambda _: asked}
    tools = [_schema(get_weather)]
    for response in (
        ask(setup, options=options, tools=tools).response,
        whole(stream(setup, options=options, tools=tools)[0]),
    ):
        assert response.finish_reason == "tool_call"
        assert [(call.name, call.arguments) for call in response.tool_calls] == [
            ("get_weather", {"city": "Oslo"})
        ]
        assert response.tool_calls[0].id


@row("tool result")
def tool_result(setup: ProviderSetup) -> None:
    told: list[list[str]] = []

    def model_of(asked: Ask) -> Answer:
        told.append(list(asked.tool_results))
        if asked.tool_results:
            return Answer("It is 7 degrees.")
        return Answer(tool_calls=[SimulatedToolCall("get_weather", {"city": "Oslo"})], reasoning="Hm.")

    async def scenario(model: iModel, _: Simulator) -> None:
        run = await model.run_tools(HELLO, tools=[get_weather], reasoning_effort="low")
        assert run.text == "It is 7 degrees."
        assert run.usage.output_tokens > 4
        assert len(run.callings) == 2

    talk(setup, scenario, answers=model_of)
    assert [[json.loads(result) for result in results] for results in told] == [[], [{"celsius": 7}]]


@row("parallel tools")
def parallel_tools(setup: ProviderSetup) -> None:
    told: list[str] = []

    def model_of(asked: Ask) -> Answer:
        if asked.tool_results:
            told.extend(asked.tool_results)
            return Answer("Both are fine.")
        calls = [
            SimulatedToolCall("get_weather", {"city": "Rome"}),
            SimulatedToolCall("get_time", {"city": "Rome"}),
            SimulatedToolCall("get_weather", {"city": "Atlantis"}),
        ]
        return Answer(tool_calls=calls)

    async def scenario(model: iModel, _: Simulator) -> None:
        run = await model.run_tools(HELLO, tools=[get_weather, get_time])
        assert run.text == "Both are fine."

    talk(setup, scenario, answers=model_of)
    assert json.loads(told[0]) == {"celsius": 21}
    # Some providers take nothing but an object, so the text may stand in one.
    assert "noon in Rome" in told[1]
    assert "error: " in told[2], "a tool that raised does not end the loop"


@row("JSON schema")
def json_schema(setup: ProviderSetup) -> None:
    asked: list[Ask] = []

    def watch(ask: Ask) -> str | Answer | None:
        asked.append(ask)
        if setup.command:
            mars = SimulatedToolCall(_CLAUDES_OWN, {"name": "Mars", "moons": 2})
            return "Done." if ask.tool_results else Answer(tool_calls=[mars])
        return None  # as drawn: an instance of the schema

    parsed = ask(setup, options={"answers": watch}, response_model=Planet).response.parsed
    assert isinstance(parsed, Planet)
    if setup.command:
        assert any(tool.name == _CLAUDES_OWN for tool in asked[0].tools)
    elif setup.forced_tool:
        assert asked[0].tool_choice.startswith("=")
    else:
        assert asked[0].json_schema is not None, "the provider's own support is used where there is one"
    chunks, error = stream(setup, options={"answers": watch}, response_model=Planet)
    assert error is None
    response = chunks[-1].response
    assert response is not None
    assert isinstance(response.parsed, Planet)
    assert response.finish_reason == "stop"


@row("image")
def image(setup: ProviderSetup) -> None:
    seen: list[Any] = []

    def model_of(asked: Ask) -> str:
        seen.append(asked.body)
        return TEXT

    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    calling = ask(setup, options={"answers": model_of}, messages=[{"role": "user", "content": parts}])
    assert calling.response.text == TEXT
    assert PIXEL in json.dumps(seen[0])


@row("reasoning")
def reasoning(setup: ProviderSetup) -> None:
    options = {"answers": lambda asked: Answer(TEXT, reasoning="Let me think." if asked.reasoning else "")}
    if not setup.command:  # which has it think unless told otherwise
        assert ask(setup, options=options).response.reasoning is None
    response = ask(setup, options=options, reasoning_effort="low").response
    assert (response.reasoning, response.text) == ("Let me think.", TEXT)
    chunks, _ = stream(setup, options=options, reasoning_effort="low")
    assert "".join(chunk.metadata.get("reasoning", "") for chunk in chunks) == "Let me think."
    assert whole(chunks).reasoning == "Let me think."
    assert response.usage is not None
    assert response.usage.output_tokens == 7, "reasoning is counted within the output"


@row("length stop")
def length_stop(setup: ProviderSetup) -> None:
    response = ask(setup, max_tokens=2).response
    assert (response.text.strip(), response.finish_reason) == ("Oslo is", "length")
    assert whole(stream(setup, max_tokens=2)[0]).finish_reason == "length"


@row("content filter")
def content_filter(setup: ProviderSetup) -> None:
    withheld = {"answers": lambda _: Answer(finish="content_filter")}
    if setup.command:
        assert isinstance(ask(setup, options=withheld).error, ContentFilterError)
        return
    assert ask(setup, options=withheld).response.finish_reason == "content_filter"
    assert whole(stream(setup, options=withheld)[0]).finish_reason == "content_filter"


# -- what goes wrong -------------------------------------------------------------------------------------


@row("400")
def status_400(setup: ProviderSetup) -> None:
    assert not failed(setup, 400, InvalidRequestError).retryable


@row("401")
def status_401(setup: ProviderSetup) -> None:
    assert not failed(setup, 401, AuthenticationError, message="").retryable


@row("404")
def status_404(setup: ProviderSetup) -> None:
    assert not failed(setup, 404, ResourceNotFoundError, message="").retryable


@row("429")
def status_429(setup: ProviderSetup) -> None:
    assert failed(setup, 429, RateLimitError).retryable


@row("Retry-After, each form")
def retry_after(setup: ProviderSetup) -> None:
    """The call waits as long as it is told, in whatever form, and is then answered."""
    for form in FORMS:
        waited = _waited_after_429(setup, form)
        if form == "none" or (form == "body" and not setup.retry_after_in_body):
            assert 0 < waited <= 1.1, f"{form}: it backs off by itself"
        else:
            # A date and whole seconds are rounded up by the provider; a little jitter comes on top.
            assert 7.4 <= waited <= 9 * 1.06, f"{form}: {waited}"


def _waited_after_429(setup: ProviderSetup, form: str) -> float:
    clock = VirtualClock()
    refusal = Answer(status=429, retry_after=7.5)
    provider = Watched(
        Options(answers=[refusal, TEXT], retry_after=form),  # type: ignore[arg-type]
        clock=clock.time,
        epoch=time.time(),  # for the dates
    )
    transport = MemoryTransport(provider)

    async def main() -> None:
        retry = RetryConfig(max_retries=2, base_delay=1.0)
        async with setup.model_at("http://127.0.0.1:9", transport=transport, retry_config=retry) as model:
            calling = await model.invoke(messages=HELLO)
        assert calling.response.text == TEXT
        assert len(calling.attempts) == 2

    clock.run(main())
    first, second = provider.arrivals
    return second - first


@row("500")
def status_500(setup: ProviderSetup) -> None:
    assert failed(setup, 500, ServerError).retryable


@row("529")
def status_529(setup: ProviderSetup) -> None:
    assert failed(setup, 529, ServerError).retryable


@row("error in mid-stream")
def error_in_mid_stream(setup: ProviderSetup) -> None:
    answer = Answer(TEXT, fault="stream_error")
    chunks, error = stream(setup, options={"answers": lambda _: answer})
    assert isinstance(error, ServerError), "typed as what it says, not as a broken stream"
    assert error.retryable
    assert not any(chunk.is_final for chunk in chunks)


@row("stream cut off")
def stream_cut_off(setup: ProviderSetup) -> None:
    answer = Answer(" ".join([TEXT] * 10), fault="truncated")
    chunks, error = stream(setup, options={"answers": lambda _: answer})
    assert isinstance(error, APIConnectionError | ResponseError | ServerError)
    assert error.retryable
    assert chunks, "what came before has been delivered"
    assert not any(chunk.is_final for chunk in chunks)


@row("every split of the bytes")
def every_split(setup: ProviderSetup) -> None:
    """A word split at every fifth place (in a soak: everywhere); thoughts and a tool call byte by byte."""
    rich = Answer("Grüße", [SimulatedToolCall("get_time", {"city": "Tromsø"})], reasoning="Hm.")
    clock = VirtualClock()
    provider = Watched(Options(answers=lambda asked: rich if asked.tools else "Grüße"), clock=clock.time)
    transport = MemoryTransport(provider)

    async def main() -> None:
        async with setup.model_at("http://127.0.0.1:9", transport=transport) as model:
            request: dict[str, Any] = {
                "messages": HELLO,
                "tools": [_schema(get_time)],
                "reasoning_effort": "low",
            }
            expected = _facts_of(whole((await read(model, **request))[0]))
            assert expected[:2] == ("Grüße", "Hm.")
            assert expected[3] == [("get_time", {"city": "Tromsø"})]
            provider.split = lambda body: [body[at : at + 1] for at in range(len(body))]
            assert _facts_of(whole((await read(model, **request))[0])) == expected
            expected = _facts_of(whole((await read(model, messages=HELLO))[0]))
            for place in range(1, len(provider.body), scaled(5, 1)):
                provider.split = lambda body, place=place: [body[:place], body[place:]]
                chunks, error = await read(model, messages=HELLO)
                assert error is None, f"split at {place}"
                assert _facts_of(whole(chunks)) == expected, f"split at {place}"

    clock.run(main())


def _facts_of(response: Response) -> tuple[Any, ...]:
    calls = [(call.name, call.arguments) for call in response.tool_calls]
    return (response.text, response.reasoning, response.finish_reason, calls, response.usage)


def _schema(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {
        "type": "function",
        "function": {"name": function.__name__, "description": "d", "parameters": parameters},
    }


CELLS = [
    pytest.param(title, setup, id=f"{title}-{setup.title}")
    for title in ROWS
    for setup in PROVIDER_SETUPS
    if title not in setup.not_tested
]


@pytest.mark.parametrize(("title", "setup"), CELLS)
def test_matrix(title: str, setup: ProviderSetup) -> None:
    ROWS[title](setup)


def test_every_exception_names_a_row_of_the_matrix() -> None:
    assert all(setup.not_tested.keys() <= ROWS.keys() for setup in PROVIDER_SETUPS)
