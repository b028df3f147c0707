"""Every kind of record becomes the right request, and every bad one an error that names its line."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.rows import content_key, custom_id_key
from callgate.batch.input.template import Template
from callgate.errors import InputError

USER = {"role": "user", "content": "Hi"}


def build(record: Any, **options: Any) -> Any:
    return RequestBuilder(source="in.jsonl", **options).build(record, 4, 9)


def test_openai_batch_line() -> None:
    row = build(
        {
            "custom_id": "r1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [USER], "temperature": 0, "stream": True, "anything": 1},
            "tag": "kept",
        }
    )
    assert row.request == {"model": "m", "messages": [USER], "temperature": 0, "anything": 1}
    assert (row.index, row.line, row.custom_id, row.key) == (4, 9, "r1", custom_id_key("r1"))
    assert row.columns == {"tag": "kept"}


def test_a_batch_line_without_method_and_url_is_one_too() -> None:
    row = build({"body": {"messages": [USER]}})
    assert row.request == {"messages": [USER]}
    assert row.columns is None
    assert row.custom_id is None


def test_messages_row_tells_parameters_from_columns() -> None:
    row = build({"messages": [USER], "max_tokens": 5, "stream": True, "author": "me", "custom_id": 7})
    assert row.request == {"messages": [USER], "max_tokens": 5}
    assert row.columns == {"author": "me"}
    assert row.custom_id == "7"


def test_prompt_row_carries_its_prompt_along() -> None:
    row = build({"prompt": "Hi", "seed": 3, "topic": "x"})
    assert row.request == {"messages": [USER], "seed": 3}
    assert row.columns == {"prompt": "Hi", "topic": "x"}


def test_system_of_the_row_wins_over_that_of_the_run() -> None:
    own, of_run = {"role": "system", "content": "own"}, {"role": "system", "content": "run"}
    assert build({"prompt": "Hi", "system": "own"}, system="run").request["messages"] == [own, USER]
    assert build({"prompt": "Hi"}, system="run").request["messages"] == [of_run, USER]
    assert build({"messages": [own, USER]}, system="run").request["messages"] == [own, USER]
    assert build({"messages": [USER]}, system="run").request["messages"] == [of_run, USER]
    assert build({"body": {"messages": [USER]}}, system="run").request["messages"] == [of_run, USER]


def test_a_developer_message_counts_as_a_system_prompt() -> None:
    own = {"role": "developer", "content": "own"}
    assert build({"messages": [own, USER]}, system="run").request["messages"] == [own, USER]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Hi", "model": "a", "seed": 1},
        {"messages": [USER], "model": "a", "seed": 1},
        {"body": {"messages": [USER], "model": "a", "seed": 1}},
    ],
)
def test_the_model_and_the_parameters_of_a_row_win_over_those_of_the_run(record: dict[str, Any]) -> None:
    row = build(record, model="b", parameters={"seed": 2, "top_p": 0.5})
    assert row.request == {"messages": [USER], "model": "a", "seed": 1, "top_p": 0.5}
    assert build({"prompt": "Hi"}, model="b").request["model"] == "b"
    assert build({"prompt": "Hi", "model": ""}, model="b").request["model"] == "b"


def test_a_row_without_any_model_is_refused_when_one_is_needed() -> None:
    assert build({"prompt": "Hi", "model": "a"}, needs_model=True).request["model"] == "a"
    assert build({"prompt": "Hi"}, needs_model=True, parameters={"model": "p"}).request["model"] == "p"
    with pytest.raises(InputError, match=r"in.jsonl:9: the row names no model"):
        build({"prompt": "Hi"}, needs_model=True)


def test_with_a_template_every_column_is_data() -> None:
    record = {"text": "Hund", "model": "VW", "temperature": "warm", "custom_id": "c"}
    row = build(record, template=Template("T: {text}"), system="S", parameters={"seed": 1})
    assert row.request == {
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "T: Hund"}],
        "seed": 1,
    }
    assert row.columns == {"text": "Hund", "model": "VW", "temperature": "warm"}
    assert row.custom_id == "c"


def test_identity_is_what_the_row_says_not_what_the_run_adds() -> None:
    plain = build({"prompt": "Hi", "note": "first"})
    again = {"note": "first", "prompt": "Hi", "an empty cell": ""}
    assert plain.key == build(again, model="m", system="s", parameters={"n": 1}).key
    assert plain.key == content_key({"prompt": "Hi", "note": "first"})
    assert plain.key != build({"prompt": "Hi", "seed": 1}).key
    assert plain.key != build({"prompt": "Hi", "system": "own"}).key
    one, other = Template("A {t}"), Template("B {t}")
    assert build({"t": 1}, template=one).key == build({"t": 1}, template=other).key
    assert build({"t": 1}, template=one).key != build({"t": 2}, template=one).key


@pytest.mark.parametrize(
    ("record", "options"),
    [
        ({"prompt": "Hi"}, {}),
        ({"messages": [USER]}, {}),
        ({"body": {"messages": [USER]}}, {}),
        ({"text": "Hi"}, {"template": Template("{text}")}),
    ],
)
def test_equal_questions_about_different_things_are_different_rows(
    record: dict[str, Any], options: dict[str, Any]
) -> None:
    plain, one, other = (build({**record, **about}, **options) for about in ({}, {"n": 1}, {"n": 2}))
    assert plain.request == one.request == other.request
    assert len({plain.key, one.key, other.key}) == 3
    assert build({"n": 1, **record}, **options).key == one.key


def test_an_id_is_the_custom_id_where_there_is_none() -> None:
    row = build({"prompt": "Hi", "id": "r1"})
    assert (row.custom_id, row.key) == ("r1", custom_id_key("r1"))
    assert row.columns == {"prompt": "Hi", "id": "r1"}  # copied to the output like any other column
    assert build({"prompt": "Hi", "id": 2**70}).custom_id == str(2**70)
    assert build({"prompt": "Hi", "id": "r1", "custom_id": ""}).custom_id == "r1"
    assert build({"prompt": "Hi", "id": "r1", "custom_id": "c1"}).custom_id == "c1"
    for other in (None, "", [1], {"a": 1}, True, 1.5):
        assert build({"prompt": "Hi", "id": other}).custom_id is None
    assert build({"prompt": "Hi", "id": "r1"}, takes_id=False).custom_id is None


def test_placeholders_of_the_system_prompt_are_filled() -> None:
    filled = {"role": "system", "content": 'You are kind. Reply {"a": 1}'}
    system = 'You are {tone}. Reply {"a": 1}'
    for record in ({"prompt": "Hi"}, {"messages": [USER]}, {"body": {"messages": [USER]}}):
        assert build({**record, "tone": "kind"}, system=system).request["messages"] == [filled, USER]
        with pytest.raises(InputError, match=r"in.jsonl:9: the system prompt wants \{tone\}.*write \{\{ and"):
            build(record, system=system)
    row = build({"t": "Hi", "tone": "kind"}, template=Template("{t}"), system=system)
    assert row.request["messages"] == [filled, USER]
    own = {"role": "system", "content": "{not} filled"}
    assert build({"messages": [own, USER]}, system=system).request["messages"] == [own, USER]
    with pytest.raises(InputError, match=r"in.jsonl:1: the system prompt wants \{tone\}"):
        RequestBuilder(source="in.jsonl", system=system).check_columns(["prompt"])
    RequestBuilder(source="in.jsonl", system=system).check_columns(["prompt", "tone"])


def test_empty_values_set_no_parameter() -> None:
    nothing = float("nan")
    for empty in (None, nothing):
        row = build({"prompt": "Hi", "seed": empty, "system": empty, "note": empty})
        assert row.request == build({"messages": [USER], "seed": empty}).request == {"messages": [USER]}
        assert row.key == build({"prompt": "Hi"}).key


# --- endpoints without messages -------------------------------------------------------------------------


def test_a_batch_line_for_another_endpoint_is_sent_to_its_path() -> None:
    body = {"model": "m", "input": ["a", "b"], "dimensions": 3}
    row = build({"custom_id": "r", "method": "POST", "url": "/v1/embeddings", "body": body})
    assert (row.path, row.request) == ("embeddings", body)
    chat = {"body": {"messages": [USER]}}
    for url in ("/v1/chat/completions", "chat/completions/", "/openai/v1/chat/completions", None):
        assert build({**chat, "url": url}).path is None
    assert build({"body": {"input": "x"}, "url": "/v1/images/generations"}).path == "images/generations"


@pytest.mark.parametrize(
    ("endpoint", "record", "request_"),
    [
        ("embeddings", {"input": "a", "dimensions": "3", "note": "n"}, {"input": "a", "dimensions": 3}),
        ("/v1/embeddings", {"prompt": "a"}, {"input": "a"}),
        ("embeddings", {"input": ["a", "b"]}, {"input": ["a", "b"]}),
        ("moderations", {"prompt": "a", "messages": [USER]}, {"input": "a"}),
        ("completions", {"prompt": "a", "max_tokens": 5}, {"prompt": "a", "max_tokens": 5}),
        (
            "rerank",
            {"query": "q", "documents": ["d"], "top_n": 1},
            {"query": "q", "documents": ["d"], "top_n": 1},
        ),
        ("anything/else", {"body": {"x": 1}}, {"x": 1}),
        ("chat/completions", {"prompt": "Hi"}, {"messages": [USER]}),
    ],
)
def test_the_text_of_a_row_is_put_where_its_endpoint_has_it(
    endpoint: str, record: dict[str, Any], request_: dict[str, Any]
) -> None:
    row = build(record, endpoint=endpoint)
    assert row.request == request_
    path = endpoint.removeprefix("/v1/")
    assert row.path == (None if path == "chat/completions" else path)


def test_a_template_makes_the_text_of_another_endpoint() -> None:
    row = build({"w": "cat", "dimensions": "3"}, endpoint="embeddings", template=Template("the {w}"))
    assert (row.path, row.request) == ("embeddings", {"input": "the cat"})


@pytest.mark.parametrize(
    ("endpoint", "record", "options", "says"),
    [
        ("embeddings", {"text": "a"}, {}, "the row has no prompt"),
        ("embeddings", {"prompt": "a"}, {"system": "S"}, "a request to /embeddings has no system prompt"),
        ("audio/speech", {"prompt": "a"}, {}, "a row for /audio/speech needs a body"),
        ("embeddings", {"input": []}, {}, "the input must be a text, not a list"),
    ],
)
def test_a_row_that_does_not_fit_its_endpoint_is_refused(
    endpoint: str, record: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        build(record, endpoint=endpoint, **options)


# --- Parquet --------------------------------------------------------------------------------------------


def test_fields_that_a_schema_fills_with_null_are_not_sent() -> None:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}", "strict": None}}
    said = [
        {"role": "user", "content": [{"type": "text", "text": "x", "image_url": None}], "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": [call], "name": None},
    ]
    record = {"messages": said, "temperature": None, "custom_id": None, "method": None, "note": None}
    sent = [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
    ]
    row = build(record, fills_nulls=True)
    assert row.request == {"messages": sent}
    assert row.columns == {"method": None, "note": None}
    body = {"body": {"messages": said, "seed": None}, "method": None, "url": None}
    assert build(body, fills_nulls=True).request == {"messages": sent}
    assert build({"messages": said}).request == {"messages": said}  # in JSON, null is what was meant


def test_an_empty_custom_id_is_none() -> None:
    row = build({"prompt": "Hi", "custom_id": ""})
    assert row.custom_id is None
    assert row.key == content_key({"prompt": "Hi"})


def test_numbers_of_a_table_become_numbers() -> None:
    record = {"prompt": "Hi", "temperature": "0.5", "max_tokens": " ", "stop": "END", "seed": "7"}
    assert build(record).request == {
        "messages": [USER], "temperature": 0.5, "stop": "END", "seed": 7,
    }  # fmt: skip
    for cell in ("x", "true", '"7"', "[7]"):
        with pytest.raises(InputError) as caught:
            build({"prompt": "Hi", "seed": cell})
        assert f"seed must be a number, not {cell!r}" in str(caught.value)


def test_objects_of_any_kind_of_dict_are_objects() -> None:
    ordered = OrderedDict({"prompt": "Hi", "topic": "x"})
    assert build(ordered).request == {"messages": [USER]}
    said = {"messages": [OrderedDict(USER)]}
    assert build(OrderedDict(said)).request == build(OrderedDict(body=OrderedDict(said))).request == said
    assert build(OrderedDict(said)).key == build(said).key


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ([1], "is no JSON object but a list"),
        ("text", "is no JSON object but a text"),
        (None, "is no JSON object but null"),
        (True, "is no JSON object but a boolean"),
        ({"custom_id": ["a"], "prompt": "Hi"}, "custom_id must be a text, not a list"),
        ({"body": "x"}, "body must be a JSON object, not a text"),
        ({"body": {}}, "the body has no messages"),
        ({"body": {"messages": [USER]}, "method": "GET"}, "method must be POST, not 'GET'"),
        ({"body": {"messages": [USER]}, "method": 3}, "method must be POST, not 3"),
        ({"body": {"messages": [USER]}, "url": "https://other.example/v1/x"}, "url must be a path such as"),
        ({"body": {"messages": [USER]}, "url": "/v1/../admin"}, "url must be a path such as"),
        ({"body": {"messages": [USER]}, "url": 3}, "url must be a path such as /v1/chat/completions"),
        ({"prompt": float("nan")}, "the prompt is empty"),
        ({"messages": []}, "messages must be a list with at least one message"),
        ({"messages": "Hi"}, "messages must be a list with at least one message"),
        ({"messages": ["Hi"]}, "each message must be an object"),
        ({"messages": [{"content": "Hi"}]}, "each message must be an object with a role"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "  "}, "the prompt is empty"),
        ({"prompt": 3}, "the prompt must be a text, not a number"),
        ({"prompt": "Hi", "system": 3}, "system must be a text, not a number"),
        (
            {"promt": "Hi"},
            "the row has no prompt (it has promt); rename promt to prompt, or make the prompt"
            " from its columns with a template",
        ),
        ({"product": "lamp"}, "no prompt (it has product); give it a prompt or messages, or make the prompt"),
        ({}, "the row has no prompt (it has no columns)"),
    ],
)
def test_a_bad_record_is_refused_with_its_line(record: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        build(record)
    assert str(caught.value).startswith("in.jsonl:9: ")
    assert says in str(caught.value)
    assert (caught.value.source, caught.value.line) == ("in.jsonl", 9)


def test_a_missing_template_column_names_the_one_that_looks_like_it() -> None:
    with pytest.raises(InputError, match=r"wants \{txt\}.*it has text, id.*did you mean text\?"):
        build({"text": "Hund", "id": 1}, template=Template("{txt}"))


def test_a_table_is_refused_by_its_header() -> None:
    builder = RequestBuilder(source="t.csv", template=Template("{a} {b}"))
    builder.check_columns(["a", "b", "c"])
    with pytest.raises(InputError, match=r"^t.csv:1: the template wants \{b\}"):
        builder.check_columns(["a"])
    with pytest.raises(
        InputError, match=r"^t.csv:3: the row has no prompt .*, or make the prompt from its columns"
    ):
        RequestBuilder(source="t.csv").check_columns(["a"], 3)


def nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "record",
    [
        {"custom_id": "a", "prompt": "Hi", "notes": nested(400)},
        {"prompt": "Hi", "notes": nested(400)},
        {"custom_id": "a", "messages": [{"role": "user", "content": nested(400)}]},
        {"custom_id": "a", "body": {"messages": [{"role": "user", "content": "Hi"}], "tools": nested(400)}},
    ],
)
def test_what_cannot_be_written_down_again_is_told_before_any_call(record: Any) -> None:
    with pytest.raises(InputError, match="in:3: is nested too deeply to be written down again"):
        RequestBuilder(source="in").build(record, 0, 3)


def test_what_is_nested_and_can_be_written_is_taken() -> None:
    row = RequestBuilder().build({"custom_id": "a", "prompt": "Hi", "notes": nested(200)}, 0, 1)
    assert row.columns is not None
    assert row.columns["notes"] == nested(200)
    assert RequestBuilder().build({"prompt": "Hi", "number": 2**70}, 0, 1).columns is not None


def test_a_prompt_of_null_is_told_as_such() -> None:
    with pytest.raises(InputError, match="in:1: the prompt must be a text, not null"):
        RequestBuilder(source="in").build({"prompt": None}, 0, 1)


def test_media_columns_without_a_value_name_no_file() -> None:
    for empty in (None, "", [], float("nan")):
        row = RequestBuilder().build({"prompt": "a", "image": empty, "images": empty}, 0, 1)
        assert row.request["messages"] == [{"role": "user", "content": "a"}]


def test_an_empty_field_of_a_body_is_null() -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "model": float("nan"), "seed": float("nan")}
    row = RequestBuilder(model="m").build({"body": body}, 0, 1)
    assert (row.request["model"], row.request["seed"]) == ("m", None)
