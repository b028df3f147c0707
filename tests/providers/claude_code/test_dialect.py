"""Claude Code's command line: what is said to it, and what it answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import InvalidRequestError
from callgate.providers.claude_code.dialect import ClaudeCode
from callgate.transport.subprocess import CommandRequest
from tests.providers.conformance import DialectConformance, read_stream

DIALECT = ClaudeCode()
USER = {"role": "user", "content": "Hi"}
USUAL = ("claude", "-p", "--output-format=stream-json", "--verbose", "--model=sonnet")
PNG = "iVBORw0KGgo="


class TestConformance(DialectConformance):
    dialect = DIALECT  # type: ignore[assignment]  # it encodes to a command, not to a request over HTTP
    recorded = "claude_code"
    reads_events = False


def command_for(*messages: Any, stream: bool = False, **fields: Any) -> CommandRequest:
    request = {"model": "sonnet", "messages": list(messages) or [USER], **fields}
    before = json.dumps(request)
    command = DIALECT.encode(request, stream=stream)
    assert json.dumps(request) == before, "encoding changed the caller's request"
    return command


def refusal(*messages: Any, **fields: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        command_for(*messages, **fields)
    assert caught.value.surely_unsent
    return caught.value.message


def test_the_prompt_goes_to_stdin_and_never_to_the_command_line() -> None:
    command = command_for()
    assert command.argv == USUAL
    assert command.stdin == b"Hi"
    assert command.env == {}


def test_a_stream_asks_for_partial_messages() -> None:
    assert command_for(stream=True).argv == (*USUAL[:4], "--include-partial-messages", USUAL[4])


def test_further_arguments_of_the_endpoints_come_last() -> None:
    dialect = ClaudeCode("/opt/claude", ("--permission-mode=plan",))
    argv = dialect.encode({"model": "sonnet", "prompt": "Hi"}).argv
    assert argv == ("/opt/claude", *USUAL[1:], "--permission-mode=plan")


def test_a_system_message_replaces_the_commands_own() -> None:
    command = command_for({"role": "system", "content": "Be short."}, USER)
    assert command.argv == (*USUAL, "--system-prompt=Be short.")
    assert command.stdin == b"Hi"


@pytest.mark.parametrize("value", ["--dangerously-skip-permissions", "a b; rm -rf /", "-p"])
def test_no_value_can_become_an_argument_of_its_own(value: str) -> None:
    argv = command_for({"role": "system", "content": value}, USER, model=value, session_id=value).argv
    assert argv[4:] == (f"--model={value}", f"--system-prompt={value}", f"--resume={value}")


def test_an_earlier_conversation_is_written_down() -> None:
    said = (USER, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "How are you?"})
    stdin = command_for(*said).stdin
    assert stdin == b"[user]\n\nHi\n\n[assistant]\n\nHello.\n\n[user]\n\nHow are you?"


def test_only_new_messages_are_sent_to_a_session() -> None:
    command = command_for(
        {"role": "system", "content": "Be short."},
        USER,
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "And now?"},
        session_id="8f44",
        fork_session=True,
    )
    assert command.argv[5:] == ("--system-prompt=Be short.", "--resume=8f44", "--fork-session")
    assert command.stdin == b"And now?"
    assert command_for(session_id="8f44").stdin == b"Hi"


def test_a_picture_is_sent_as_a_message() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    command = command_for({"role": "user", "content": [{"type": "text", "text": "What?"}, picture]})
    assert command.argv == (*USUAL, "--input-format=stream-json")
    assert json.loads(command.stdin) == {
        "type": "user",
        "message": {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            ],
        },
    }
    assert command.stdin.endswith(b"\n")


def test_settings_that_it_has_arguments_for() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    argv = command_for(
        reasoning_effort="minimal",
        max_turns=3,
        max_budget_usd=0.5,
        append_system_prompt="More.",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    ).argv
    assert argv[5:] == (
        "--append-system-prompt=More.",
        "--max-turns=3",
        "--max-budget-usd=0.5",
        "--effort=low",
        '--json-schema={"type":"object","properties":{"a":{"type":"string"}}}',
    )


@pytest.mark.parametrize(
    ("fields", "env"),
    [
        ({"max_tokens": 5000}, {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "5000"}),
        ({"max_tokens": 150}, {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "150", "MAX_THINKING_TOKENS": "0"}),
        ({"reasoning_effort": "none"}, {"MAX_THINKING_TOKENS": "0"}),
        ({}, {}),
    ],
)
def test_the_most_tokens_is_a_variable_and_leaves_no_room_to_think_when_it_is_small(
    fields: dict[str, Any], env: dict[str, str]
) -> None:
    assert command_for(**fields).env == env


def test_what_it_has_no_argument_for_and_what_changes_nothing_is_left_out() -> None:
    assert command_for(temperature=0.7, top_p=1, seed=1, stop="x", tools=[], n=1) == command_for()
    assert command_for(prompt_cache_key="k", safety_identifier="u", modalities=["text"]) == command_for()


@pytest.mark.parametrize(
    ("messages", "fields", "why"),
    [
        ((), {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools of its own"),
        ((), {"settings": "{}", "mcp_config": "x"}, "mcp_config, settings"),
        ((), {"dangerously_skip_permissions": True}, "dangerously_skip_permissions"),
        ((), {"n": 2}, "n=2"),
        ((), {"reasoning_effort": "extreme"}, "extreme"),
        ((USER, {"role": "tool", "tool_call_id": "x", "content": "1"}), {}, "its own tools"),
        ((USER, {"role": "assistant", "tool_calls": [{}]}), {}, "not its own"),
        (({"role": "system", "content": [{"type": "image", "source": {}}]}, USER), {}, "text only"),
        ((USER, {"role": "assistant", "content": "x"}), {"session_id": "8f44"}, "nothing new"),
    ],
)
def test_what_cannot_be_said_is_refused(messages: tuple[Any, ...], fields: dict[str, Any], why: str) -> None:
    assert why in refusal(*messages, **fields)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"service_tier": "flex"}, "no service_tier 'flex'"),
        ({"modalities": ["text", "audio"]}, "text only"),
        ({"web_search_options": {}}, "web_search_options"),
    ],
)
def test_fields_that_change_the_answer_or_its_price_are_refused(fields: dict[str, Any], why: str) -> None:
    assert why in refusal(**fields)


def test_the_session_and_its_cost_are_in_the_metadata() -> None:
    result = {
        "type": "result",
        "subtype": "success",
        "result": "x",
        "session_id": "8f44",
        "total_cost_usd": 0.25,
        "num_turns": 2,
    }
    _, response = read_stream(DIALECT, [json.dumps(result).encode()], {})  # type: ignore[arg-type]
    assert response.metadata == {"session_id": "8f44", "total_cost_usd": 0.25, "num_turns": 2}
