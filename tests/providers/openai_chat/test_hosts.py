"""A request keeps its meaning in the form that each host takes, or is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import InvalidRequestError
from callgate.messages import Conversation
from callgate.providers.catalog import dialect_of
from callgate.providers.hosts import find_host
from callgate.providers.openai_chat.dialect import OpenAIChat
from tests.providers.conformance import read_stream
from tests.providers.requests_matrix import CLOCK, PDF_URL, PNG_URL, WEATHER

CHAT_HOSTS = (
    "openai", "azure", "groq", "mistral", "deepseek", "openrouter", "together", "fireworks", "cerebras",
    "xai", "nvidia_nim", "ollama", "vllm",
)  # fmt: skip
USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}


def body_of(host: str, *messages: Any, **request: Any) -> Any:
    given = {"model": "m", "messages": list(messages) or [USER], **request}
    dialect = OpenAIChat() if host == "" else dialect_of(find_host(host))
    return json.loads(dialect.encode(given).body)


def called(identity: str, result: Any) -> list[Any]:
    function = {"name": "weather", "arguments": "{}"}
    call = {"id": identity, "type": "function", "function": function}
    return [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": identity, "content": result},
    ]


# -- tools -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", CHAT_HOSTS)
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_choice_among_some_tools_offers_no_other(host: str, mode: str) -> None:
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "weather"}}] * 2}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    body = body_of(host, tools=[WEATHER, CLOCK], tool_choice=choice)
    offered = [tool["function"]["name"] for tool in body["tools"]]
    if host in ("openai", "azure") and mode == "auto":
        assert offered == ["weather", "clock"]
        assert body["tool_choice"]["allowed_tools"]["tools"] == allowed["tools"][:1]
    elif mode == "auto":
        assert (offered, body["tool_choice"]) == (["weather"], "auto")
    else:  # one tool that must be called
        assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


def test_several_tools_of_which_one_must_be_called_stay_a_choice() -> None:
    tools = [{"type": "function", "name": name} for name in ("weather", "clock")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": tools}
    third = {"type": "function", "function": {"name": "third"}}
    body = body_of("groq", tools=[WEATHER, CLOCK, third], tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "clock"]
    assert body["tool_choice"] == "required"
    body = body_of("openai", tools=[WEATHER, CLOCK, third], tool_choice=choice)
    assert body["tool_choice"]["allowed_tools"]["mode"] == "required"
    assert len(body["tools"]) == 3


@pytest.mark.parametrize("host", CHAT_HOSTS)
def test_settings_of_tools_are_left_out_without_tools(host: str) -> None:
    for tools in (None, []):
        body = body_of(host, tools=tools, tool_choice="auto", parallel_tool_calls=False)
        assert not body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}
        with pytest.raises(InvalidRequestError, match="there are no tools"):
            body_of(host, tools=tools, tool_choice="required")


@pytest.mark.parametrize("host", CHAT_HOSTS)
def test_no_tool_may_be_called(host: str) -> None:
    body = body_of(host, tools=[WEATHER], tool_choice="none")
    assert (body["tool_choice"], len(body["tools"])) == ("none", 1)


@pytest.mark.parametrize("host", ["", *CHAT_HOSTS])
def test_arguments_are_text_and_no_arguments_an_empty_object(host: str) -> None:
    for given, sent in (
        ({"a": 1}, '{"a":1}'),
        ("", "{}"),
        (None, "{}"),
        (" ", "{}"),
        ('{"a": 1}', '{"a": 1}'),
    ):
        messages = called("call00001", "rain")
        messages[1]["tool_calls"][0]["function"]["arguments"] = given
        (call,) = body_of(host, *messages, tools=[WEATHER])["messages"][1]["tool_calls"]
        assert call["function"]["arguments"] == sent


def test_arguments_that_are_no_json_go_wrapped_to_hosts_that_parse_them() -> None:
    messages = called("call00001", "rain")
    messages[1]["tool_calls"][0]["function"]["arguments"] = '{"a": '
    for host, sent in (
        ("openai", '{"a": '),
        ("", '{"a": '),
        ("vllm", '{"unreadable_arguments":"{\\"a\\": "}'),
    ):
        (call,) = body_of(host, *messages)["messages"][1]["tool_calls"]
        assert call["function"]["arguments"] == sent


def test_ids_of_calls_are_as_mistral_takes_them_and_still_match() -> None:
    messages = called("toolu_01A/é", "rain")[1:] + called("toolu_01B", "rain")[1:]
    sent = body_of("mistral", USER, *messages, tools=[WEATHER])["messages"]
    ids = [message["tool_calls"][0]["id"] for message in sent if message.get("tool_calls")]
    assert ids == [message["tool_call_id"] for message in sent if message["role"] == "tool"]
    assert len(set(ids)) == 2
    assert all(len(identity) == 9 and identity.isalnum() and identity.isascii() for identity in ids)
    own = body_of("mistral", *called("AbCd12345", "rain"))["messages"]
    assert own[1]["tool_calls"][0]["id"] == own[2]["tool_call_id"] == "AbCd12345"


# -- structured answers ----------------------------------------------------------------------------------


def test_groq_answers_by_a_tool_where_a_schema_and_tools_meet() -> None:
    body = body_of("groq", model="openai/gpt-oss-120b", tools=[WEATHER], response_format=FORMAT)
    assert "response_format" not in body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "callgate_answer"]
    assert body["tools"][1]["function"]["parameters"] == SCHEMA
    assert body["tool_choice"] == "required"
    none = body_of("groq", tools=[WEATHER], response_format={"type": "json_object"}, tool_choice="none")
    assert none["tool_choice"] == {"type": "function", "function": {"name": "callgate_answer"}}
    alone = body_of("groq", model="openai/gpt-oss-120b", response_format=FORMAT)
    assert alone["response_format"] == FORMAT


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_by_the_tool_is_the_text(stream: bool) -> None:
    groq = dialect_of(find_host("groq"))
    text = '{"name": "Oslo"}'
    call = {"index": 0, "id": "c1", "function": {"name": "callgate_answer", "arguments": text}}
    if stream:
        first, second = (
            {**call, "function": {"name": "callgate_answer", "arguments": text[:5]}},
            {"index": 0, "function": {"arguments": text[5:]}},
        )
        chunks = [{"choices": [{"delta": {"tool_calls": [piece]}}]} for piece in (first, second)]
        chunks.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
        body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        deltas, response = read_stream(groq, [body], {})
        assert "".join(delta.text for delta in deltas) == text
        assert not any(delta.tool_call for delta in deltas)
    else:
        choice = {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
        response = groq.decode(json.dumps({"choices": [choice]}).encode(), {})
    assert (response.text, response.tool_calls, response.finish_reason) == (text, [], "stop")


# -- messages --------------------------------------------------------------------------------------------

LATE = [
    {"role": "system", "content": "Be short."},
    USER,
    {"role": "assistant", "content": "Hello!"},
    {"role": "system", "content": "Answer in French."},
    USER,
]


@pytest.mark.parametrize("host", CHAT_HOSTS)
def test_a_late_system_message_keeps_its_place(host: str) -> None:
    sent = body_of(host, *LATE)["messages"]
    assert [message["role"] for message in sent[:3]] == ["system", "user", "assistant"]
    late = sent[3]
    if host == "mistral":
        assert late == {"role": "user", "content": "<system>\nAnswer in French.\n</system>"}
    else:
        assert late == LATE[3]


@pytest.mark.parametrize("host", CHAT_HOSTS)
def test_a_developers_message_is_a_system_message_where_there_is_no_such_role(host: str) -> None:
    (first, _) = body_of(host, {"role": "developer", "content": "Be short."}, USER)["messages"]
    has_it = host in ("openai", "azure", "openrouter", "cerebras", "xai")
    assert first == {"role": "developer" if has_it else "system", "content": "Be short."}


@pytest.mark.parametrize("host", CHAT_HOSTS)
def test_an_image_in_a_result_is_shown_after_all_results(host: str) -> None:
    image = {"type": "image_url", "image_url": {"url": PNG_URL}}
    calls = [
        {"id": name, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        for name in ("call0000a", "call0000b")
    ]
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call0000a", "content": [{"type": "text", "text": "See:"}, image]},
        {"role": "tool", "tool_call_id": "call0000b", "content": [image]},
        {"role": "assistant", "content": "Rain."},
        USER,
    ]
    sent = body_of(host, *messages, tools=[WEATHER])["messages"]
    roles = [message["role"] for message in sent]
    if host in ("groq", "mistral", "openrouter"):  # a tool's message may hold it
        assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]
        assert sent[2]["content"][1] == image
    else:
        assert roles == ["user", "assistant", "tool", "tool", "user", "assistant", "user"]
        assert sent[4]["content"] == [image, image]
        assert all("image" not in json.dumps(message) for message in sent[2:4])
        assert all(message["content"] for message in sent[2:4])


def test_mistral_is_given_an_assistants_turn_between_a_result_and_the_user() -> None:
    sent = body_of("mistral", *called("call00001", "rain"), USER)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[3]["content"]


def test_mistral_continues_the_beginning_of_an_answer() -> None:
    sent = body_of("mistral", USER, {"role": "assistant", "content": "It is"})["messages"]
    assert sent[-1] == {"role": "assistant", "content": "It is", "prefix": True}


@pytest.mark.parametrize("host", ["", *CHAT_HOSTS])
def test_parts_in_the_forms_of_others_are_translated(host: str) -> None:
    parts = ["Look:", {"type": "input_text", "text": "this"}, {"type": "input_image", "image_url": PNG_URL}]
    (sent,) = body_of(host, {"role": "user", "content": parts})["messages"]
    assert sent["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "text", "text": "this"},
        {"type": "image_url", "image_url": {"url": PNG_URL}},
    ]


def test_files_and_sound_take_the_form_of_the_host() -> None:
    by_data = {"type": "file", "file": {"file_data": PDF_URL, "filename": "a.pdf"}}
    by_url = {"type": "file", "file": {"file_url": "https://x.io/a.pdf"}}
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}

    def sent(host: str, part: dict[str, Any]) -> Any:
        return body_of(host, {"role": "user", "content": [part]})["messages"][0]["content"][0]

    assert sent("openai", by_data) == by_data
    assert sent("mistral", by_data) == {
        "type": "document_url",
        "document_url": PDF_URL,
        "document_name": "a.pdf",
    }
    assert sent("mistral", by_url) == {"type": "document_url", "document_url": "https://x.io/a.pdf"}
    assert sent("mistral", sound) == {"type": "input_audio", "input_audio": "UklGRg=="}
    assert sent("openrouter", by_url) == {"type": "file", "file": {"file_data": "https://x.io/a.pdf"}}
    assert sent("xai", by_url) == {"type": "file", "file": {"url": "https://x.io/a.pdf"}}
    assert sent("", by_url) == by_url
    film = {"type": "file", "file": {"file_data": "data:video/mp4;base64,QUJD", "filename": "a.mp4"}}
    by_address = {"type": "file", "file": {"file_url": "https://x.io/a.mp4?x=1"}}
    for host in ("openrouter", ""):
        assert sent(host, film) == {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QUJD"}}
        assert sent(host, by_address) == {"type": "video_url", "video_url": {"url": "https://x.io/a.mp4?x=1"}}
    for host in ("openai", "mistral", "groq", "xai"):
        with pytest.raises(InvalidRequestError, match="takes no video"):
            sent(host, film)


@pytest.mark.parametrize("host", CHAT_HOSTS)
def test_marks_for_a_cache_go_only_where_the_host_takes_them(host: str) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    text = {"type": "text", "text": "A long text."}
    body = body_of(
        host,
        {"role": "system", "content": [{**text, **mark}]},
        {"role": "user", "content": "A long text.", **mark},
        tools=[{**WEATHER, **mark}],
    )
    assert json.dumps(body).count("cache_control") == (3 if host == "openrouter" else 0)
    if host == "openrouter":
        assert body["messages"][1]["content"] == [{**text, **mark}]


@pytest.mark.parametrize("host", ["", *CHAT_HOSTS])
def test_a_conversation_object_is_its_messages(host: str) -> None:
    talk = Conversation.with_initial_message("Be short.", "user", "Hi")
    dialect = OpenAIChat() if host == "" else dialect_of(find_host(host))
    sent = json.loads(dialect.encode({"model": "m", "messages": talk}).body)["messages"]
    assert sent == [{"role": "system", "content": "Be short."}, USER]


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "tiers"),
    [
        ("openai", {"auto": "auto", "flex": "flex", "priority": "priority", "fast": "fast"}),
        ("openrouter", {"flex": "flex", "priority": "priority", "ultrafast": "ultrafast"}),
        ("groq", {"auto": "auto", "default": "on_demand", "flex": "flex", "priority": None}),
        ("mistral", {"auto": "auto", "default": "standard_only", "flex": None, "priority": None}),
        ("fireworks", {"auto": "", "default": "", "priority": "priority", "flex": None}),
        ("cerebras", {"auto": "auto", "default": "default", "flex": "flex", "priority": "priority"}),
        ("xai", {"auto": "", "default": "", "priority": "priority", "flex": None}),
        ("deepseek", {"auto": "", "default": "", "priority": None, "flex": None}),
        ("together", {"auto": "", "default": "", "priority": None, "flex": None}),
        ("vllm", {"default": "", "flex": None}),
        ("", {"flex": "flex", "anything": "anything"}),
    ],
)
def test_a_service_tier_is_translated_or_refused(host: str, tiers: dict[str, str | None]) -> None:
    """Left out, another tier would be paid for; "" is the host's own default."""
    for asked, sent in tiers.items():
        if sent is None:
            with pytest.raises(InvalidRequestError, match="has no service_tier"):
                body_of(host, service_tier=asked)
        else:
            assert body_of(host, service_tier=asked).get("service_tier", "") == sent


