"""What the simulated model says."""

from __future__ import annotations

import random

import orjson
import pytest
from hypothesis import given, strategies as st

from callgate.testing.simulator.answer_maker import AnswerMaker
from callgate.testing.simulator.answers import Answer, Ask, SimulatedToolCall, ToolSpec, count_tokens
from callgate.testing.simulator.dialects.base import pieces
from callgate.testing.simulator.instances import instance_of
from callgate.testing.simulator.options import Options
from callgate.testing.simulator.prose import write


def answer(ask: Ask | None = None, content: int = 1, **options) -> Answer:
    return AnswerMaker(Options(**options)).make(ask or Ask("openai_chat", "m", {}), content)[0]


WEATHER = ToolSpec(
    "get_weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
CLOCK = ToolSpec("get_time", {"type": "object"})


def asking(text: str, **more) -> Ask:
    return Ask("openai_chat", "m", {}, text=text, tools=[WEATHER, CLOCK], **more)


def test_equal_content_and_seed_get_the_equal_answer():
    assert answer(content=5) == answer(content=5)
    assert answer(content=5) != answer(content=6)
    assert answer(content=5) != answer(content=5, seed=1)


def test_lengths_follow_the_median():
    made = AnswerMaker(Options(output_tokens=40, output_sigma=0.5))
    lengths = sorted(
        made.make(Ask("openai_chat", "m", {}), content)[0].output_tokens for content in range(999)
    )
    assert 36 <= lengths[499] <= 44
    assert lengths[50] < 25
    assert lengths[950] > 60


@given(st.integers(1, 60), st.integers(0, 1000))
def test_max_tokens_bounds_the_answer_exactly(limit, content):
    made = answer(Ask("openai_chat", "m", {}, max_tokens=limit), content, output_tokens=100, output_sigma=0)
    assert made.finish == "length"
    assert made.output_tokens == limit == count_tokens(made.text)


@given(st.integers(1, 80), st.integers())
def test_prose_has_as_many_tokens_as_asked_for(words, seed):
    assert count_tokens(write(random.Random(seed), words)) == words


@given(st.text())
def test_pieces_add_up_to_the_text(text):
    assert "".join(pieces(text)) == text


def test_stop_sequence_ends_the_text():
    ask = Ask("openai_chat", "m", {}, text="one two STOP three", stop=["STOP"])
    assert answer(ask, echo=True).text == "one two "


def test_tools_named_in_the_prompt_are_called_side_by_side():
    made = answer(asking("Use get_weather and get_time, please."))
    assert [call.name for call in made.tool_calls] == ["get_weather", "get_time"]
    assert made.finish == "tool_call"
    assert isinstance(made.tool_calls[0].arguments["city"], str)


def test_without_parallel_only_one_tool_is_called():
    made = answer(asking("Use get_weather and get_time, please.", parallel=False))
    assert [call.name for call in made.tool_calls] == ["get_weather"]


@pytest.mark.parametrize(
    ("choice", "called"),
    [("none", []), ("required", ["get_weather"]), ("=get_time", ["get_time"]), ("auto", [])],
)
def test_tool_choice_rules(choice, called):
    made = answer(asking("Hello", tool_choice=choice))
    assert [call.name for call in made.tool_calls] == called


def test_after_tool_results_a_text_tells_them():
    made = answer(asking("get_weather?", tool_results=["12 degrees"]))
    assert not made.tool_calls
    assert "12 degrees" in made.text


def test_script_is_taken_in_order_and_then_ends():
    answers = AnswerMaker(Options(answers=["not json", 503, Answer("ok", finish="content_filter")]))
    ask = Ask("openai_chat", "m", {})
    made = [answers.make(ask, 1)[0] for _ in range(4)]
    assert (made[0].text, made[1].status, made[2].finish) == ("not json", 503, "content_filter")
    assert made[3].text not in ("not json", "ok")


def test_script_may_be_a_callable_that_sees_the_attempt():
    def say(ask: Ask) -> str | int:
        return 500 if ask.attempt == 1 else f"attempt {ask.attempt}"

    answers = AnswerMaker(Options(answers=say))
    assert answers.make(Ask("openai_chat", "m", {}, attempt=1), 1)[0].status == 500
    assert answers.make(Ask("openai_chat", "m", {}, attempt=2), 1)[0].text == "attempt 2"


def test_scripted_arguments_may_be_invalid_json():
    call = SimulatedToolCall("get_weather", '{"city": ')
    assert answer(answers=[Answer(tool_calls=[call])]).tool_calls[0].text == '{"city": '


def test_reasoning_comes_when_asked_for_or_always():
    assert not answer(reasoning_tokens=5).reasoning
    assert answer(Ask("openai_chat", "m", {}, reasoning=True), reasoning_tokens=5).reasoning
    made = answer(reasoning_tokens=5, always_reason=True, output_tokens=7, output_sigma=0)
    assert count_tokens(made.reasoning) == 5
    assert made.output_tokens == 12


def test_choices_differ_from_each_other():
    made = AnswerMaker(Options()).make(Ask("openai_chat", "m", {}, choices=2), 1)
    assert made[0].text != made[1].text


def instances(schema, count=30):
    return [instance_of(schema, random.Random(seed)) for seed in range(count)]


def test_instances_of_objects_have_what_is_required():
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 30, "maxLength": 40},
            "age": {"type": "integer", "minimum": 18, "exclusiveMaximum": 20},
            "mood": {"enum": ["good", "bad"]},
            "kind": {"const": "person"},
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "uniqueItems": True},
            "height": {"type": ["number", "null"], "minimum": 1, "maximum": 2},
        },
        "required": ["name", "age", "mood", "kind", "tags", "height", "undeclared"],
    }
    for made in instances(schema):
        assert 30 <= len(made["name"]) <= 40
        assert made["age"] in (18, 19)
        assert made["mood"] in ("good", "bad")
        assert made["kind"] == "person"
        assert len(made["tags"]) == len(set(made["tags"])) >= 2
        assert 1 <= made["height"] <= 2
        assert "undeclared" in made


def test_instances_follow_references_and_alternatives():
    schema = {
        "$defs": {
            "city": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
            "node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["children"],
            },
        },
        "type": "object",
        "properties": {
            "where": {"anyOf": [{"$ref": "#/$defs/city"}, {"type": "null"}]},
            "tree": {"$ref": "#/$defs/node"},
            "all": {
                "allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]
            },
        },
        "required": ["where", "tree", "all"],
    }
    for made in instances(schema):
        assert isinstance(made["where"]["name"], str)
        assert isinstance(made["tree"]["children"], list)
        assert isinstance(made["all"]["a"], int)


def test_a_schema_that_only_refers_to_itself_comes_to_an_end():
    loop = {"$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}}
    assert orjson.dumps(instance_of({**loop, "$ref": "#/$defs/a"}, random.Random(1)))


def test_multiples_and_formats():
    for made in instances({"type": "integer", "minimum": 7, "maximum": 30, "multipleOf": 5}):
        assert made in (10, 15, 20, 25, 30)
    assert len(instance_of({"type": "string", "format": "uuid"}, random.Random(1))) == 36
