"""What makes two calls the same."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, strategies as st

from callgate.policies.cache.key import CacheKey, make_key

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5}


def key(origin: str = "https://api.example.com", dialect: str = "chat", **more: Any) -> CacheKey:
    made = make_key(origin, dialect, more.pop("request", REQUEST), **more)
    assert made is not None
    return made


def test_the_order_of_keys_does_not_matter() -> None:
    backwards = dict(reversed(REQUEST.items()))
    backwards["messages"] = [{"content": "Hi", "role": "user"}]
    assert key() == key(request=backwards)


@pytest.mark.parametrize(
    "other",
    [
        {"origin": "https://api.example.org"},
        {"dialect": "anthropic"},
        {"path": "completions"},
        {"sample": 1},
        {"request": {**REQUEST, "temperature": 0.6}},
        {"request": {**REQUEST, "model": "n"}},
        {"request": {**REQUEST, "something_new": None}},
    ],
)
def test_everything_that_may_change_the_answer_changes_the_key(other: dict[str, Any]) -> None:
    assert key(**other).digest != key().digest
    assert key(**other).request != key().request


def test_how_the_answer_is_carried_does_not() -> None:
    streamed = {**REQUEST, "stream": True, "stream_options": {"include_usage": True}}
    assert key(request=streamed) == key()
    assert streamed["stream"] is True, "the request itself is left alone"


def test_it_holds_the_request_it_was_made_from() -> None:
    kept = orjson.loads(key(sample=2).request)
    assert kept["request"] == REQUEST
    assert (kept["origin"], kept["sample"]) == ("https://api.example.com", 2)
    assert repr(key()) == f"<CacheKey {key().digest.hex()}>"
    assert len(key().digest) == 20


def test_a_key_that_is_a_number_is_the_text_that_json_makes_of_it() -> None:
    """A bias by token: the request is sent all the same, and so it can be kept."""
    assert key(request={**REQUEST, "logit_bias": {50256: -100}}) == key(
        request={**REQUEST, "logit_bias": {"50256": -100}}
    )


@pytest.mark.parametrize("value", [object(), "\ud800"])
def test_what_json_cannot_hold_has_no_key(value: Any) -> None:
    assert make_key("here", "chat", {"model": "m", "x": value}) is None


def test_a_request_with_an_integer_over_64_bits_has_a_key() -> None:
    keys = [make_key("here", "chat", {"model": "m", "x": value}) for value in (2**70, 2**70 + 1)]
    assert None not in keys
    assert keys[0] != keys[1]


def test_neither_has_a_request_that_is_nested_too_deeply() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert make_key("here", "chat", {"x": deep}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8, alphabet="abcd"), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8, alphabet="abcd"), JSON), JSON)
def test_equal_requests_have_equal_keys_and_others_others(request: dict[str, Any], value: Any) -> None:
    again = orjson.loads(orjson.dumps(request))
    assert key(request=again) == key(request=request)
    changed = {**request, "zzz": value}
    assert key(request=changed) != key(request=request)