@pytest.mark.parametrize(
    ("host", "efforts"),
    [
        ("openai", {"none": "none", "minimal": "minimal", "xhigh": "xhigh"}),
        ("groq", {"none": "none", "minimal": "low", "high": "high", "xhigh": "high", "max": "high"}),
        ("together", {"none": None, "minimal": "low"}),
        ("deepseek", {"none": None, "low": "low", "xhigh": "xhigh"}),
    ],
)
def test_an_effort_is_the_nearest_that_the_host_has(host: str, efforts: dict[str, str | None]) -> None:
    for asked, sent in efforts.items():
        assert body_of(host, reasoning_effort=asked).get("reasoning_effort") == sent
    if host == "deepseek":
        assert body_of(host, reasoning_effort="none")["thinking"] == {"type": "disabled"}
    if host == "together":
        assert body_of(host, reasoning_effort="none")["reasoning"] == {"enabled": False}


@pytest.mark.parametrize("host", CHAT_HOSTS)
def test_the_longest_answer_is_bounded_under_the_name_the_host_knows(host: str) -> None:
    for asked in (
        {"max_tokens": 9},
        {"max_completion_tokens": 9},
        {"max_tokens": 8, "max_completion_tokens": 9},
    ):
        body = body_of(host, model="gpt-4o", **asked)
        limits = {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body}
        assert set(limits.values()) == {9}
        assert len(limits) == 1
    if host in ("mistral", "deepseek", "together", "ollama"):
        assert "max_tokens" in body_of(host, max_completion_tokens=9)


