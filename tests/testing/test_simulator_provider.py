"""The provider without a socket: checks, quotas, faults, the bill, and nothing a client sends breaks it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import orjson
import pytest
from hypothesis import given, strategies as st
from tests.effort import examples

from callgate.testing.simulator import Answer, Ending, Options, SimulatedProvider

CHAT = "/v1/chat/completions"


class ClockedProvider:
    """A provider on a clock that the test turns."""

    def __init__(self, **options):
        self.now = 0.0
        self.provider = SimulatedProvider(Options(**options), clock=lambda: self.now)
        self.stats = self.provider.stats

    def post(self, text="Hello", *, key="k", path=CHAT, finish=True, **body):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **body}
        body = {name: value for name, value in body.items() if value is not ...}
        plan = self.provider.handle("POST", path, {"authorization": f"Bearer {key}"}, orjson.dumps(body))
        if finish:
            self.provider.finish(plan)
        return plan


def parsed(plan):
    return orjson.loads(plan.body)


def events(plan):
    lines = [line for line in plan.body.decode().split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [orjson.loads(line.removeprefix("data: ")) for line in lines]


def test_plain_answer_has_the_shape_of_openai():
    answer = parsed(ClockedProvider(output_tokens=5, output_sigma=0).post())
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == 2
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["usage"]["total_tokens"] == 7


def test_stream_says_the_same_as_the_plain_answer():
    clocked = ClockedProvider()
    whole = parsed(clocked.post("Hello", stream=...))["choices"][0]["message"]["content"]
    streamed = events(ClockedProvider(answers=[whole]).post("Hello", stream=True))
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in streamed) == whole
    assert streamed[-1]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in event for event in streamed)


def test_usage_is_streamed_only_on_request_and_last():
    streamed = events(ClockedProvider().post(stream=True, stream_options={"include_usage": True}))
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"]["prompt_tokens"] == 2
    assert all(event["usage"] is None for event in streamed[:-1])


def test_legacy_completions_answer_a_prompt():
    clocked = ClockedProvider()
    plan = clocked.post(path="/v1/completions", messages=..., prompt="Once upon a time", max_tokens=3)
    choice = parsed(plan)["choices"][0]
    assert len(choice["text"].split()) == 3
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": ...}, "model"),
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [], "tool_choice": "auto"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ],
)
def test_malformed_requests_are_refused_in_the_words_of_openai(body, param):
    plan = ClockedProvider().post(**body)
    error = parsed(plan)["error"]
    assert plan.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


def test_body_that_is_no_json():
    clocked = ClockedProvider()
    plan = clocked.provider.handle("POST", CHAT, {}, b"{")
    assert plan.status == 400
    assert "JSON" in parsed(plan)["error"]["message"]


def test_unknown_keys_models_and_paths():
    clocked = ClockedProvider(keys=["k"], models=["m"])
    assert clocked.post().status == 200
    refused = clocked.post(key="other")
    assert (refused.status, parsed(refused)["error"]["code"]) == (401, "invalid_api_key")
    refused = clocked.post(model="other")
    assert (refused.status, parsed(refused)["error"]["code"]) == (404, "model_not_found")
    assert clocked.provider.handle("POST", "/v1/nothing", {}).status == 404
    assert clocked.provider.handle("GET", CHAT, {}).status == 405


def test_context_length_counts_input_and_max_tokens():
    clocked = ClockedProvider(context_tokens=100)
    assert clocked.post("x" * 200, max_tokens=50).status == 200
    refused = clocked.post("x" * 200, max_tokens=51)
    assert (refused.status, parsed(refused)["error"]["code"]) == (400, "context_length_exceeded")


def test_request_quota_is_each_keys_own_and_opens_again():
    clocked = ClockedProvider(requests_per_minute=2)
    assert [clocked.post(key="a").status for _ in range(3)] == [200, 200, 429]
    assert clocked.post(key="b").status == 200
    clocked.now = 60.0
    assert clocked.post(key="a").status == 200
    assert clocked.stats.key("a").refused == 1
    assert clocked.stats.key("b").refused == 0


def test_over_quota_tells_the_truth_in_headers_and_body():
    clocked = ClockedProvider(requests_per_minute=1, window_seconds=2.0)
    clocked.post()
    clocked.now = 0.5
    plan = clocked.post()
    headers = dict(plan.headers)
    assert headers["retry-after"] == "2"
    assert headers["retry-after-ms"] == "1500"
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] == "1.5s"
    error = parsed(plan)["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "1.500s" in error["message"]


@pytest.mark.parametrize(
    ("form", "header", "value"),
    [
        ("seconds", "retry-after", "30"),
        ("fraction", "retry-after", "30.000"),
        ("ms", "retry-after-ms", "30000"),
        ("none", "retry-after", None),
    ],
)
def test_forms_of_retry_after(form, header, value):
    clocked = ClockedProvider(requests_per_minute=1, retry_after=form)
    clocked.post()
    clocked.now = 30.0
    assert dict(clocked.post().headers).get(header) == value


def test_retry_after_as_a_date_lies_as_far_ahead_as_the_wait():
    clocked = ClockedProvider(requests_per_minute=1, retry_after="date")
    clocked.post()
    clocked.now = 30.0
    when = parsedate_to_datetime(dict(clocked.post().headers)["retry-after"])
    assert when.timestamp() - (1_767_225_600.0 + clocked.now) == 30


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("openai", {"x-ratelimit-remaining-tokens": "982", "x-ratelimit-reset-tokens": "1m0s"}),
        ("azure", {"x-ratelimit-reset-tokens": "60", "x-ratelimit-renewalperiod-tokens": "60"}),
        ("groq", {"x-ratelimit-limit-requests": "14400", "x-ratelimit-limit-tokens": "1000"}),
        (
            "anthropic",
            {
                "anthropic-ratelimit-tokens-remaining": "1000",
                "anthropic-ratelimit-requests-reset": "2026-01-01T00:01:00Z",
            },
        ),
        (
            "mistral",
            {"x-ratelimit-remaining-req-10-second": "9", "x-ratelimit-remaining-tokens-minute": "982"},
        ),
    ],
)
def test_quota_headers_of_each_family(family, expected):
    headers = dict(
        ClockedProvider(requests_per_minute=10, tokens_per_minute=1000, headers=family).post().headers
    )
    assert expected.items() <= headers.items()


def test_headers_none_sends_no_quota_headers():
    headers = ClockedProvider(requests_per_minute=1, headers="none").post().headers
    assert not [name for name, _ in headers if "ratelimit" in name]


def test_reserved_tokens_stay_taken():
    clocked = ClockedProvider(tokens_per_minute=100, output_tokens=10, output_sigma=0)
    assert clocked.post(max_tokens=60).status == 200
    assert clocked.post(max_tokens=60).status == 429


def test_settled_tokens_are_given_back_when_the_answer_has_ended():
    clocked = ClockedProvider(tokens_per_minute=100, output_tokens=10, output_sigma=0, accounting="settle")
    plan = clocked.post(max_tokens=60, finish=False)
    assert clocked.post(max_tokens=60).status == 429
    clocked.provider.finish(plan)
    assert clocked.post(max_tokens=60).status == 200
    assert clocked.stats.used.tokens == 24


def test_actual_tokens_are_taken_when_they_have_been_made():
    clocked = ClockedProvider(tokens_per_minute=100, output_tokens=97, output_sigma=0, accounting="actual")
    plan = clocked.post(max_tokens=5000, finish=False)
    assert clocked.post(finish=False).status == 200
    clocked.provider.finish(plan)
    assert clocked.post().status == 429


def test_a_request_larger_than_the_limit_gets_no_retry_after():
    plan = ClockedProvider(tokens_per_minute=10).post("x" * 400)
    assert plan.status == 429
    assert "retry-after" not in dict(plan.headers)


def test_concurrency_counts_requests_until_they_are_finished():
    clocked = ClockedProvider(concurrency=1)
    plan = clocked.post(finish=False)
    assert clocked.post().status == 429
    clocked.provider.finish(plan)
    clocked.provider.finish(plan)
    assert clocked.post().status == 200
    assert clocked.stats.running == 0
    assert clocked.stats.most_running == 1


def test_bill_adds_up():
    clocked = ClockedProvider(
        input_price=2.0,
        output_price=10.0,
        cached_price=1.0,
        cached_share=0.5,
        output_tokens=10,
        output_sigma=0,
    )
    clocked.post("x" * 400)
    assert clocked.stats.bill == pytest.approx((50 * 2 + 50 * 1 + 10 * 10) / 1e6)


def test_contents_are_counted_and_paid_again_is_seen():
    clocked = ClockedProvider()
    for text in ("a", "b", "a"):
        clocked.post(text)
    body = {"messages": [{"role": "user", "content": "a"}], "model": "m"}
    assert (clocked.stats.received(body), clocked.stats.answered_for(body)) == (2, 2)
    assert clocked.stats.paid_again == 1


FAULTY = {
    "429": lambda plan: plan.status == 429 and "retry-after" in dict(plan.headers),
    "500": lambda plan: plan.status == 500,
    "503": lambda plan: plan.status == 503,
    "529": lambda plan: plan.status == 529,
    "reset": lambda plan: plan.ending is Ending.RESET and not plan.chunks,
    "truncated": lambda plan: plan.ending is Ending.TRUNCATED and 0 < len(plan.body) < plan.content_length,
    "garbage": lambda plan: plan.status == 200 and b"<html>" in plan.body,
    "slow": lambda plan: plan.delay == 5.0,
    "stall": lambda plan: plan.ending is Ending.STALL and 0 < len(plan.body) < plan.content_length,
    "oversized": lambda plan: plan.content_length == len(plan.body) > 1000,
}


@pytest.mark.parametrize("fault", FAULTY)
def test_each_fault_befalls_a_plain_answer(fault):
    clocked = ClockedProvider(faults={fault: 1.0}, oversized_bytes=1000)
    assert FAULTY[fault](clocked.post())
    assert clocked.stats.faults == {fault: 1}


@pytest.mark.parametrize("fault", ["truncated", "garbage", "stall", "stream_error", "oversized"])
def test_faults_strike_a_stream_in_its_middle(fault):
    clocked = ClockedProvider(faults={fault: 1.0}, oversized_bytes=100_000)
    plan = clocked.post(stream=True)
    assert plan.status == 200
    assert plan.body.startswith(b'data: {"id"')
    assert plan.body.endswith(b"data: [DONE]\n\n") == (fault == "oversized")
    if fault == "stream_error":
        assert b'data: {"error"' in plan.body
    if fault == "oversized":
        assert len(plan.body) > 100_000


def test_an_oversized_answer_is_a_good_one_for_who_reads_it_all():
    assert parsed(ClockedProvider(faults={"oversized": 1.0}, oversized_bytes=200_000).post())["choices"]


def test_faults_come_at_their_rate_and_do_not_depend_on_the_order():
    def outcomes(order):
        clocked = ClockedProvider(faults={"500": 0.1, "reset": 0.1}, seed=4)
        return {text: clocked.post(str(text)).status for text in order}

    forth, back = outcomes(range(1000)), outcomes(reversed(range(1000)))
    assert forth == back
    for status in (0, 500):
        assert 70 <= list(forth.values()).count(status) <= 130


def test_a_second_attempt_draws_anew():
    clocked = ClockedProvider(faults={"500": 0.5})
    assert {clocked.post().status for _ in range(20)} == {200, 500}


def test_a_status_fault_is_not_billed_and_a_broken_answer_is():
    free, paid = (
        ClockedProvider(faults={"500": 1.0}, output_price=1.0),
        ClockedProvider(faults={"truncated": 1.0}, output_price=1.0),
    )
    free.post()
    paid.post()
    assert free.stats.bill == 0
    assert paid.stats.bill > 0


def test_scripted_fault_and_status():
    clocked = ClockedProvider(answers=[Answer(fault="reset"), Answer(status=429, retry_after=7)])
    assert clocked.post().ending is Ending.RESET
    assert dict(clocked.post().headers)["retry-after"] == "7"


def test_latency_and_speed_make_the_delays():
    clocked = ClockedProvider(latency=0.5, tokens_per_second=10, output_tokens=20, output_sigma=0)
    assert clocked.post().delay == pytest.approx(2.5)
    plan = clocked.post(stream=True)
    assert plan.delay == 0.5
    assert sum(chunk.delay for chunk in plan.chunks) == pytest.approx(2.0)


def test_latency_is_spread_around_its_median():
    clocked = ClockedProvider(latency=1.0, latency_sigma=0.5)
    delays = sorted(clocked.post(str(number)).delay for number in range(501))
    assert 0.9 < delays[250] < 1.1
    assert delays[25] < 0.6
    assert delays[475] > 1.8


def test_quick_mode_never_waits():
    plan = ClockedProvider(quick=True, latency=9, tokens_per_second=1, output_sigma=0).post()
    assert plan.delay == 0


def test_schema_is_answered_with_an_instance():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    content = parsed(ClockedProvider().post(response_format=form))["choices"][0]["message"]["content"]
    assert isinstance(orjson.loads(content)["n"], int)


def test_stats_page_and_reset_page():
    clocked = ClockedProvider(requests_per_minute=1)
    clocked.post()
    assert parsed(clocked.provider.handle("GET", "/stats", {}))["accepted"] == 1
    assert "received_by_content" in parsed(clocked.provider.handle("GET", "/stats?contents=1", {}))
    clocked.provider.handle("POST", "/reset", {})
    assert clocked.stats.requests == 0
    assert clocked.post().status == 200


def test_models_are_listed():
    plan = ClockedProvider(models=["m1"]).provider.handle("GET", "/v1/models", {})
    assert [model["id"] for model in parsed(plan)["data"]] == ["m1"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PATHS = [CHAT, "/v1/completions"]
KNOWN = [
    *("model", "messages", "prompt", "tools", "tool_choice", "response_format", "stream", "stream_options"),
    *("max_tokens", "stop", "n", "temperature", "reasoning_effort"),
]
PARTS = st.sampled_from(
    [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text"}]},
        {"type": "function", "function": {"name": "f", "parameters": {"type": "nonsense", "properties": []}}},
        {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"$ref": "#/nowhere", "required": "x"}},
        },
        {"type": "function", "function": "f"},
    ]
)


@examples(100)
@given(
    st.sampled_from(PATHS),
    st.dictionaries(st.sampled_from(KNOWN), json_values | PARTS | st.lists(PARTS, max_size=3), max_size=8),
)
def test_nothing_a_client_sends_breaks_the_provider(path, body):
    plan = ClockedProvider().provider.handle("POST", path, {}, orjson.dumps({"model": "m", **body}))
    assert plan.status in (200, 400)
    assert plan.body


@given(st.binary(max_size=60), st.text(max_size=30))
def test_no_path_and_no_body_breaks_the_provider(body, path):
    assert ClockedProvider().provider.handle("POST", path, {}, body).status >= 400


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"requests_per_minute": 0}, "requests_per_minute must be above 0"),
        ({"faults": {"50": 0.1}}, "did you mean '503'"),
        ({"faults": {"500": 2}}, "0 to 1"),
        ({"faults": {"500": 0.6, "503": 0.6}}, "add up"),
        ({"window": "slide"}, "did you mean 'sliding'"),
        ({"retry_after": "second"}, "did you mean 'seconds'"),
        ({"cached_share": 2}, "cached_share"),
        ({"latency": -1}, "latency must not be negative"),
    ],
)
def test_wrong_options_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        Options(**options)


def test_unknown_option_is_named_with_its_neighbour():
    with pytest.raises(TypeError, match="did you mean requests_per_minute"):
        Options.of(request_per_minute=3)


def test_a_reset_leaves_running_requests_running():
    clocked = ClockedProvider(concurrency=2)
    plan = clocked.post(finish=False)
    clocked.provider.reset()
    assert clocked.stats.running == 1
    clocked.provider.finish(plan)
    assert clocked.stats.running == 0


@pytest.mark.parametrize("window", ["sliding", "bucket"])
def test_a_client_that_keeps_the_pace_is_never_refused_and_uses_all(window):
    """1,500 requests at 600 a minute: by this count of the simulator limiters are judged."""
    clocked = ClockedProvider(requests_per_minute=600, window=window)
    for number in range(1500):
        clocked.now = number * 0.1
        clocked.post(str(number))
    assert clocked.stats.refused == 0
    assert clocked.stats.used.requests_share == pytest.approx(1.0)
    assert clocked.stats.used.busiest_requests == 600


def test_input_and_output_tokens_have_limits_of_their_own():
    clocked = ClockedProvider(
        input_tokens_per_minute=50_000, output_tokens_per_minute=3000, headers="anthropic"
    )
    headers = dict(clocked.post("x" * 4000, max_tokens=2000).headers)
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "49000"
    assert headers["anthropic-ratelimit-output-tokens-remaining"] == "1000"
    refused = clocked.post("x", max_tokens=2000)
    assert refused.status == 429
    assert parsed(refused)["error"]["type"] == "output_tokens"


def test_anthropics_retry_after_on_a_good_answer_is_there_to_be_ignored():
    plan = ClockedProvider(requests_per_minute=9, headers="anthropic").post()
    assert (plan.status, dict(plan.headers)["retry-after"]) == (200, "60")
