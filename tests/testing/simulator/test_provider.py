"""The provider without a socket: checks, quotas, the bill, and any request."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, strategies as st

from tests.effort import examples
from tests.testing.simulator.clocked_provider import CHAT, ClockedProvider, parsed


def test_a_body_that_is_not_json_is_refused():
    clocked = ClockedProvider()
    plan = clocked.provider.handle("POST", CHAT, {}, b"{")
    assert plan.status == 400
    assert "JSON" in parsed(plan)["error"]["message"]


def test_unknown_keys_models_and_paths_are_refused():
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


def test_each_key_has_its_own_request_quota():
    clocked = ClockedProvider(requests_per_minute=2)
    assert [clocked.post(key="a").status for _ in range(3)] == [200, 200, 429]
    assert clocked.post(key="b").status == 200
    clocked.now = 60.0
    assert clocked.post(key="a").status == 200
    assert clocked.stats.key("a").refused == 1
    assert clocked.stats.key("b").refused == 0


def test_reserve_keeps_the_reserved_tokens_charged():
    clocked = ClockedProvider(tokens_per_minute=100, output_tokens=10, output_sigma=0)
    assert clocked.post(max_tokens=60).status == 200
    assert clocked.post(max_tokens=60).status == 429


def test_settle_refunds_unused_tokens_at_the_end():
    clocked = ClockedProvider(tokens_per_minute=100, output_tokens=10, output_sigma=0, accounting="settle")
    plan = clocked.post(max_tokens=60, finish=False)
    assert clocked.post(max_tokens=60).status == 429
    clocked.provider.finish(plan)
    assert clocked.post(max_tokens=60).status == 200
    assert clocked.stats.used.tokens == 24


def test_actual_charges_output_tokens_at_the_end():
    clocked = ClockedProvider(tokens_per_minute=100, output_tokens=97, output_sigma=0, accounting="actual")
    plan = clocked.post(max_tokens=5000, finish=False)
    assert clocked.post(finish=False).status == 200
    clocked.provider.finish(plan)
    assert clocked.post().status == 429


def test_concurrency_counts_requests_until_they_are_finished():
    clocked = ClockedProvider(concurrency=1)
    plan = clocked.post(finish=False)
    assert clocked.post().status == 429
    clocked.provider.finish(plan)
    clocked.provider.finish(plan)
    assert clocked.post().status == 200
    assert clocked.stats.running == 0
    assert clocked.stats.most_running == 1


def test_the_bill_is_the_sum_of_all_answers():
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


def test_equal_contents_are_counted_as_paid_again():
    clocked = ClockedProvider()
    for text in ("a", "b", "a"):
        clocked.post(text)
    body = {"messages": [{"role": "user", "content": "a"}], "model": "m"}
    assert (clocked.stats.received(body), clocked.stats.answered_for(body)) == (2, 2)
    assert clocked.stats.paid_again == 1


def test_delays_follow_latency_and_speed():
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


def test_quick_mode_has_no_delays():
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
def test_any_request_gets_an_answer_or_a_400(path, body):
    plan = ClockedProvider().provider.handle("POST", path, {}, orjson.dumps({"model": "m", **body}))
    assert plan.status in (200, 400)
    assert plan.body


@given(st.binary(max_size=60), st.text(max_size=30))
def test_any_path_and_body_get_an_error_status(body, path):
    assert ClockedProvider().provider.handle("POST", path, {}, body).status >= 400


def test_a_reset_leaves_running_requests_running():
    clocked = ClockedProvider(concurrency=2)
    plan = clocked.post(finish=False)
    clocked.provider.reset()
    assert clocked.stats.running == 1
    clocked.provider.finish(plan)
    assert clocked.stats.running == 0


@pytest.mark.parametrize("window", ["sliding", "bucket"])
def test_a_perfectly_paced_client_uses_the_whole_quota_without_a_429(window):
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