def test_a_web_search_is_a_tool_at_openrouter() -> None:
    body = body_of("openrouter", web_search_options={"search_context_size": "low"}, tools=[WEATHER])
    assert body["tools"][1] == {"type": "web_search", "search_context_size": "low"}
    assert "web_search_options" not in body


def test_alternatives_to_each_token_are_counted_as_together_does() -> None:
    assert body_of("together", logprobs=True, top_logprobs=3)["logprobs"] == 3
    assert body_of("together", logprobs=True)["logprobs"] == 1
    assert body_of("together", logprobs=False)["logprobs"] == 0


@pytest.mark.parametrize("host", ["", *CHAT_HOSTS])
def test_what_is_not_of_openais_format_passes_and_an_extra_body_overrides(host: str) -> None:
    body = body_of(host, top_k=5, extra_body={"min_p": 0.1, "temperature": 2}, temperature=1, stream=True)
    assert (body["top_k"], body["min_p"], body["temperature"]) == (5, 0.1, 2)
    assert not body.keys() & {"extra_body", "stream"}


@pytest.mark.parametrize("host", sorted(set(CHAT_HOSTS) - {"azure"}))
def test_a_request_without_a_model_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequestError, match="names no model"):
        dialect_of(find_host(host)).encode({"messages": [USER]})


