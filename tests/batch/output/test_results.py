"""The output line is OpenAI's batch output format with our facts and the row's columns added."""

from __future__ import annotations

import io
from datetime import date
from typing import Any
from zlib import crc32

import orjson
import pytest

from callgate.batch.output.completed_keys import read_completed_keys
from callgate.batch.output.results import FIELDS, RowResult, encode_result
from callgate.call.calling import Calling
from callgate.errors import APITimeoutError, InvalidRequestError
from callgate.exact_json import loads
from callgate.response import Cost, Response, Usage
from tests.batch.conftest import answered, failed, make_row


def test_an_answered_row() -> None:
    calling = answered("Paris", attempts=2, cost=Cost(0.25, 0.5))
    assert calling.answer is not None
    calling.answer.finish_reason, calling.answer.model = "length", "m-1"
    encoded = encode_result(RowResult(make_row(4, custom_id="c"), calling))
    line = orjson.loads(encoded)
    assert int(line.pop("check"), 16) == crc32(encoded[: encoded.index(b',"check"')])
    assert line.pop("id") == calling.request_id
    assert line.pop("finished_at") > 0
    assert line == {
        "custom_id": "c",
        "response": {"status_code": 200, "request_id": "chatcmpl-1", "body": {"t": "Paris"}},
        "error": None,
        "text": "Paris",
        "finish_reason": "length",
        "model": "m-1",
        "usage": calling.usage.to_dict() if calling.usage else None,
        "cost_usd": 0.75,
        "latency_s": 0.5,
        "attempts": 2,
        "cached": False,
        "line": 5,
        "key": f"{make_row(4).key:016x}",
    }


def test_unknown_price_and_usage_are_null_and_never_zero() -> None:
    calling = Calling({}, now=1.0)
    calling.complete(Response(text="x"), 3.0)
    line = orjson.loads(encode_result(RowResult(make_row(0), calling)))
    assert line["cost_usd"] is None
    assert line["usage"] is None
    assert line["latency_s"] == 2.0


def test_an_answer_held_to_a_schema_brings_the_object_along() -> None:
    calling = answered('Here it is: {"sum": 4}')
    assert calling.answer is not None
    calling.answer.parsed = {"sum": 4}
    line = encode_result(RowResult(make_row(0), calling))
    assert orjson.loads(line)["parsed"] == {"sum": 4}
    assert read_completed_keys(io.BytesIO(line), "out.jsonl")[0].take(make_row(0).key)


def test_a_failed_row_tells_the_provider_s_answer_and_what_it_means() -> None:
    error = InvalidRequestError(
        "no such parameter",
        status_code=400,
        code="bad_param",
        response_content={"error": {}},
        request_id="req_1",
    )
    line = orjson.loads(encode_result(RowResult(make_row(0), failed(error))))
    assert line["response"] == {"status_code": 400, "request_id": "req_1", "body": {"error": {}}}
    assert line["error"] == {
        "code": "bad_param",
        "message": "400: no such parameter (request req_1)",
        "type": "InvalidRequestError",
        "retryable": False,
        "refused": False,
    }
    assert "text" not in line


def test_a_failure_without_an_answer_has_no_response() -> None:
    line = orjson.loads(encode_result(RowResult(make_row(0), failed(APITimeoutError("too slow")))))
    assert line["response"] is None
    assert line["error"]["code"] == "APITimeoutError"
    assert line["error"]["retryable"] is True


def test_a_failed_row_does_not_end_in_its_key_because_finished_rows_do() -> None:
    line = encode_result(RowResult(make_row(0), failed(ValueError("x"))))
    assert b',"key":"' in line
    assert not line.endswith(b'"}\n')


