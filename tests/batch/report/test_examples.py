"""The rows that a report shows."""

from __future__ import annotations

from typing import Any

from callgate.batch.report.examples import ExamplePicker


def row(line: int, **more: Any) -> dict[str, Any]:
    return {"line": line, "custom_id": None, "text": f"answer {line}", "key": "0", **more}


def test_the_slowest_and_the_longest_rows_are_kept_in_order() -> None:
    picker = ExamplePicker()
    for line in range(200):
        picker.see(row(line), output_tokens=(line * 7) % 200, latency=float((line * 13) % 200))
    assert [each.latency for each in picker.slowest] == [199.0, 198.0, 197.0, 196.0, 195.0]
    assert [each.output_tokens for each in picker.longest] == [199, 198, 197, 196, 195]


def test_samples_come_from_the_whole_output_and_are_the_same_each_time() -> None:
    picked = []
    for _ in range(2):
        picker = ExamplePicker()
        for line in range(10_000):
            picker.see(row(line), output_tokens=0, latency=0.0)
        picked.append([each.line for each in picker.samples])
    assert picked[0] == picked[1] == sorted(picked[0])
    assert max(picked[0]) > 1000
    assert picker.slowest == picker.longest == []


def test_an_example_is_shortened_and_has_its_columns() -> None:
    picker = ExamplePicker()
    more = {
        "text": "",
        "parsed": {"mood": "good"},
        "custom_id": "r7",
        "input_id": "r7",
        "review": "x" * 500,
        "b": 2,
        "c": None,
    }
    picker.see(row(7, **more), output_tokens=1, latency=1.0)
    [example] = picker.samples
    assert example.name == "r7"
    assert example.answer == '{"mood":"good"}'
    assert {name: len(value) for name, value in example.columns.items()} == {"review": 121, "b": 1, "c": 0}