@pytest.mark.parametrize("host", ["", *CHAT_HOSTS])
@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "no messages"),
        ("Hi", "no messages"),
        (["Hi"], r"messages\[0\]"),
        ([{"content": "Hi"}], r"messages\[0\]"),
        ([{"role": "human", "content": "Hi"}], "unknown role 'human'"),
        ([{"role": "user", "content": 5}], "text or a list"),
        ([{"role": "user", "content": [5]}], "object with a type"),
        ([{"role": "user", "content": [{"text": "Hi"}]}], "no type"),
        ([{"role": "assistant", "tool_calls": ["f"]}], r"tool_calls\[0\]"),
        ([{"role": "system", "content": [{"type": "image_url", "image_url": PNG_URL}]}], "of the user only"),
    ],
)
def test_messages_that_are_none_are_refused(host: str, messages: Any, problem: str) -> None:
    dialect = OpenAIChat() if host == "" else dialect_of(find_host(host))
    with pytest.raises(InvalidRequestError, match=problem) as caught:
        dialect.encode({"model": "m", "messages": messages})
    assert caught.value.surely_unsent


@pytest.mark.parametrize("host", ["", *CHAT_HOSTS])
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", ["9", -1, 1.5, True])
def test_a_bound_that_is_no_number_is_refused(host: str, field: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=f"{field} must be a whole number"):
        body_of(host, **{field: value})
