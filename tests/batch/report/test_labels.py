"""The distribution of labels."""

from __future__ import annotations

from callgate.batch.report.labels import Labels


def test_prose_measurements_and_nested_lists_are_no_labels() -> None:
    labels = Labels()
    for number in range(40):
        parsed = {
            "why": "because " * 20,
            "score": number,
            "who": [{"name": "x"}],
            "sure": number > 9,
            "none": None,
        }
        labels.add(parsed, None)
    assert labels.to_dict() == {"sure": {"true": 30, "false": 10}, "none": {"null": 40}}


def test_a_value_counts_once_for_each_answer_that_has_it() -> None:
    labels = Labels()
    labels.add({"tags": ["a", "a", "b"]}, None)
    labels.add(["a"], None)
    assert labels.to_dict() == {"tags": {"a": 1, "b": 1}, "parsed": {"a": 1}}
    assert labels.answers["tags"] == 1


def test_answers_without_data_count_as_their_text() -> None:
    labels = Labels()
    for text in ("yes", "no", " yes ", None):
        labels.add(None, text)
    assert labels.to_dict() == {"text": {"yes": 2, "no": 1}}


def test_answers_of_many_fields_do_not_fill_the_memory() -> None:
    labels = Labels()
    for number in range(1000):
        labels.add({f"field {number}": "x"}, None)
    assert len(labels.counts) == 50


def test_fields_within_fields_have_names_of_their_own_and_bare_values_are_labels() -> None:
    labels = Labels()
    labels.add({"tone": {"kind": "polite"}}, None)
    labels.add(True, None)
    assert labels.to_dict() == {"tone.kind": {"polite": 1}, "parsed": {"true": 1}}
