"""An answer comes back as it went in, and damaged bytes are an error that a store can catch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, strategies as st

from callgate.policies.cache.codec import decode_response, encode_response
from callgate.response import Response, ToolCall, Usage

text = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text
responses = st.builds(
    Response,
    text=text,
    reasoning=st.none() | text,
    tool_calls=st.lists(
        st.builds(ToolCall, text, text, st.dictionaries(text, plain, max_size=3), st.none() | text),
        max_size=2,
    ),
    finish_reason=st.sampled_from([None, "stop", "length", "tool_call", "content_filter"]),
    raw_finish_reason=st.none() | text,
    usage=st.none() | st.builds(Usage, *[st.integers(1, 2**40)] * 8),
    model=st.none() | text,
    id=st.none() | text,
    raw=st.none() | st.dictionaries(text, st.lists(plain, max_size=3), max_size=3),
    status_code=st.sampled_from([200, 201]),
    metadata=st.dictionaries(text, plain, max_size=2),
    data=st.none() | st.dictionaries(text, plain, max_size=2) | st.lists(plain, max_size=2),
)


@given(responses)
def test_every_field_comes_back(response: Response) -> None:
    encoded = encode_response(response)
    assert encoded is not None
    assert decode_response(encoded) == response


def test_a_tool_s_none_is_not_taken_for_empty_text() -> None:
    response = Response(text="")
    response.data = None
    encoded = encode_response(response)
    assert encoded is not None
    assert decode_response(encoded).data is None


def test_headers_are_not_kept_because_they_may_hold_cookies() -> None:
    encoded = encode_response(Response(text="4", headers={"set-cookie": "canary", "x-ratelimit": "3"}))
    assert encoded is not None
    assert b"canary" not in encoded
    assert decode_response(encoded).headers == {}


@pytest.mark.parametrize("data", [object(), (1, 2), datetime.now(UTC), "\ud800", {1: 2}, {"a": {1, 2}}])
def test_what_would_come_back_as_something_else_is_not_kept(data: Any) -> None:
    assert encode_response(Response(data=data)) is None


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"null", b'"x"', b'{"text": 3}', b'{"usage": {}}', b'{"tool_calls": [1]}', b"\xff"],
)
def test_damaged_bytes_are_not_read_as_an_answer(damaged: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        decode_response(damaged)


def test_what_a_newer_version_adds_is_passed_over_and_what_it_leaves_out_has_its_default() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    stored = orjson.dumps({"text": "4", "mood": "good", "usage": usage})
    assert decode_response(stored) == Response(text="4", usage=Usage(1, 2, 3))
