"""The body of a message for Anthropic: settings, tools, and the form of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.providers.anthropic.test_dialect import DIALECT, NEW, OLD, SCHEMA, USER, body_of, refusal

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


def test_a_forced_tool_keeps_the_effort_and_drops_the_thinking() -> None:
    body = body_of(model=NEW, reasoning_effort="low", tools=[TOOL], tool_choice="required")
    assert "thinking" not in body
    assert body["output_config"] == {"effort": "low"}
    assert "cannot think before a forced" in refusal(
        model=OLD, reasoning_effort="low", tools=[TOOL], tool_choice="required"
    )


@pytest.mark.parametrize("choice", ["required", {"type": "any"}, {"type": "function", "name": "get_weather"}])
def test_a_model_that_takes_no_forced_tool_is_never_forced(choice: Any) -> None:
    assert "cannot be forced" in refusal(model="claude-opus-5-5", tools=[TOOL], tool_choice=choice)
    body = body_of(model="claude-opus-5-5", response_format={"type": "json_object"})
    assert body["tool_choice"] == {"type": "auto"}


@pytest.mark.parametrize(
    ("model", "fields", "why"),
    [
        (NEW, {"temperature": 1.5}, "at most 1"),
        (NEW, {"reasoning_effort": "low", "temperature": 0}, "cannot think"),
        (OLD, {"reasoning_effort": "low", "top_k": 3}, "cannot think"),
        (OLD, {"reasoning_effort": "low", "top_p": 0.9}, "cannot think"),
        ("claude-opus-5-5", {"temperature": 0}, "fixed temperature"),
    ],
)
def test_sampling_that_the_model_would_refuse_is_refused(
    model: str, fields: dict[str, Any], why: str
) -> None:
    assert why in refusal(model=model, **fields)


def test_sampling_that_a_thinking_model_takes_is_sent() -> None:
    body = body_of(model=NEW, reasoning_effort="low", temperature=1, top_p=0.97)
    assert (body["temperature"], body["top_p"]) == (1, 0.97)
    assert body_of(model=NEW, temperature=0)["temperature"] == 0


# -- tiers, betas and fields of other providers ------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "sent"),
    [
        ("auto", "auto"),
        ("priority", "auto"),
        ("default", "standard_only"),
        ("standard_only", "standard_only"),
    ],
)
def test_service_tier_is_sent_in_anthropics_form(tier: str, sent: str) -> None:
    assert body_of(service_tier=tier)["service_tier"] == sent


@pytest.mark.parametrize("tier", ["flex", "scale", "ultrafast", 7])
def test_service_tier_that_anthropic_lacks_is_refused(tier: Any) -> None:
    assert "no service_tier" in refusal(service_tier=tier)


def encode(**fields: Any) -> Any:
    return DIALECT.encode({"model": NEW, "messages": [USER], **fields})


@pytest.mark.parametrize("betas", [["a-1", "b-2", "a-1"], "a-1, b-2"])
def test_betas_are_one_header(betas: Any) -> None:
    wire = encode(betas=betas)
    assert wire.headers["anthropic-beta"] == "a-1,b-2"
    assert "betas" not in json.loads(wire.body)
    assert "a list of names" in refusal(betas=[1])


def test_fast_mode_asks_for_its_beta_once() -> None:
    wire = encode(speed="fast", inference_geo="us")
    assert wire.headers["anthropic-beta"] == "fast-mode-2026-02-01"
    body = json.loads(wire.body)
    assert (body["speed"], body["inference_geo"]) == ("fast", "us")
    assert encode(speed="fast", betas=["fast-mode-2027"]).headers["anthropic-beta"] == "fast-mode-2027"
    assert "anthropic-beta" not in encode(speed="standard").headers


def test_web_search_options_become_claudes_own_search() -> None:
    near = {"type": "approximate", "approximate": {"city": "Oslo", "country": "NO"}}
    body = body_of(tools=[TOOL], web_search_options={"search_context_size": "low", "user_location": near})
    assert body["tools"][1] == {
        **SEARCH,
        "user_location": {"type": "approximate", "city": "Oslo", "country": "NO"},
    }
    assert body_of(web_search_options={})["tools"] == [SEARCH]


def test_answers_other_than_text_are_refused() -> None:
    assert "text only" in refusal(modalities=["text", "audio"])
    assert "modalities" not in body_of(modalities=["text"])


def test_metadata_is_reduced_to_what_anthropic_has() -> None:
    assert body_of(metadata={"user_id": "u", "run": "7"})["metadata"] == {"user_id": "u"}
    assert "metadata" not in body_of(metadata={"run": "7"})


def test_extra_body_is_sent_as_it_is() -> None:
    assert body_of(extra_body={"new_field": 1, "max_tokens": 3})["max_tokens"] == 3
    assert "an object" in refusal(extra_body=[1])


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


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


NOW = {"type": "function", "function": {"name": "now"}}


@pytest.mark.parametrize(
    ("choice", "offered", "expected"),
    [
        (allowed("auto", "now"), ["now"], {"type": "auto"}),
        (allowed("required", "now"), ["get_weather", "now"], {"type": "tool", "name": "now"}),
        (allowed("required", "now", "get_weather"), ["get_weather", "now"], {"type": "any"}),
    ],
)
def test_allowed_tools_are_the_only_ones_offered(choice: Any, offered: list[str], expected: Any) -> None:
    body = body_of(tools=[TOOL, NOW], tool_choice=choice)
    assert [tool["name"] for tool in body["tools"]] == offered
    assert body["tool_choice"] == expected


def test_allowed_tools_that_do_not_exist_are_refused() -> None:
    assert "does not define" in refusal(tools=[TOOL], tool_choice=allowed("auto", "clock"))
    assert "a list of tools" in refusal(tools=[TOOL], tool_choice=allowed("auto"))


def test_custom_tools_are_refused() -> None:
    assert "custom tools" in refusal(tools=[{"type": "custom", "custom": {"name": "shell"}}])


def test_an_answer_tool_keeps_serial_calls() -> None:
    body = body_of(response_format={"type": "json_object"}, tools=[TOOL], parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


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
