"""Reasoning goes back to the host that wrote it, as it came; to others as far as they take it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from callgate.model.tools import run_tools
from callgate.providers.catalog import dialect_of
from callgate.providers.dialect import Dialect
from callgate.providers.hosts import find_host
from callgate.providers.openai_chat.dialect import OpenAIChat
from callgate.providers.openai_chat.quirks import GOOGLE
from callgate.response import Response
from tests.providers.conformance import read_stream
from tests.providers.requests_matrix import weather

USER = {"role": "user", "content": "How is the weather?"}
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}
SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
DETAILS = [
    {
        "type": "reasoning.text",
        "text": "First the weather.",
        "signature": "c2ln",
        "format": "a-v1",
        "index": 0,
    },
    {"type": "reasoning.encrypted", "data": "ZW5j", "id": "rs_1", "format": "o", "index": 1},
]
THINKING = [
    {
        "type": "thinking",
        "thinking": [{"type": "text", "text": "First the weather."}],
        "signature": "c2ln",
        "closed": True,
    },
    {"type": "text", "text": "Let me see."},
]
MESSAGES: dict[str, dict[str, Any]] = {
    "reasoning_content": {"content": "", "reasoning_content": "First the weather.", "tool_calls": [CALL]},
    "reasoning": {"content": None, "reasoning": "First the weather.", "tool_calls": [CALL]},
    "reasoning_details": {
        "content": "",
        "reasoning": "First the weather.",
        "reasoning_details": DETAILS,
        "tool_calls": [CALL],
    },
    "thinking": {"content": THINKING, "tool_calls": [CALL]},
    "signed call": {"content": None, "tool_calls": [{**CALL, **SIGNED}]},
    "signed text": {"content": "Let me see.", **SIGNED, "tool_calls": [CALL]},
}
# Host -> the kinds that it writes itself.
HOSTS = {
    "deepseek": ["reasoning_content"],
    "fireworks": ["reasoning_content"],
    "xai": ["reasoning_content"],
    "groq": ["reasoning"],
    "together": ["reasoning", "reasoning_content"],
    "cerebras": ["reasoning"],
    "ollama": ["reasoning"],
    "vllm": ["reasoning", "reasoning_content"],
    "nvidia_nim": ["reasoning", "reasoning_content"],
    "openrouter": ["reasoning_details", "reasoning"],
    "mistral": ["thinking"],
    "google": ["signed call", "signed text"],
    "": list(MESSAGES),  # a server that nothing is known of
    # A server behind OpenAI's name, at another address.
    "openai": list(MESSAGES),
}


def dialect(host: str) -> Dialect:
    if host == "google":
        return OpenAIChat(GOOGLE)
    return OpenAIChat() if host == "" else dialect_of(find_host(host))


def whole(message: dict[str, Any]) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "tool_calls"}
    return json.dumps({"id": "c1", "model": "m", "choices": [choice]}).encode()


def pieces(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The message as deltas, each text in two pieces."""
    deltas: list[dict[str, Any]] = []
    for name, value in message.items():
        if name == "reasoning_details":
            for detail in value:
                head = {**detail, "text": detail["text"][:5]} if "text" in detail else detail
                head = {key: part for key, part in head.items() if key != "signature"}
                deltas.append({name: [head]})
                if "text" in detail:
                    rest = {"type": detail["type"], "text": detail["text"][5:], "index": detail["index"]}
                    deltas.append({name: [{**rest, "signature": detail["signature"]}]})
        elif type(value) is list and name == "content":
            thought, text = value
            first, second = thought["thinking"][0]["text"][:5], thought["thinking"][0]["text"][5:]
            deltas.append({name: [{"type": "thinking", "thinking": [{"type": "text", "text": first}]}]})
            deltas.append({name: [{**thought, "thinking": [{"type": "text", "text": second}]}]})
            deltas += [{name: text["text"][:4]}, {name: [{"type": "text", "text": text["text"][4:]}]}]
        elif type(value) is str:
            deltas += [{name: value[:5]}, {name: value[5:]}]
        elif name == "tool_calls":
            deltas.append({name: [{"index": at, **call} for at, call in enumerate(value)]})
        elif value is not None:
            deltas.append({name: value})
    return deltas