def test_columns_travel_along_and_step_aside_for_fields_of_ours() -> None:
    columns = {"topic": "geo", "text": "Hund", "id": 7, "input_id": 8, "when": date(2026, 1, 2)}
    line = orjson.loads(encode_result(RowResult(make_row(0, columns=columns), answered("dog"))))
    assert line["text"] == "dog"
    assert line["input_text"] == "Hund"
    assert (line["topic"], line["when"]) == ("geo", "2026-01-02")
    assert (line["input_id"], line["input_input_id"]) == (8, 7)


@pytest.mark.parametrize("field", FIELDS)
def test_no_column_can_replace_a_field_of_ours(field: str) -> None:
    plain = orjson.loads(encode_result(RowResult(make_row(0), answered())))
    line = orjson.loads(encode_result(RowResult(make_row(0, columns={field: "mine"}), answered())))
    assert line[f"input_{field}"] == "mine"
    if field not in ("id", "finished_at", "charged_usd", "parsed", "fingerprint", "check"):
        assert line[field] == plain[field]


def test_result_tells_what_came_of_it() -> None:
    good, bad = RowResult(make_row(0), answered("yes")), RowResult(make_row(1), failed(ValueError("no")))
    assert (good.ok, good.text, good.error) == (True, "yes", None)
    assert (bad.ok, bad.text, str(bad.error)) == (False, None, "no")
    assert repr(good).endswith(" ok>")
    assert repr(bad).endswith(" ValueError>")


def test_the_price_is_looked_up_once() -> None:
    asked: list[Response] = []
    calling = Calling({}, now=10.0)
    calling.pricer = lambda response, payload: asked.append(response)
    response = Response(text="ok", usage=Usage(3, 4))
    calling.begin_attempt("model", 10.5).succeed(response, 11.0)
    calling.complete(response, 11.0)
    result = RowResult(make_row(0), calling)
    assert result.cost is None
    assert result.cost is None
    assert len(asked) == 1


def test_what_travels_along_never_costs_an_answer_its_line() -> None:
    row = make_row(0, columns={"number": 2**70, 7: "lucky", "more": {"x": [1]}})
    line = encode_result(RowResult(row, answered()))
    assert read_completed_keys(io.BytesIO(line), "out")[0].take(row.key)
    found = loads(line)
    assert (found["number"], found["7"], found["more"]) == (2**70, "lucky", {"x": [1]})


class NamedOddly:
    def __str__(self) -> str:
        return "odd"


def test_a_column_that_json_does_not_have_is_written_as_text() -> None:
    inner: list[Any] = []
    inner.append(inner)
    row = make_row(0, columns={7: "lucky", NamedOddly(): 1, "loop": inner, "plain": [1.5, None]})
    found = loads(encode_result(RowResult(row, answered())))
    assert (found["7"], found["odd"], found["loop"], found["plain"]) == ("lucky", 1, "[[...]]", [1.5, None])


def withheld(text: str = " ") -> RowResult:
    calling = Calling({})
    filtered = Response(
        text=text, raw={"t": text}, usage=Usage(3, 0), finish_reason="content_filter", id="x1"
    )
    calling.begin_attempt("model", 0.5).succeed(filtered, 1.0)
    calling.complete(filtered, 1.0)
    return RowResult(make_row(0), calling)


def test_an_answer_that_was_withheld_is_a_refusal() -> None:
    result = withheld()
    assert (result.ok, result.refused, result.text, result.answer) == (False, True, None, None)
    assert "ContentFilterError" in repr(result)
    line = orjson.loads(encode_result(result))
    assert line["error"] == {
        "code": "content_filter",
        "message": "200: the provider withheld its answer (content filter) (request x1)",
        "type": "ContentFilterError",
        "retryable": False,
        "refused": True,
    }
    assert line["response"] == {"status_code": 200, "request_id": "x1", "body": {"t": " "}}
    assert line["usage"]["input_tokens"] == 3
    assert "text" not in line


def test_what_is_left_of_an_answer_that_was_cut_is_one() -> None:
    result = withheld("The moon is")
    assert (result.ok, result.refused, result.text) == (True, False, "The moon is")
