"""What finished rows would be asked differently is stated part by part."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from callgate.batch.changes import Changes, Comparison, compare_rows, find_changes
from callgate.batch.input.fingerprint import Defaults, Fingerprints
from callgate.batch.input.record_source import RecordSource
from callgate.batch.output.completed_keys import CompletedKeys, read_completed_keys
from callgate.batch.output.results import RowResult, encode_result
from callgate.batch.output.row_order import RowOrder
from tests.batch.conftest import answered


def rows(count: int, **more: Any) -> list[Any]:
    return [{"custom_id": f"a{number}", "prompt": f"p{number}", **more} for number in range(count)]


def prints(*models: str, **fields: Any) -> Fingerprints:
    return Fingerprints([Defaults({"model": model, **fields}, wins=len(models) > 1) for model in models])


def answer(folder: Path, records: list[Any], *, of: Fingerprints | None) -> str:
    """A journal with an answer to each row."""
    path = folder / "out.jsonl"
    with path.open("ab") as file:
        for block in RecordSource(records).blocks():
            for row in block:
                result = RowResult(row, answered())
                result.fingerprint = None if of is None else of.of(row)
                file.write(encode_result(result))
    return str(path)


def compare(journal: str, records: list[Any], now: Fingerprints, **options: Any) -> Comparison:
    with open(journal, "rb") as stream:
        completed = read_completed_keys(stream, journal)[0]
    return asyncio.run(compare_rows(RecordSource(records), completed, now, **options))


def changes(journal: str, records: list[Any], now: Fingerprints) -> Changes:
    return asyncio.run(find_changes(RecordSource(records), journal, now))


def test_rows_that_are_asked_as_before_are_finished(tmp_path: Path) -> None:
    journal = answer(tmp_path, rows(3), of=prints("m"))
    assert compare(journal, rows(4, tag="x"), prints("m")) == Comparison(finished=3, left=1, unused=0)
    assert compare(journal, rows(3), prints("n", "m")) == Comparison(finished=3)
    assert compare(journal, rows(3), prints("n")) == Comparison(left=3, unused=3)


def test_answers_without_a_fingerprint_are_accepted(tmp_path: Path) -> None:
    journal = answer(tmp_path, rows(2), of=None)
    answer(tmp_path, rows(3)[2:], of=prints("m"))
    assert compare(journal, rows(3), prints("m", temperature=0)) == Comparison(finished=2, left=1, unused=1)
    assert changes(journal, rows(3), prints("m", temperature=0)).rows == 1


def test_an_equal_row_more_is_new_and_not_changed(tmp_path: Path) -> None:
    same = [{"prompt": "same"}] * 2
    journal = answer(tmp_path, same, of=prints("m"))
    found = compare(journal, same * 2, prints("m"))
    assert (found.finished, found.left) == (2, 2)
    assert changes(journal, same * 2, prints("m")).rows == 0


def test_bad_rows_are_counted_and_all_rows_are_noted_in_order(tmp_path: Path) -> None:
    journal = answer(tmp_path, rows(2), of=prints("m"))
    order = RowOrder()
    found = compare(journal, [*rows(2), {"no": "prompt"}], prints("m"), order=order)
    assert (found.finished, found.bad, sorted(order.lines)) == (2, 1, [1, 2, 3])
    assert compare(journal, [{"no": "prompt"}], prints("m")).bad == 1


def test_a_comparison_can_be_stopped(tmp_path: Path) -> None:
    journal = answer(tmp_path, rows(600), of=prints("m"))
    assert compare(journal, rows(600), prints("m"), stopped=lambda: True).finished == 256


def test_values_are_stated_with_their_rows_where_not_all_have_them(tmp_path: Path) -> None:
    journal = answer(tmp_path, rows(4), of=prints("m"))
    now = rows(4)
    now[1]["temperature"] = 0.5
    found = changes(journal, now, prints("n", max_tokens=5))
    assert found.rows == len(found.starts) == 4
    assert sorted(found.differences) == [
        "max_tokens not set -> 5", "model m -> n", "temperature not set -> 0.5 (1 row)",
    ]  # fmt: skip


def test_of_long_values_some_rows_are_named(tmp_path: Path) -> None:
    journal = answer(tmp_path, [*rows(5), {"prompt": "q"}], of=prints("m"))
    now = rows(5, system="Be short.")
    assert changes(journal, now, prints("m")).differences == [
        "the messages of 5 rows: row 'a0', row 'a1', row 'a2', ..."
    ]
    schema = Fingerprints([Defaults({"model": "m"})], {"type": "json_schema"})
    assert changes(journal, [{"prompt": "q"}], schema).differences == ["the schema of 1 row: line 1"]


def test_of_many_values_the_rest_is_one_group(tmp_path: Path) -> None:
    journal = answer(tmp_path, rows(9), of=prints("m"))
    now = [{**row, "seed": number} for number, row in enumerate(rows(9))]
    texts = changes(journal, now, prints("m")).differences
    assert texts[0] == "seed not set -> 0 (1 row)"
    assert texts[-1].startswith("the seed of 5 rows: row 'a0'")
    assert len(texts) == 5


def test_the_nearest_of_several_models_is_compared(tmp_path: Path) -> None:
    journal = answer(tmp_path, rows(1), of=prints("n"))
    now = prints("m", "n", temperature=0)
    assert changes(journal, rows(1), now).differences == ["temperature not set -> 0"]


def test_rows_whose_key_changed_are_found_by_their_request(tmp_path: Path) -> None:
    then = [{"prompt": "p"}, {"prompt": "q"}, {"prompt": "r"}]
    journal = answer(tmp_path, then, of=prints("m"))
    answer(tmp_path, [{"prompt": "s"}], of=None)
    now = [{"prompt": "r", "tag": 1}, {"prompt": "p"}, {"id": "i", "prompt": "q"}, {"prompt": "s", "tag": 1}]
    found = changes(journal, now, prints("n", "m"))
    assert (found.rows, len(found.renamed)) == (0, 2)
    keys = [row.key for block in RecordSource(then).blocks() for row in block]
    former = found.renamed.reader()
    new = [former(row.key) for block in RecordSource(now).blocks() for row in block]
    assert new[:3] == [keys[2], keys[0], keys[1]]
    assert len(changes(journal, now, prints("n")).renamed) == 0


def test_completed_keys_are_taken_by_mark_and_by_key_apart() -> None:
    completed = CompletedKeys([5])
    assert not completed.marked
    assert completed.take(5)
    completed.reset()
    assert completed.take(5)
