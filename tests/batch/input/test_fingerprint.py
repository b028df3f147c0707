"""A fingerprint holds what the provider is asked, and nothing of how the request gets there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.input.fingerprint import Defaults, Fingerprints, mark_of
from callgate.batch.input.requests import RequestBuilder

PLAIN = Fingerprints([Defaults({"model": "m"})])


def print_of(record: Any, prints: Fingerprints = PLAIN, **options: Any) -> Any:
    return orjson.loads(prints.of(RequestBuilder(**options).build(record, 0, 1)))


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ({"prompt": "a"}, {"prompt": "a", "tag": 1}),
        ({"prompt": "a"}, {"messages": [{"role": "user", "content": "a"}]}),
        ({"prompt": "a", "temperature": 0}, {"prompt": "a", "temperature": 0.0}),
        ({"prompt": "a"}, {"prompt": "a", "model": "m"}),
        ({"custom_id": "x", "prompt": "a"}, {"custom_id": "y", "prompt": "a"}),
        ({"custom_id": "x", "body": {"messages": [{"role": "user", "content": "a"}], "stream": True}},
         {"prompt": "a"}),
        ({"body": {"messages": [{"role": "user", "content": "a"}], "extra_headers": {"x-trace": "1"}}},
         {"prompt": "a"}),
    ],
)  # fmt: skip
def test_the_same_request_has_the_same_fingerprint(then: Any, now: Any) -> None:
    assert print_of(then) == print_of(now)


@pytest.mark.parametrize(
    ("now", "part"),
    [
        ({"prompt": "b"}, "messages"),
        ({"prompt": "a", "system": "s"}, "messages"),
        ({"prompt": "a", "model": "n"}, "model"),
        ({"prompt": "a", "max_tokens": 5}, "max_tokens"),
        ({"prompt": "a", "stop": "x" * 41}, "stop"),
        ({"prompt": "a", "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"custom_id": "a", "url": "/v1/responses", "body": {"messages": [{"role": "user", "content": "a"}]}},
         "endpoint"),
    ],
)  # fmt: skip
def test_another_request_differs_in_the_part_that_changed(now: Any, part: str) -> None:
    then, found = print_of({"prompt": "a"}), print_of(now)
    assert [name for name in then.keys() | found.keys() if then.get(name) != found.get(name)] == [part]


def test_a_schema_counts_unless_the_row_has_a_format_of_its_own() -> None:
    prints = Fingerprints([Defaults({"model": "m"})], {"type": "json_schema"})
    other = Fingerprints([Defaults({"model": "m"})], {"type": "json_object"})
    assert print_of({"prompt": "a"}, prints) != print_of({"prompt": "a"}, other)
    own = {"prompt": "a", "response_format": {"type": "text"}}
    assert print_of(own, prints) == print_of(own, other)


def test_each_of_several_models_may_have_answered() -> None:
    prints = Fingerprints([Defaults({"model": name}, wins=True) for name in ("m", "n", "m")])
    row = RequestBuilder().build({"prompt": "a", "model": "ignored"}, 0, 1)
    m, n = prints.all_of(row)
    assert (prints.of(row, "m"), prints.of(row, "n"), prints.of(row, "unknown")) == (m, n, m)
    assert (prints.mark(row), prints.other_marks(row)) == (mark_of(m), [mark_of(n)])
    assert orjson.loads(n)["model"] == "n"


def test_a_request_without_model_parameters_and_messages() -> None:
    prints = Fingerprints([Defaults({})])
    assert set(print_of({"prompt": "a"}, prints)) == {"messages", "model"}
    assert print_of({"input": "a"}, prints, endpoint="embeddings") == {"endpoint": "embeddings", "input": "a"}


def test_values_that_json_does_not_know_have_fingerprints_too() -> None:
    for messages in ([{"role": "user", "content": "a", "n": 2**70}], [{"role": "user", 1: "a"}]):
        assert len(print_of({"messages": messages})["messages"]) == 16


def test_an_image_is_known_by_its_name_and_size_wherever_its_folder_is(tmp_path: Path) -> None:
    record = {"prompt": "What is this?", "image": "cat.gif"}
    found = []
    for folder, content in (("a", b"GIF89a"), ("b", b"GIF89a"), ("c", b"GIF89a, larger")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cat.gif").write_bytes(content)
        found.append(print_of(record, folder=str(tmp_path / folder)))
    assert found[0] == found[1] != found[2]
