"""JSON keeps integers of any size."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, strategies as st

from callgate.exact_json import dumps, loads

WEI = 1234567890123456789012


@pytest.mark.parametrize("number", [WEI, -WEI, 2**63, 2**64 - 1, 2**64, 10**300, 0, -(2**63)])
def test_an_integer_comes_out_as_it_went_in(number: int) -> None:
    written = dumps({"n": [number]})
    assert written == b'{"n":[%d]}' % number
    assert loads(written) == {"n": [number]}
    assert type(loads(written.decode())["n"][0]) is int


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_a_value_comes_out_as_it_went_in(value: Any) -> None:
    try:
        written = dumps(value)
    except TypeError:  # half a surrogate pair
        return
    assert loads(written) == value
    assert written == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() or b"." in written


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": NaN}', f'{{"a": {WEI}, "b": NaN}}', f"[{WEI}", "1" * 5000, f"[{WEI}]]"]
)
def test_invalid_json_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        loads(text)
    with pytest.raises(json.JSONDecodeError):
        loads(text.encode())


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(json.JSONDecodeError):
        loads(b'["\xff", %d]' % WEI)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(json.JSONDecodeError):
        loads(b"[" * 100_000 + b"%d" % WEI)


def test_options_hold_beside_a_big_integer() -> None:
    value = {"b": WEI, "a": {1}}
    written = dumps(value, list, orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    assert written == b'{"a":[1],"b":%d}\n' % WEI


@pytest.mark.parametrize("value", [{"a": {1}}, {"a": {1}, "b": WEI}, {"a": float("nan"), "b": WEI}])
def test_a_value_without_a_json_form_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        dumps(value)


@pytest.mark.parametrize("offset", range(20))
def test_a_big_integer_is_found_wherever_it_stands(offset: int) -> None:
    for number in (2**64, 10**18 + 1, 10**19 + 7, 2**200):
        assert loads(b" " * offset + b"[%d]" % number) == [number]
        assert loads(" " * offset + f'{{"a":{number}}}') == {"a": number}
