"""CompletedKeys rows are a multiset read from the output; a foreign file is left alone."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given, strategies as st

from callgate.batch.input.fingerprint import mark_of
from callgate.batch.input.rows import content_key, custom_id_key
from callgate.batch.output.completed_keys import CompletedKeys, read_completed_keys
from callgate.batch.output.results import RowResult, encode_result
from callgate.errors import InputError
from callgate.exact_json import dumps, loads
from tests.batch.conftest import answered, failed, make_row


@given(st.lists(st.integers(0, 6)), st.lists(st.integers(0, 8)), st.integers(1, 4))
def test_each_finished_row_is_given_once(done: list[int], asked: list[int], run: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callgate.batch.output.completed_keys._RUN", run)
        finished = CompletedKeys(done)
    left = Counter(done)
    for key in asked:
        assert finished.take(key) == (left[key] > 0)
        left[key] -= left[key] > 0
    assert len(finished) == len(done)


def test_a_million_equal_rows_are_not_quadratic() -> None:
    finished = CompletedKeys([5] * 300_000)
    assert all(finished.take(5) for _ in range(300_000))
    assert not finished.take(5)


def read(content: bytes) -> tuple[CompletedKeys, int, bool]:
    return read_completed_keys(io.BytesIO(content), "out.jsonl")


LINES = [encode_result(RowResult(make_row(i), answered())) for i in range(3)]
FAILED = encode_result(RowResult(make_row(9), failed(ValueError("x"))))


def test_lines_of_ours_are_finished_and_failed_ones_are_not() -> None:
    finished, good, lacks_end = read(b"".join(LINES) + FAILED)
    assert [finished.take(make_row(i).key) for i in (0, 1, 2, 9)] == [True, True, True, False]
    assert (good, lacks_end) == (len(b"".join(LINES) + FAILED), False)


@pytest.mark.parametrize("cut", range(1, len(LINES[1]) - 1, 7))
def test_a_torn_last_line_is_told_wherever_it_was_torn(cut: int) -> None:
    finished, good, lacks_end = read(LINES[0] + LINES[1][:cut])
    assert (len(finished), good, lacks_end) == (1, len(LINES[0]), False)


def test_a_last_line_that_lacks_only_its_end_counts() -> None:
    finished, good, lacks_end = read(LINES[0] + LINES[1][:-1])
    assert (len(finished), good, lacks_end) == (2, len(LINES[0] + LINES[1]) - 1, True)
    finished, _, lacks_end = read(LINES[0] + FAILED[:-1])
    assert (len(finished), lacks_end) == (1, True)


def test_zeros_that_a_power_cut_left_are_torn() -> None:
    assert read(LINES[0] + b"\0" * 40)[1] == len(LINES[0])


@pytest.mark.parametrize("cut", range(9))
def test_a_start_of_a_line_with_zeros_behind_it_is_torn_however_short(cut: int) -> None:
    good = len(LINES[0])
    assert read(LINES[0] + LINES[1][:cut] + bytes(100))[1:] == (good, False)
    if cut:
        with pytest.raises(InputError, match="is no output of callgate"):
            read(LINES[0] + b"x" + LINES[1][:cut] + bytes(100))


def test_lines_that_somebody_edited_still_count() -> None:
    record = orjson.loads(LINES[0])
    reordered = orjson.dumps(dict(reversed(record.items()))) + b"\n"
    finished, _, _ = read(reordered + b"\n  \n" + LINES[1])
    assert finished.take(make_row(0).key)
    assert finished.take(make_row(1).key)


def test_the_fingerprint_of_a_line_counts_with_its_key_also_when_the_line_was_edited() -> None:
    result = RowResult(make_row(0), answered("a text"))
    result.fingerprint = b'{"messages":"00","seed":1180591620717411303424}'
    line = encode_result(result)
    mark = mark_of(result.fingerprint)
    for written in (line, line.replace(b"a text", b"A TEXT"), dumps(loads(line)) + b"\n"):
        finished, _, _ = read(written)
        assert finished.marked
        assert not finished.take_asked(make_row(0).key, mark + 1)
        assert [finished.take_asked(make_row(0).key, mark) for _ in range(2)] == [True, False]
        assert finished.take(make_row(0).key)


def test_a_key_without_a_fingerprint_fits_every_mark_once() -> None:
    finished, _, _ = read(b"".join(LINES))
    assert not finished.marked
    assert [finished.take_asked(make_row(0).key, 7) for _ in range(2)] == [True, False]


def test_a_provider_s_own_batch_output_counts_by_custom_id() -> None:
    line = {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 200, "body": {}},
        "error": None,
    }
    finished, _, _ = read(orjson.dumps(line) + b"\n")
    assert finished.take(custom_id_key("a"))


def test_lines_come_whole_across_chunks_and_runs_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate.batch.output.completed_keys._CHUNK", 100)
    monkeypatch.setattr("callgate.batch.output.completed_keys._RUN", 2)
    completed, good, _ = read(b"".join(LINES))
    assert (len(completed), good) == (3, len(b"".join(LINES)))
    assert all(completed.take(make_row(i).key) for i in range(3))


def test_intact_lines_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate.batch.output.completed_keys.orjson", None)
    assert len(read(b"".join(LINES))[0]) == 3


def test_a_line_edited_in_place_is_parsed_and_counts() -> None:
    edited = LINES[1].replace(b'"status_code"', b'"status-code"')
    assert edited != LINES[1]
    completed, good, _ = read(LINES[0] + edited + b"\n" + LINES[2] + FAILED)
    assert (len(completed), good) == (3, len(b"".join(LINES)) + 1 + len(FAILED))
    assert completed.altered == [2]
    assert not read(b"".join(LINES) + b"\n")[0].altered


def test_lines_of_the_version_before_checksums_count() -> None:
    old = re.sub(rb',"check":"[0-9a-f]{8}"', b"", LINES[1])
    completed, _, _ = read(LINES[0] + old)
    assert completed.take(make_row(1).key)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "zeros in the middle": lambda line: line[:60] + bytes(40) + line[100:],
    "zeros at the start": lambda line: bytes(40) + line[40:],
    "zeros at the end": lambda line: line[:-41] + bytes(40) + b"\n",
    "zeros all over": lambda line: bytes(len(line) - 1) + b"\n",
    "other text": lambda line: line[:60] + b"x" * 40 + line[100:],
    "no UTF-8": lambda line: line[:60] + b"\xfe" * 40 + line[100:],
    "a piece is missing": lambda line: line[:60] + line[100:],
    "the end is missing": lambda line: line[:100] + b"\n",
    "the start is missing": lambda line: line[100:],
    "two lines that became one": lambda line: line[:100] + line,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_line_is_no_answer_and_is_named(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InputError, match=r"^out\.jsonl:2: damaged lines \(.*: 2, 4; delete them"):
        read(LINES[0] + damage(LINES[1]) + FAILED + damage(LINES[2]))


def test_of_many_damaged_lines_some_are_named() -> None:
    with pytest.raises(InputError, match=r"19, 20, \.\.\.; delete them"):
        read((LINES[0][:50] + b"\n") * 30)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"some notes of mine\n", 1),
        (b"some notes without an end", 1),
        (b'{"prompt": "a"}\n', 1),
        (b"[1, 2]\n", 1),
        (LINES[0] + b"notes\n", 2),
        (LINES[0] + b"notes", 2),
        (LINES[0] + b'{"response": 1, "error": null}\n', 2),
        (LINES[0] + b'{"response": 1, "error": null, "key": "no hex"}\n', 2),
        (LINES[0] + b'{"response": 1, "error": null, "key": 3}', 2),
    ],
)
def test_a_foreign_file_is_refused_with_its_line(content: bytes, line: int) -> None:
    with pytest.raises(InputError, match=rf"^out\.jsonl:{line}: is no output of callgate"):
        read(content)


def test_keys_agree_with_those_of_the_input(result: Callable[..., RowResult]) -> None:
    row = result(3).row
    assert row.key == content_key(row.request)
    assert read(encode_result(result(3)))[0].take(row.key)
