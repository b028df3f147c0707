"""OpenAI's chat dialect: requests as they go out, and whatever hosts answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import APIClientError, InvalidRequestError, RateLimitError, ResponseError, ServerError
from callgate.messages import Conversation
from callgate.providers.catalog import dialect_of
from callgate.providers.dialect import Dialect
from callgate.providers.hosts import find_host
from callgate.providers.openai_chat.dialect import OpenAIChat
from callgate.providers.openai_chat.response import read_usage
from callgate.response import Response, Usage
from tests.providers.conformance import DialectConformance, read_stream


class TestConformance(DialectConformance):
    dialect = OpenAIChat()
    recorded = "openai_chat"


CHAT = OpenAIChat()
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES = [{"role": "user", "content": "Hi"}]


def body_of(dialect: Dialect = CHAT, *, stream: bool = False, **request: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(dialect.encode(request, stream=stream).body)
    return read


# -- requests --------------------------------------------------------------------------------------------


def test_a_request_passes_through_unchanged() -> None:
    request: dict[str, Any] = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be short."},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}],
            },
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "42"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "required",
        "max_tokens": 5,
        "temperature": 0,
        "reasoning_effort": "low",
        "no_such_field": {"deep": [1, None]},
    }
    wire = CHAT.encode(request)
    assert json.loads(wire.body) == request
    assert (wire.path, wire.method, wire.stream, dict(wire.headers)) == (
        "/chat/completions",
        "POST",
        False,
        {},
    )


def test_a_prompt_and_a_system_prompt_are_a_conversation() -> None:
    wire = CHAT.encode({"model": "m", "prompt": "Once", "system": "Be short."})
    assert wire.path == "/chat/completions"
    assert json.loads(wire.body) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Once"}],
    }


@pytest.mark.parametrize("path", ["/completions", "v2/completions", "/embeddings"])
def test_on_any_other_path_the_fields_are_sent_as_given(path: str) -> None:
    request = {"model": "m", "prompt": "Once", "input": ["x"], "max_tokens": 9, "stream": True}
    for host in ("openai", "mistral", "groq"):
        wire = dialect_of(find_host(host)).encode(request, path=path)
        assert wire.path == "/" + path.lstrip("/")
        assert json.loads(wire.body) == {"model": "m", "prompt": "Once", "input": ["x"], "max_tokens": 9}


def test_a_stream_is_asked_to_tell_its_usage() -> None:
    body = body_of(stream=True, model="m", messages=MESSAGES)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


def test_stream_options_of_the_request_are_kept() -> None:
    told = {"include_usage": False, "include_obfuscation": False}
    assert body_of(stream=True, model="m", messages=MESSAGES, stream_options=told)["stream_options"] == told


def test_no_stream_is_requested_without_a_reader() -> None:
    asked = {"model": "m", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    assert json.loads(CHAT.encode(asked).body) == {"model": "m", "messages": MESSAGES}


def test_a_request_is_never_changed() -> None:
    request = {"model": "o3", "messages": [{"role": "user", "content": "Hi", "replay": {}}], "max_tokens": 5}
    before = json.dumps(request)
    dialect_of(find_host("openai")).encode(request, stream=True)
    assert json.dumps(request) == before


def test_messages_that_are_objects_are_written_as_their_fields() -> None:
    talk = Conversation.with_initial_message("Be short.", "user", "Hi")
    assert body_of(model="m", messages=talk)["messages"] == talk.to_messages()
    assert body_of(model="m", messages=list(talk))["messages"] == talk.to_messages()


def test_what_another_dialect_wants_back_is_left_out() -> None:
    message = {"role": "assistant", "content": "4", "replay": {"dialect": "anthropic", "content": [{}]}}
    assert body_of(model="m", messages=[*MESSAGES, message])["messages"] == [
        *MESSAGES,
        {"role": "assistant", "content": "4"},
    ]


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o-mini", "max_tokens"),
        ("gpt-4.1", "max_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("gpt-5.1", "max_completion_tokens"),
        ("ft:gpt-4o:org", "max_tokens"),
    ],
)
def test_the_output_limit_has_the_name_that_the_model_of_openai_takes(model: str, field: str) -> None:
    openai = dialect_of(find_host("openai"))
    body = body_of(openai, model=model, messages=MESSAGES, max_tokens=9)
    assert {name: value for name, value in body.items() if "tokens" in name} == {field: 9}


def test_other_hosts_and_the_older_endpoint_know_only_max_tokens() -> None:
    openai = dialect_of(find_host("openai"))
    older = openai.encode({"model": "o3", "prompt": "Once", "max_tokens": 9}, path="/completions")
    assert json.loads(older.body)["max_tokens"] == 9
    assert (
        body_of(dialect_of(find_host("groq")), model="o3", messages=MESSAGES, max_tokens=9)["max_tokens"] == 9
    )
    both = body_of(openai, model="o3", messages=MESSAGES, max_tokens=9, max_completion_tokens=8)
    assert both["max_completion_tokens"] == 8


def test_mistral_has_its_own_name_for_the_seed_and_no_stream_options() -> None:
    body = body_of(dialect_of(find_host("mistral")), stream=True, model="m", messages=MESSAGES, seed=4)
    assert body == {"model": "m", "messages": MESSAGES, "random_seed": 4, "stream": True}


def test_what_has_no_json_form_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InvalidRequestError, match="not JSON serializable: object") as caught:
        CHAT.encode({"model": "m", "messages": MESSAGES, "metadata": object()})
    assert caught.value.surely_unsent


# -- answers ---------------------------------------------------------------------------------------------


def test_other_endpoints_answers_are_their_own_data() -> None:
    body = {
        "object": "list",
        "data": [{"embedding": [0.5]}],
        "model": "e",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    response = CHAT.decode(json.dumps(body).encode(), {})
    assert response.data == body
    assert response.usage == Usage(8, 0, 8)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [null]}',
        b"<html>",
    ],
)
def test_a_body_without_an_answer_is_a_response_error(body: bytes) -> None:
    with pytest.raises(ResponseError) as caught:
        CHAT.decode(body, {})
    assert caught.value.retryable


def test_a_truncated_body_is_a_response_error() -> None:
    with pytest.raises(ResponseError, match="not JSON"):
        CHAT.decode(b'{"choices": [{"message": {"content": "Par', {})


def test_of_several_choices_the_first_is_the_answer_and_raw_has_them_all() -> None:
    choices = [{"index": at, "message": {"content": text}} for at, text in enumerate(["a", "b"])]
    response = CHAT.decode(json.dumps({"choices": choices}).encode(), {})
    assert response.text == "a"
    assert response.raw["choices"][1]["message"]["content"] == "b"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", "stop"),
        ("max_length", "length"),
        ("model_context_window_exceeded", "length"),
        ("RECITATION", "content_filter"),
        ("sensitive", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("network_error", "error"),
    ],
)
def test_words_of_the_models_behind_a_gateway_are_known_in_any_case(word: str, reason: str) -> None:
    body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": word}]}).encode()
    response = CHAT.decode(body, {})
    assert (response.finish_reason, response.raw_finish_reason) == (reason, word)


def test_an_unknown_finish_reason_is_kept_raw() -> None:
    response = CHAT.decode(b'{"choices": [{"message": {"content": "a"}, "finish_reason": "bored"}]}', {})
    assert (response.finish_reason, response.raw_finish_reason) == (None, "bored")


# -- streams ---------------------------------------------------------------------------------------------


def lines(*chunks: Any) -> bytes:
    return b"".join(b"data: " + (json.dumps(chunk).encode()) + b"\n\n" for chunk in chunks)


def test_choices_side_by_side_are_kept_apart() -> None:
    piece = [{"choices": [{"index": at % 2, "delta": {"content": text}}]} for at, text in enumerate("aAbB")]
    ends = {"choices": [{"index": at, "delta": {}, "finish_reason": "stop"} for at in (0, 1)]}
    deltas, response = read_stream(CHAT, [lines(*piece, ends)], {})
    assert [delta.text for delta in deltas] == ["a", "b"]
    assert response.text == "ab"
    assert response.raw["choices"][1]["message"]["content"] == "AB"


def test_a_stream_ends_only_when_every_choice_does() -> None:
    open_ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}, {"index": 1, "delta": {}}]}
    with pytest.raises(ResponseError, match="broke off") as caught:
        read_stream(CHAT, [lines(open_ended)], {})
    assert caught.value.response_content["choices"][0]["finish_reason"] == "stop"


def test_a_stream_cut_off_within_its_usage_is_whole_without_it() -> None:
    end = lines({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]})
    _, response = read_stream(CHAT, [end, b'data: {"choices": [], "usage": {"prompt_to'], {})
    assert (response.text, response.usage) == ("a", None)


def test_done_ends_a_stream_whose_choice_gave_no_reason() -> None:
    _, response = read_stream(
        CHAT, [lines({"choices": [{"delta": {"content": "a"}}]}), b"data: [DONE]\n\n"], {}
    )
    assert (response.text, response.finish_reason) == ("a", None)


def test_what_comes_after_done_is_passed_over() -> None:
    more = lines({"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}]})
    _, response = read_stream(
        CHAT, [lines({"choices": [{"delta": {"content": "a"}}]}), b"data: [DONE]\n\n", more], {}
    )
    assert response.text == "a"


def test_empty_events_that_keep_a_connection_open_are_passed_over() -> None:
    chunk = lines({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]})
    _, response = read_stream(CHAT, [b"data: \n\n", chunk, b"data:  \n\ndata\n\n"], {})
    assert response.text == "a"


def test_log_probabilities_are_put_together() -> None:
    chunks = [
        {
            "choices": [
                {"delta": {"content": text}, "logprobs": {"content": [{"token": text}], "refusal": None}}
            ]
        }
        for text in "ab"
    ]
    end = {"choices": [{"delta": {}, "logprobs": None, "finish_reason": "stop"}]}
    _, response = read_stream(CHAT, [lines(*chunks, end)], {})
    assert response.raw["choices"][0]["logprobs"]["content"] == [{"token": "a"}, {"token": "b"}]


def test_unknown_fields_of_a_stream_stay_in_raw() -> None:
    chunks = [
        {"provider": "X", "choices": [{"delta": {"content": "a", "annotations": [1]}}]},
        {
            "provider": "X",
            "choices": [{"delta": {"annotations": [2], "channel": "final"}, "finish_reason": "stop"}],
        },
    ]
    _, response = read_stream(CHAT, [lines(*chunks)], {})
    assert response.raw["provider"] == "X"
    message = response.raw["choices"][0]["message"]
    assert (message["annotations"], message["channel"]) == ([1, 2], "final")


def test_garbage_in_mid_stream_is_a_response_error() -> None:
    with pytest.raises(ResponseError):
        list(CHAT.stream_decoder({}).feed(b"data: {broken\n\n"))


# -- errors ----------------------------------------------------------------------------------------------


def test_a_retry_after_among_the_headers_of_a_200_is_not_about_the_error_in_its_stream() -> None:
    decoder = CHAT.stream_decoder({"retry-after": "3600", "x-should-retry": "false"})
    with pytest.raises(RateLimitError) as caught:
        list(decoder.feed(lines({"error": {"message": "slow", "code": 429}})))
    assert (caught.value.retry_after, caught.value.retryable) == (None, True)


def test_a_page_of_a_gateway_is_reported_by_its_title() -> None:
    page = b"<html><head><title>502 Bad\nGateway</title></head><body>" + b"x" * 5000
    assert CHAT.error(502, page, {}).message == "502 Bad Gateway"


def test_a_message_is_cut_to_what_can_be_read() -> None:
    error = CHAT.error(400, json.dumps({"error": {"message": "x" * 50_000}}).encode(), {})
    assert len(error.message) < 1100


def test_audio_tokens_are_counted_apart_where_reported() -> None:
    usage = read_usage(
        {
            "prompt_tokens": 50,
            "completion_tokens": 30,
            "prompt_tokens_details": {"audio_tokens": 40},
            "completion_tokens_details": {"audio_tokens": 20},
        }
    )
    assert (usage.input_audio_tokens, usage.output_audio_tokens) == (40, 20)
    both = usage + usage
    assert (both.input_audio_tokens, both.output_audio_tokens) == (80, 40)
    assert both.to_dict()["input_audio_tokens"] == 80
    assert both.to_dict()["output_audio_tokens"] == 40
    assert "input_audio_tokens" not in read_usage({"prompt_tokens": 50}).to_dict()


# -- answers without choices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3}}, Usage(3, 0)),
        (
            {"created": 1, "data": [{"url": "x"}], "usage": {"input_tokens": 3, "output_tokens": 9}},
            Usage(3, 9),
        ),
        ({"id": "modr-1", "results": [{"flagged": False}]}, None),
        ({"results": [{"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 7}}, Usage(7, 0)),
        ({"id": "1", "results": [], "meta": {"billed_units": {"search_units": 1}}}, None),
        ({"embeddings": {"float": [[0.5]]}, "meta": {"billed_units": {"input_tokens": 4}}}, Usage(4, 0)),
        ({"text": "Hello", "usage": {"type": "duration", "seconds": 2}}, None),
        ({"answers": [{"type": "choice"}], "usage": {"input_tokens": 3, "output_tokens": 0}}, Usage(3, 0)),
    ],
)
def test_an_answer_of_another_endpoint_is_its_data(answer: dict[str, Any], usage: Usage | None) -> None:
    response = CHAT.decode(json.dumps(answer).encode(), {})
    assert (response.data, response.raw, response.usage) == (answer, answer, usage)
    assert response.text == answer.get("text", "")


@pytest.mark.parametrize(
    "answer", [{}, {"id": "1"}, {"object": "chat.completion"}, {"choices": [], "data": []}]
)
def test_a_chat_without_choices_is_no_answer(answer: dict[str, Any]) -> None:
    with pytest.raises(ResponseError, match="no choices"):
        CHAT.decode(json.dumps(answer).encode(), {})


@pytest.mark.parametrize("status", [400, 403, 500, 503])
@pytest.mark.parametrize(
    "error",
    [
        {"code": "rate_limit_exceeded"},
        {"code": 429},
        {"code": "429", "type": "throttling_error"},
        {"code": "Throttling.RateQuota"},
    ],
    ids=json.dumps,
)
def test_a_refusal_for_a_quota_is_one_under_any_status(status: int, error: dict[str, Any]) -> None:
    body = json.dumps({"error": {"message": "try again in 5 seconds", **error}}).encode()
    read = CHAT.error(status, body, {})
    assert (type(read), read.retryable, read.retry_after) == (RateLimitError, True, 5.0)


def test_a_200_that_holds_an_error_in_a_gateways_form_is_that_error() -> None:
    def error(**content: Any) -> APIClientError:
        with pytest.raises(APIClientError) as caught:
            CHAT.decode(json.dumps(content).encode(), {})
        return caught.value

    assert isinstance(error(code=429, msg="busy"), RateLimitError)
    assert isinstance(error(success=False, errors=[{"message": "boom"}]), ServerError)
    read = error(detail="boom")
    assert isinstance(read, ResponseError)
    assert "no choices: boom" in str(read)


def _streamed(*chunks: dict[str, Any]) -> tuple[str, Response]:
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    deltas, response = read_stream(CHAT, [body], {})
    return "".join(delta.text for delta in deltas), response


def test_a_message_that_repeats_the_text_at_the_end_adds_what_is_new_alone() -> None:
    pieces = [{"choices": [{"delta": {"content": text}}]} for text in ("Hel", "lo")]
    for whole, text in (("Hello", "Hello"), ("Hello!", "Hello!"), ("Bye", "HelloBye")):
        message = {"role": "assistant", "content": whole}
        end = {"choices": [{"message": message, "finish_reason": "stop"}]}
        streamed, response = _streamed(*pieces, end)
        assert streamed == response.text == text


def test_usage_that_stands_in_the_choice_counts() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    choice = {"delta": {"content": "Hi"}, "finish_reason": "stop", "usage": usage}
    assert _streamed({"choices": [choice]})[1].usage == Usage(5, 2, 7)


def test_one_choice_or_one_part_of_content_without_a_list_is_read() -> None:
    content = {"type": "text", "text": "Hi"}
    choice = {"delta": {"content": content}, "finish_reason": "stop"}
    streamed, response = _streamed({"choices": choice})
    whole = CHAT.decode(json.dumps({"choices": {"message": {"content": content}}}).encode(), {})
    assert streamed == response.text == whole.text == "Hi"


def test_choices_whose_index_is_text_are_kept_apart() -> None:
    choices = [{"index": str(n), "delta": {"content": f"{n}"}, "finish_reason": "stop"} for n in (0, 1)]
    assert [choice["message"]["content"] for choice in _streamed({"choices": choices})[1].raw["choices"]] == [
        "0",
        "1",
    ]
