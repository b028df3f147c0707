"""The body of a message for Anthropic: settings, tools, and the form of the answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.anthropic.test_dialect import NEW, OLD, SCHEMA, body_of, refusal

# -- settings --------------------------------------------------------------------------------------------


def test_settings_are_translated() -> None:
    body = body_of(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop="END",
        user="u-1",
        service_tier="auto",
        container=None,
    )
    del body["messages"], body["model"]
    assert body == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "service_tier": "auto",
    }


def test_openais_newer_name_for_max_tokens_is_understood() -> None:
    assert body_of(max_completion_tokens=7, stop=["a", "b"])["max_tokens"] == 7


def test_what_anthropic_would_refuse_and_what_changes_nothing_is_left_out() -> None:
    usual = body_of()
    assert body_of(seed=1, logprobs=True, frequency_penalty=1, stream_options={}, n=1, stream=True) == usual


def test_several_answers_at_once_are_refused() -> None:
    assert "n=3" in refusal(n=3)


def budget(tokens: int, max_tokens: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}, "max_tokens": max_tokens}


def adaptive(effort: str, max_tokens: int) -> dict[str, Any]:
    return {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": effort},
        "max_tokens": max_tokens,
    }


@pytest.mark.parametrize(
    ("model", "effort", "max_tokens", "expected"),
    [
        (OLD, "low", None, budget(2048, 6144)),
        (OLD, "high", 4000, budget(3000, 4000)),
        (OLD, "minimal", 1100, budget(1024, 1100)),
        (OLD, "none", 50, {"max_tokens": 50}),
        (NEW, "medium", 50, adaptive("medium", 50)),
        (NEW, "minimal", None, adaptive("low", 4096)),
        (NEW, "xhigh", 9, adaptive("xhigh", 9)),
        ("claude-opus-4-6", "xhigh", 9, adaptive("max", 9)),
        ("claude-mythos-preview", "low", 9, adaptive("low", 9)),
        ("deepseek-chat", "low", None, budget(2048, 6144)),
    ],
)
def test_reasoning_effort(model: str, effort: str, max_tokens: int | None, expected: dict[str, Any]) -> None:
    body = body_of(model=model, reasoning_effort=effort, max_tokens=max_tokens)
    del body["messages"], body["model"]
    assert body == expected


def test_an_effort_for_which_there_is_no_room_or_no_word_is_refused() -> None:
    assert "leaves" in refusal(reasoning_effort="low", max_tokens=1024)
    assert "extreme" in refusal(reasoning_effort="extreme")


def test_the_callers_own_words_about_thinking_go_before_ours() -> None:
    body = body_of(
        model=NEW, reasoning_effort="low", thinking={"type": "disabled"}, output_config={"effort": "max"}
    )
    assert body["thinking"] == {"type": "disabled"}
    assert body["output_config"] == {"effort": "max"}


# -- tools -----------------------------------------------------------------------------------------------

TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA, "strict": True},
}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_tools() -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    assert body_of(tools=[TOOL, bare, SEARCH])["tools"] == [
        {"name": "get_weather", "description": "Weather.", "input_schema": SCHEMA},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
        SEARCH,
    ]


def test_a_strict_tool_is_strict_where_the_model_can_be() -> None:
    tool = body_of(model=NEW, tools=[TOOL])["tools"][0]
    assert tool["strict"] is True
    assert tool["input_schema"] == {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "maxLength: 80"}},
        "required": ["city"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, None, {"type": "tool", "name": "f"}),
        ({"type": "any"}, None, {"type": "any"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("auto", True, {"type": "auto"}),
    ],
)
def test_tool_choice(choice: Any, parallel: bool | None, expected: Any) -> None:
    assert (
        body_of(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == expected
    )


def test_a_choice_without_tools_is_left_out() -> None:
    assert "tool_choice" not in body_of(tool_choice="auto", tools=[])


def test_tools_that_are_none_are_refused() -> None:
    assert "a list" in refusal(tools={"name": "f"}.keys())
    assert "no name" in refusal(tools=[{"type": "function", "function": {}}])
    assert "'sometimes'" in refusal(tools=[TOOL], tool_choice="sometimes")


# -- the form of the answer ------------------------------------------------------------------------------

FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "place", "description": "A place.", "schema": SCHEMA},
}


def test_a_schema_is_held_to_by_the_provider_where_it_can() -> None:
    body = body_of(model=NEW, response_format=FORMAT, reasoning_effort="low")
    assert body["output_config"] == {
        "effort": "low",
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "maxLength: 80"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    assert "tools" not in body


def test_an_older_model_is_made_to_answer_by_a_tool() -> None:
    body = body_of(response_format=FORMAT)
    assert [tool["name"] for tool in body["tools"]] == ["callgate_answer"]
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert "A place." in body["tools"][0]["description"]
    assert body["tool_choice"] == {"type": "tool", "name": "callgate_answer"}


OPEN = {"type": "object", "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    "wanted", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": OPEN}}]
)
def test_what_cannot_be_held_to_becomes_a_tool_for_newer_models_too(wanted: Any) -> None:
    body = body_of(model=NEW, response_format=wanted)
    assert body["tools"][0]["name"] == "callgate_answer"
    assert "output_config" not in body


def test_beside_other_tools_the_model_may_call_these_first() -> None:
    body = body_of(response_format=FORMAT, tools=[TOOL])
    assert [tool["name"] for tool in body["tools"]] == ["get_weather", "callgate_answer"]
    assert body["tool_choice"] == {"type": "any"}
    none = body_of(response_format=FORMAT, tools=[TOOL], tool_choice="none")
    assert none["tool_choice"] == {"type": "tool", "name": "callgate_answer"}


def test_a_model_that_thinks_is_not_forced() -> None:
    body = body_of(response_format={"type": "json_object"}, reasoning_effort="low")
    assert body["tool_choice"] == {"type": "auto"}


def test_text_is_what_a_model_answers_anyway() -> None:
    assert body_of(response_format={"type": "text"}) == body_of()


@pytest.mark.parametrize(
    "wanted",
    [
        "json",
        {"type": "yaml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}},
    ],
)
def test_a_form_that_is_none_is_refused(wanted: Any) -> None:
    assert refusal(response_format=wanted)
