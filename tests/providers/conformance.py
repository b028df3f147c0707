"""What every dialect must do, as tests: subclass `DialectConformance` and say which dialect, which cases.

    class TestGemini(DialectConformance):
        dialect = Gemini()
        recorded = "gemini"

The cases stand under `recorded/` (see `recorded_cases`). What is asked of every dialect beside reading them
exactly: the same answer however the bytes of a stream are split; a stream that is cut off is never taken for
a whole one; and whatever bytes come, nothing but our own errors goes out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, strategies as st

from callgate import errors
from callgate.errors import APIClientError, ResponseError
from callgate.providers.dialect import Dialect
from callgate.response import Delta, Response
from tests.effort import SOAK, examples
from tests.providers.recorded_cases import Case, read_cases

__all__ = [
    "KINDS",
    "DialectConformance",
    "assert_error",
    "assert_response",
    "collect",
    "json_values",
    "read_stream",
]

KINDS = ("answer", "stream", "failing_stream", "error")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(body: bytes) -> list[int]:
    """Where to divide a stream: beside each line break and byte beyond ASCII, and 150 places besides.

    In a soak: everywhere.
    """
    if SOAK:
        return list(range(len(body) + 1))
    edges = {at + after for at, byte in enumerate(body) if byte > 127 or byte in b"\r\n" for after in (0, 1)}
    return sorted(edges | set(range(0, len(body), len(body) // 150 + 1)) | {len(body)})


def read_stream(
    dialect: Dialect, pieces: Iterable[bytes], headers: dict[str, str]
) -> tuple[list[Delta], Response]:
    """Feed the pieces one after the other; the deltas and the whole answer."""
    decoder = dialect.stream_decoder(headers)
    deltas = [delta for piece in pieces for delta in decoder.feed(piece)]
    return deltas, decoder.finish()


def collect(deltas: list[Delta]) -> tuple[str, str, dict[int, list[str]]]:
    """What a reader of the deltas has in the end: text, reasoning, and by index id, name and arguments."""
    calls: dict[int, list[str]] = {}
    for delta in deltas:
        if delta.tool_call is not None:
            held = calls.setdefault(delta.tool_call.index, ["", "", ""])
            held[0] += delta.tool_call.id
            held[1] += delta.tool_call.name
            held[2] += delta.tool_call.arguments
    return "".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas), calls


def assert_response(response: Response, expected: dict[str, Any]) -> None:
    """Compare all that a case says of an answer; what it leaves out must be empty."""
    usage = None if response.usage is None else list(response.usage.to_dict().values())
    calls = [[call.id, call.name, call.arguments, call.raw_arguments] for call in response.tool_calls]
    read = {
        "text": response.text,
        "reasoning": response.reasoning,
        "tool_calls": calls,
        "finish_reason": response.finish_reason,
        "raw_finish_reason": response.raw_finish_reason,
        "usage": usage,
        "model": response.model,
        "id": response.id,
    }
    assert read == {"reasoning": None, "tool_calls": [], **expected}


def assert_error(error: APIClientError, expected: dict[str, Any]) -> None:
    """Compare all that a case says of an error."""
    assert type(error) is getattr(errors, expected["class"]), error
    for name in ("status_code", "code", "retryable", "retry_after", "request_id"):
        if name in expected:
            assert getattr(error, name) == expected[name], name
    assert expected.get("message_has", "") in error.message
    assert error.message


class DialectConformance:
    """The tests; see the module."""

    dialect: Dialect
    recorded: str
    reads_events: ClassVar[bool] = True
    """False when its streams are no server-sent events."""

    # -- what was recorded is read exactly -------------------------------------------------------------------

    def test_answers_are_read_exactly(self, answer_case: Case) -> None:
        def read() -> Response:
            return self.dialect.decode(answer_case.body, answer_case.headers, answer_case.status)

        response = _expect(answer_case, read)
        if response is not None:
            assert response.headers == answer_case.headers
            assert response.status_code == answer_case.status
            assert response.data == response.text

    def test_streams_are_read_exactly(self, stream_case: Case) -> None:
        deltas, response = read_stream(self.dialect, [stream_case.body], stream_case.headers)
        assert stream_case.expect is not None
        assert_response(response, stream_case.expect)
        if not _came_in_one_piece(stream_case):
            text, reasoning, calls = collect(deltas)
            assert (text, reasoning) == (response.text, response.reasoning or "")
            assert [(call[0], call[1]) for _, call in sorted(calls.items())] == [
                (call.id, call.name) for call in response.tool_calls
            ]

    def test_errors_are_read_exactly(self, error_case: Case) -> None:
        error = self.dialect.error(error_case.status, error_case.body, error_case.headers)
        assert error_case.expect_error is not None
        assert_error(error, error_case.expect_error)
        assert error.headers == error_case.headers

    def test_the_raw_of_a_stream_reads_as_the_answer_itself(self, stream_case: Case) -> None:
        _, streamed = read_stream(self.dialect, [stream_case.body], stream_case.headers)
        again = self.dialect.decode(json.dumps(streamed.raw).encode(), stream_case.headers)
        assert_response(again, stream_case.expect)

    # -- whatever form it comes in ---------------------------------------------------------------------------

    def test_events_in_answer_to_a_plain_call_are_read(self, stream_case: Case) -> None:
        if not _is_events(stream_case.body):
            return
        for headers in (stream_case.headers, {}, {"content-type": "application/json"}):
            response = self.dialect.decode(stream_case.body, headers)
            assert_response(response, stream_case.expect)

    def test_a_whole_answer_to_a_request_for_a_stream_is_read(self, answer_case: Case) -> None:
        if not self.reads_events or answer_case.expect is None:
            return
        for end in (b"", b"\n\ndata: [DONE]\n\n"):
            for body in ([answer_case.body + end], [answer_case.body[:9], answer_case.body[9:], end]):
                _, response = read_stream(self.dialect, body, {"content-type": "text/event-stream"})
                assert_response(response, answer_case.expect)
        decoded = self.dialect.decode(answer_case.body + b"\n\ndata: [DONE]\n\n", {})
        assert_response(decoded, answer_case.expect)

    def test_a_bare_error_in_the_place_of_a_stream_is_that_error(self, error_case: Case) -> None:
        content = _json_or_none(error_case.body)
        if not self.reads_events or type(content) is not dict or not content.get("error"):
            return
        whole = self._raises([error_case.body])
        indented = json.dumps(content, indent=2).encode()
        assert type(self._raises([indented])) is type(whole)
        assert self._raises([indented]).message == whole.message
        for case in read_cases(self.recorded, "stream"):
            end = case.body.find(b"\n\n") + 2
            if not _is_events(case.body) or end < 2 or end > len(case.body) - 20:
                continue
            for bare in (error_case.body, indented):
                error = self._raises([case.body[:end] + bare])
                assert type(error) is type(whole)
                assert error.message == whole.message

    def test_deltas_before_an_error_come_however_the_bytes_are_cut(self, failing_stream_case: Case) -> None:
        body = failing_stream_case.body
        whole = self._deltas_before_the_error([body])
        single = self._deltas_before_the_error([body[at : at + 1] for at in range(len(body))])
        assert collect(whole) == collect(single)

    def _deltas_before_the_error(self, pieces: Iterable[bytes]) -> list[Delta]:
        decoder = self.dialect.stream_decoder({})
        deltas: list[Delta] = []
        try:
            for piece in pieces:
                for delta in decoder.feed(piece):
                    deltas.append(delta)  # those before the error are wanted
        except APIClientError:
            pass
        return deltas

    def _raises(self, pieces: list[bytes]) -> APIClientError:
        with pytest.raises(APIClientError) as caught:
            read_stream(self.dialect, pieces, {})
        return caught.value

    # -- however the bytes come ------------------------------------------------------------------------------

    def test_every_split_of_a_stream_reads_the_same(self, stream_case: Case) -> None:
        body = stream_case.body
        whole, response = read_stream(self.dialect, [body], stream_case.headers)
        for at in places(body):
            deltas, again = read_stream(self.dialect, [body[:at], body[at:]], stream_case.headers)
            assert collect(deltas) == collect(whole)
            assert again == response
        single = [body[at : at + 1] for at in range(len(body))]
        deltas, again = read_stream(self.dialect, single, stream_case.headers)
        assert collect(deltas) == collect(whole)
        assert again == response

    def test_any_pieces_of_a_stream_read_the_same(self) -> None:
        cases = read_cases(self.recorded, "stream")

        @examples(40, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(cases), st.lists(st.integers(0, 2000), max_size=12))
        def check(case: Case, cuts: list[int]) -> None:
            edges = [0, *sorted(cuts), len(case.body)]
            pieces = [case.body[start:end] for start, end in pairwise(edges)]
            deltas, response = read_stream(self.dialect, pieces, case.headers)
            whole, again = read_stream(self.dialect, [case.body], case.headers)
            assert collect(deltas) == collect(whole)
            assert response == again

        check()

    def test_every_split_of_a_failing_stream_fails_the_same(self, failing_stream_case: Case) -> None:
        body = failing_stream_case.body
        assert failing_stream_case.expect_error is not None
        for at in places(body):
            with pytest.raises(APIClientError) as caught:
                read_stream(self.dialect, [body[:at], body[at:]], failing_stream_case.headers)
            assert_error(caught.value, failing_stream_case.expect_error)

    def test_a_stream_cut_off_is_never_a_whole_answer(self, stream_case: Case) -> None:
        _, whole = read_stream(self.dialect, [stream_case.body], stream_case.headers)
        for at in places(stream_case.body)[:-1]:
            try:
                _, response = read_stream(self.dialect, [stream_case.body[:at]], stream_case.headers)
            except ResponseError:
                continue
            # Taken for whole, so nothing of the answer may be missing but what was only counted.
            assert (response.text, response.reasoning) == (whole.text, whole.reasoning)
            assert response.tool_calls == whole.tool_calls
            assert response.finish_reason == whole.finish_reason

    # -- whatever comes --------------------------------------------------------------------------------------

    def test_any_bytes_end_in_our_errors(self) -> None:
        @examples(40, suppress_health_check=list(HealthCheck))
        @given(st.binary(max_size=300), st.integers(100, 599))
        def check(body: bytes, status: int) -> None:
            self._survives(body, status)
            self._survives(b"data: " + body + b"\n\n", status)

        check()

    def test_any_json_ends_in_our_errors(self) -> None:
        @examples(40, suppress_health_check=list(HealthCheck))
        @given(json_values, st.integers(400, 599))
        def check(value: Any, status: int) -> None:
            body = json.dumps(value).encode()
            self._survives(body, status)
            self._survives(b"event: error\ndata: " + body + b"\n\n", status)

        check()

    def test_any_damage_to_a_recorded_answer_ends_in_our_errors(self) -> None:
        cases = [case for kind in KINDS for case in read_cases(self.recorded, kind)]

        @examples(100, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(cases), st.data())
        def check(case: Case, data: st.DataObject) -> None:
            damaged = (
                _damage_lines(case.body, data) if case.kind.endswith("stream") else _damage(case.body, data)
            )
            self._survives(damaged, case.status)

        check()

    def test_a_value_of_any_type_where_text_is_expected_ends_in_our_errors(self) -> None:
        for kind in KINDS:
            for case in read_cases(self.recorded, kind):
                for damaged in _with_odd_words(case):
                    self._survives(damaged, case.status)

    def test_json_nested_too_deep_ends_in_our_errors(self) -> None:
        for depth in (250, 1_000, 100_000):
            self._survives(b'{"a":' * depth + b"1" + b"}" * depth, 500)
            self._survives(b"data: " + b"[" * depth + b"]" * depth + b"\n\n", 500)

    def _survives(self, body: bytes, status: int) -> None:
        """Nothing but an APIClientError comes out, and an answer that comes out can be written down."""
        error = self.dialect.error(status, body, {})
        assert isinstance(error, APIClientError)
        str(error)
        for read in (
            lambda: self.dialect.decode(body, {}),
            lambda: read_stream(self.dialect, [body[: len(body) // 2], body[len(body) // 2 :]], {})[1],
        ):
            try:
                response = read()
            except APIClientError as told:
                str(told)
            else:
                _is_sound(response)


def _is_sound(response: Response) -> None:
    json.dumps(response.raw, allow_nan=False)
    assert type(response.text) is str
    assert response.reasoning is None or type(response.reasoning) is str
    assert response.finish_reason in (None, "stop", "length", "tool_call", "content_filter", "error")
    assert response.model is None or type(response.model) is str
    assert response.id is None or type(response.id) is str
    for call in response.tool_calls:
        assert type(call.id) is str
        assert type(call.name) is str
        assert type(call.arguments) is dict
    if response.usage is not None:
        for count in response.usage.to_dict().values():
            assert type(count) is int
            assert 0 <= count <= 10**13


def _expect(case: Case, read: Callable[[], Response]) -> Response | None:
    """Read, and compare with what the case expects; the response when there should be one."""
    if case.expect_error is not None:
        with pytest.raises(APIClientError) as caught:
            read()
        assert_error(caught.value, case.expect_error)
        return None
    response = read()
    assert case.expect is not None
    assert_response(response, case.expect)
    return response


def _is_events(body: bytes) -> bool:
    return body.lstrip().startswith((b"data:", b"event:", b":"))


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


# The words that a decoder compares and looks up: an object there is unhashable.
_WORD = re.compile(
    rb'"(type|role|name|object|status|reason|code|finish_reason|stop_reason|stopReason|finishReason|index)"'
    rb'(\s*:\s*)("[^"\\]*"|\d+)'
)


def _with_odd_words(case: Case) -> Iterator[bytes]:
    for odd in (b'{"a": 1}', b"[1]", b"null"):
        yield _WORD.sub(rb'"\1"\2' + odd, case.body)
        for found in _WORD.finditer(case.body):
            yield case.body[: found.start(3)] + odd + case.body[found.end(3) :]


def _came_in_one_piece(case: Case) -> bool:
    return case.headers.get("content-type", "").startswith("application/json")


def _damage(body: bytes, data: st.DataObject) -> bytes:
    """Replace one value somewhere in a JSON body by any other."""
    try:
        value = json.loads(body)
    except ValueError:
        return body[: data.draw(st.integers(0, len(body)))]
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        keys = item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        places.extend((item, key) for key in keys)
        waiting.extend(item[key] for key in keys)
    if places:
        holder, key = data.draw(st.sampled_from(places))
        holder[key] = data.draw(json_values)
    return json.dumps(value).encode()


def _damage_lines(body: bytes, data: st.DataObject) -> bytes:
    """Damage the data of one line of a stream, or leave the line out, or say it twice."""
    lines = body.split(b"\n")
    at = data.draw(st.sampled_from([at for at, line in enumerate(lines) if line.strip()]))
    name, colon, value = lines[at].partition(b":")
    match data.draw(st.sampled_from(["damage", "leave out", "twice", "cut"])):
        case "damage":
            lines[at] = name + colon + _damage(value.strip(), data)
        case "leave out":
            del lines[at]
        case "twice":
            lines.insert(at, lines[at])
        case _:
            lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
    return b"\n".join(lines)
