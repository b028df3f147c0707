"""Answers of the simulated model: scripted, drawn, cut and with tools."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from callgate.testing.simulator.answer_maker import AnswerMaker
from callgate.testing.simulator.answers import Answer, Ask, SimulatedToolCall, ToolSpec, count_tokens
from callgate.testing.simulator.options import Options


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


def test_tool_results_are_answered_with_a_text():
    made = answer(asking("get_weather?", tool_results=["12 degrees"]))
    assert not made.tool_calls
    assert "12 degrees" in made.text


def test_scripted_answers_are_used_in_order_and_then_drawn_ones():
    answers = AnswerMaker(Options(answers=["not json", 503, Answer("ok", finish="content_filter")]))
    ask = Ask("openai_chat", "m", {})
    made = [answers.make(ask, 1)[0] for _ in range(4)]
    assert (made[0].text, made[1].status, made[2].finish) == ("not json", 503, "content_filter")
    assert made[3].text not in ("not json", "ok")


def test_a_callable_script_receives_the_attempt_number():
    def say(ask: Ask) -> str | int:
        return 500 if ask.attempt == 1 else f"attempt {ask.attempt}"

    answers = AnswerMaker(Options(answers=say))
    assert answers.make(Ask("openai_chat", "m", {}, attempt=1), 1)[0].status == 500
    assert answers.make(Ask("openai_chat", "m", {}, attempt=2), 1)[0].text == "attempt 2"


def test_scripted_arguments_may_be_invalid_json():
    call = SimulatedToolCall("get_weather", '{"city": ')
    assert answer(answers=[Answer(tool_calls=[call])]).tool_calls[0].text == '{"city": '


def test_reasoning_is_sent_on_request_or_always():
    assert not answer(reasoning_tokens=5).reasoning
    assert answer(Ask("openai_chat", "m", {}, reasoning=True), reasoning_tokens=5).reasoning
    made = answer(reasoning_tokens=5, always_reason=True, output_tokens=7, output_sigma=0)
    assert count_tokens(made.reasoning) == 5
    assert made.output_tokens == 12


def test_choices_differ_from_each_other():
    made = AnswerMaker(Options()).make(Ask("openai_chat", "m", {}, choices=2), 1)
    assert made[0].text != made[1].text