def streamed(message: dict[str, Any]) -> bytes:
    events = [{"id": "c1", "choices": [{"index": 0, "delta": delta}]} for delta in pieces(message)]
    events.append({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def answer(host: str, kind: str, *, stream: bool) -> Response:
    if stream:
        return read_stream(dialect(host), [streamed(MESSAGES[kind])], {})[1]
    return dialect(host).decode(whole(MESSAGES[kind]), {})


def second_turn(host: str, response: Response) -> dict[str, Any]:
    """The assistant's message in the second request of `run_tools`."""
    bodies: list[dict[str, Any]] = []

    async def invoke(**request: Any) -> Any:
        bodies.append(json.loads(dialect(host).encode({"model": "m", **request}).body))
        return SimpleNamespace(response=response if len(bodies) == 1 else Response(text="Rain."))

    asyncio.run(run_tools(invoke, [USER], [weather]))
    (message,) = [message for message in bodies[1]["messages"] if message["role"] == "assistant"]
    return dict(message)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(("host", "kind"), [(host, kind) for host, kinds in HOSTS.items() for kind in kinds])
def test_what_a_host_wrote_goes_back_to_it_as_it_came(host: str, kind: str, stream: bool) -> None:
    came = MESSAGES[kind]
    sent = second_turn(host, answer(host, kind, stream=stream))
    for name, value in came.items():
        if name == "content":
            assert (sent.get(name) or None) == (value or None)
        elif name == "tool_calls":
            assert [_comparable(call) for call in sent[name]] == [_comparable(call) for call in value]
        else:
            assert sent[name] == value, name


def _comparable(call: dict[str, Any]) -> dict[str, Any]:
    function = {**call["function"], "arguments": json.loads(call["function"]["arguments"])}
    return {**call, "function": function, "index": 0}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("kind", MESSAGES)
def test_what_another_host_wrote_goes_nowhere_it_is_not_taken(kind: str, stream: bool) -> None:
    response = answer("", kind, stream=stream)
    for host in HOSTS:
        if host == "":
            continue
        sent = second_turn(host, response)
        taken = {
            "openai": set(),
            "google": {"extra_content"},
            "deepseek": {"reasoning_content"},
            "openrouter": {"reasoning", "reasoning_details"},
        }.get(host)
        if taken is not None:
            extra = sent.keys() - {"role", "content", "tool_calls", "prefix"} - taken
            assert not extra, host
        if host != "google":
            assert "extra_content" not in json.dumps(sent), host
        if host != "mistral":
            assert "thinking" not in json.dumps(sent), host


def test_reasoning_written_by_hand_is_sent_where_it_is_taken() -> None:
    message = {"role": "assistant", **MESSAGES["reasoning_content"]}
    request = {
        "model": "m",
        "messages": [USER, message, {"role": "tool", "tool_call_id": "c", "content": "42"}],
    }
    for host, taken in (("deepseek", True), ("", True), ("openai", False), ("groq", False)):
        sent = json.loads(dialect(host).encode(request).body)["messages"][1]
        assert ("reasoning_content" in sent) is taken, host


def _signature(call: dict[str, Any]) -> Any:
    return call.get("extra_content", {}).get("google", {}).get("thought_signature")


def test_details_of_a_stream_keep_their_order_and_their_bytes() -> None:
    response = answer("openrouter", "reasoning_details", stream=True)
    message = response.raw["choices"][0]["message"]
    assert message["reasoning_details"] == DETAILS
    assert response.reasoning == "First the weather."


def test_a_content_list_of_a_stream_is_put_together() -> None:
    response = answer("mistral", "thinking", stream=True)
    assert response.raw["choices"][0]["message"]["content"] == THINKING
    assert (response.text, response.reasoning) == ("Let me see.", "First the weather.")


def test_deepseek_is_given_the_reasoning_that_a_foreign_history_lacks() -> None:
    history = [USER, {"role": "assistant", "content": "Rain."}, USER]
    tools = [{"type": "function", "function": {"name": "weather"}}]
    with_tools = json.loads(
        dialect("deepseek").encode({"model": "m", "messages": history, "tools": tools}).body
    )
    assert with_tools["messages"][1] == {"role": "assistant", "content": "Rain.", "reasoning_content": ""}
    without = json.loads(dialect("deepseek").encode({"model": "m", "messages": history}).body)
    assert without["messages"] == history


@pytest.mark.parametrize(
    ("model", "signs"), [("google/gemini-3-pro", True), ("google/gemini-2.5-pro", False)]
)
def test_google_is_given_a_signature_that_a_foreign_history_lacks(model: str, signs: bool) -> None:
    """On the first call of each step of the current turn, and nowhere else."""
    step = [
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call00002"}]},
        {"role": "tool", "tool_call_id": "call00001", "content": "rain"},
        {"role": "tool", "tool_call_id": "call00002", "content": "rain"},
    ]
    own = {"role": "assistant", "content": None, "tool_calls": [{**CALL, **SIGNED}]}
    messages = [USER, *step, USER, *step, own, step[1], *step]
    sent = json.loads(dialect("google").encode({"model": model, "messages": messages}).body)["messages"]
    found = [
        [_signature(call) for call in message["tool_calls"]] for message in sent if message.get("tool_calls")
    ]
    skip = "skip_thought_signature_validator" if signs else None
    assert found == [[None, None], [skip, None], ["c2ln"], [skip, None]]
