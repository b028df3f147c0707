"""Gemini's dialect: requests as they go out, and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import InvalidRequestError
from callgate.providers.canonical.messages import REPLAY
from callgate.providers.gemini.dialect import Gemini
from callgate.providers.gemini.models import is_third_generation
from callgate.providers.gemini.response import read_usage
from tests.providers.conformance import DialectConformance, read_stream
from tests.providers.gemini.gemini_rules import problems_of_gemini

DIALECT = Gemini()
OLD, NEW = "gemini-2.5-flash", "gemini-3-pro-preview"
USER = {"role": "user", "content": "Hi"}
HI = {"role": "user", "parts": [{"text": "Hi"}]}
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}


class TestConformance(DialectConformance):
    dialect = DIALECT
    recorded = "gemini"


def body_of(*messages: Any, **fields: Any) -> dict[str, Any]:
    """The body of a request with these messages and fields."""
    request = {"model": OLD, "messages": list(messages) or [USER], **fields}
    before = json.dumps(request)
    body: dict[str, Any] = json.loads(DIALECT.encode(request).body)
    assert json.dumps(request) == before, "encoding changed the caller's request"
    return body


def sent(*messages: Any, **fields: Any) -> dict[str, Any]:
    """A body that Gemini would accept."""
    body = body_of(*messages, **fields)
    assert problems_of_gemini(body, third=is_third_generation(fields.get("model", OLD))) == []
    return body


def refusal(*messages: Any, **fields: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        body_of(*messages, **fields)
    return caught.value.message


def call(identity: str, name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


# -- where it goes -----------------------------------------------------------------------------------------


def test_the_smallest_request() -> None:
    wire = DIALECT.encode({"model": OLD, "messages": [USER]})
    assert (wire.path, wire.method, dict(wire.headers)) == (
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "POST",
        {},
    )
    assert json.loads(wire.body) == {"contents": [HI]}


def test_a_stream_has_a_method_of_its_own() -> None:
    wire = DIALECT.encode({"model": OLD, "messages": [USER], "stream": True}, stream=True)
    assert wire.path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert wire.stream
    assert json.loads(wire.body) == {"contents": [HI]}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/my-own", "/v1beta/tunedModels/my-own:generateContent"),
        ("a:b?key=1#c d", "/v1beta/models/a%3Ab%3Fkey%3D1%23c%20d:generateContent"),
    ],
)
def test_a_models_name_cannot_leave_its_place_in_the_path(model: str, path: str) -> None:
    assert DIALECT.encode({"model": model, "messages": [USER]}).path == path


def test_a_path_before_the_name_is_refused() -> None:
    assert "../files/x" in refusal(model="../files/x")


def test_the_callers_own_path_goes_before_ours() -> None:
    assert DIALECT.encode({"model": OLD, "prompt": "x"}, path="v1/x:countTokens").path == "/v1/x:countTokens"


# -- the conversation ----------------------------------------------------------------------------------------


def test_roles_and_the_system_instruction() -> None:
    body = body_of(
        {"role": "system", "content": "Be short."},
        USER,
        {"role": "user", "content": "there"},
        {"role": "assistant", "content": "Yes?"},
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be short."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
            {"role": "model", "parts": [{"text": "Yes?"}]},
        ],
    }


def test_tool_calls_and_their_results() -> None:
    calls = [call("callgate-r-0", "f", '{"a": 1}'), call("own", "g", "{}")]
    contents = body_of(
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "callgate-r-0", "content": '{"t": 21}'},
        {"role": "tool", "tool_call_id": "own", "content": "21 degrees"},
    )["contents"]
    assert contents[1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"a": 1}}},
                {"functionCall": {"name": "g", "args": {}, "id": "own"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"t": 21}}},
                {"functionResponse": {"name": "g", "response": {"result": "21 degrees"}, "id": "own"}},
            ],
        },
    ]


def test_a_result_that_is_an_error_or_no_json_after_all() -> None:
    contents = body_of(
        USER,
        {"role": "assistant", "tool_calls": [call("a", "f", "{}"), call("b", "g", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "no such city", "is_error": True},
        {"role": "tool", "tool_call_id": "b", "content": "{cut"},
    )["contents"]
    responses = [part["functionResponse"]["response"] for part in contents[2]["parts"]]
    assert responses == [{"error": "no such city"}, {"result": "{cut"}]


def test_a_failed_tool_has_geminis_mark_of_an_error_whatever_it_wrote() -> None:
    failed = {"role": "tool", "tool_call_id": "a", "content": '{"code": 7}', "is_error": True}
    asked = {"role": "assistant", "tool_calls": [call("a", "f", "{}")]}
    response = body_of(USER, asked, failed)["contents"][2]["parts"][0]["functionResponse"]["response"]
    assert response == {"error": {"code": 7}}


PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}
INLINE = {"inlineData": {"mimeType": "image/png", "data": PNG}}


@pytest.mark.parametrize("model", [OLD, NEW])
def test_pictures_in_results_stand_where_the_model_takes_them(model: str) -> None:
    parts = sent(
        USER,
        {"role": "assistant", "tool_calls": [call("a", "f", "{}"), call("b", "g", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "See:"}, PICTURE, SOUND]},
        {"role": "tool", "tool_call_id": "b", "content": "1"},
        model=model,
    )["contents"][2]["parts"]
    first: dict[str, Any] = {"name": "f", "response": {"result": "See:"}, "id": "a"}
    second = {"functionResponse": {"name": "g", "response": {"result": "1"}, "id": "b"}}
    sound = {"inlineData": {"mimeType": "audio/wav", "data": "QUJD"}}
    if model == NEW:
        assert parts == [{"functionResponse": {**first, "parts": [INLINE]}}, second, sound]
    else:
        assert parts == [{"functionResponse": first}, second, INLINE, sound]


def test_late_system_message_keeps_its_place_as_marked_text() -> None:
    body = sent(USER, {"role": "system", "content": "Answer in French."})
    assert "systemInstruction" not in body
    assert body["contents"][0]["parts"] == [
        {"text": "Hi"},
        {"text": "<system>\nAnswer in French.\n</system>"},
    ]


def test_thoughts_of_another_model_are_left_out() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    content = [thinking, {"type": "text", "text": "Yes."}]
    assert sent(USER, {"role": "assistant", "content": content}, USER)["contents"][1]["parts"] == [
        {"text": "Yes."}
    ]


def test_a_result_of_no_call_is_refused() -> None:
    assert "answers no call" in refusal(USER, {"role": "tool", "tool_call_id": "x", "content": "1"})


def test_a_foreign_call_is_marked_as_unsigned_for_gemini_3() -> None:
    calls = [call("a", "f", "{}"), call("b", "g", "{}")]
    parts = body_of(USER, {"role": "assistant", "tool_calls": calls}, model=NEW)["contents"][1]["parts"]
    assert parts[0]["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in parts[1]


def test_a_signature_where_googles_own_openai_endpoint_puts_it() -> None:
    signed = call("a", "f", "{}", extra_content={"google": {"thought_signature": "sig="}})
    parts = body_of(USER, {"role": "assistant", "tool_calls": [signed]}, model=NEW)["contents"][1]["parts"]
    assert parts[0]["thoughtSignature"] == "sig="


def test_pictures_sounds_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg?x=1"}},
        {"type": "image_url", "image_url": {"url": "gs://bucket/picture"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        {"type": "file", "file": {"file_data": "QUJD", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:video/mp4;base64,QUJD", "filename": "a.mp4"}},
        {"type": "file", "file": {"file_id": "https://x/v1beta/files/abc"}},
        {"fileData": {"fileUri": "https://youtu.be/x"}},
    ]
    assert body_of({"role": "user", "content": parts})["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"fileData": {"fileUri": "https://example.com/a.jpg?x=1", "mimeType": "image/jpeg"}},
        {"fileData": {"fileUri": "gs://bucket/picture"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "QUJD"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}},
        {"inlineData": {"mimeType": "video/mp4", "data": "QUJD"}},
        {"fileData": {"fileUri": "https://x/v1beta/files/abc"}},
        {"fileData": {"fileUri": "https://youtu.be/x"}},
    ]


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([{"role": "system", "content": "only rules"}], "no message of the user"),
        ([{"role": "judge", "content": "x"}], "unknown role"),
        ([{"role": "user", "content": [{"type": "hologram"}]}], "'hologram'"),
        ([{"role": "user", "content": [{"type": "file", "file": {"file_data": "QUJD"}}]}], "its type"),
        ([{"role": "system", "content": [{"fileData": {}}]}], "text only"),
    ],
)
def test_what_cannot_be_said_is_refused(messages: list[Any], why: str) -> None:
    assert why in refusal(*messages)


# -- settings ------------------------------------------------------------------------------------------------


def test_settings_are_translated() -> None:
    body = body_of(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop="END",
        seed=7,
        n=2,
        presence_penalty=0.1,
        logprobs=True,
        top_logprobs=3,
        cached_content="cachedContents/1",
        safetySettings=[{"category": "c", "threshold": "BLOCK_NONE"}],
        generationConfig={"temperature": 0.6, "mediaResolution": "MEDIA_RESOLUTION_LOW"},
        user="u",
        parallel_tool_calls=True,
    )
    del body["contents"]
    assert body == {
        "cachedContent": "cachedContents/1",
        "safetySettings": [{"category": "c", "threshold": "BLOCK_NONE"}],
        "generationConfig": {
            "temperature": 0.6,
            "topP": 0.9,
            "topK": 40,
            "seed": 7,
            "candidateCount": 2,
            "presencePenalty": 0.1,
            "responseLogprobs": True,
            "logprobs": 3,
            "maxOutputTokens": 9,
            "stopSequences": ["END"],
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
        },
    }


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        (OLD, "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        (OLD, "high", {"thinkingBudget": 24_576, "includeThoughts": True}),
        (OLD, "none", {"thinkingBudget": 0}),
        (NEW, "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
        (NEW, "xhigh", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (NEW, "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
        (NEW, "medium", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (NEW, "none", {"thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-flash-latest", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
    ],
)
def test_reasoning_effort(model: str, effort: str, thinking: dict[str, Any]) -> None:
    body = body_of(model=model, reasoning_effort=effort)
    assert body["generationConfig"] == {"thinkingConfig": thinking}


def test_the_callers_own_thinking_config_goes_before_ours() -> None:
    body = body_of(reasoning_effort="low", thinking_config={"thinkingBudget": 5})
    assert body["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 5}}


def test_an_effort_that_is_unknown_or_that_the_model_lacks_is_refused() -> None:
    assert "extreme" in refusal(reasoning_effort="extreme")
    assert "does not think" in refusal(model="gemini-2.0-flash", reasoning_effort="low")
    assert "generationConfig" not in body_of(model="gemini-2.0-flash", reasoning_effort="none")


@pytest.mark.parametrize(
    ("tier", "written"),
    [
        ("auto", None),
        ("default", "standard"),
        ("standard_only", "standard"),
        ("flex", "flex"),
        ("priority", "priority"),
    ],
)
def test_service_tier_is_sent_in_googles_form(tier: str, written: str | None) -> None:
    assert sent(service_tier=tier).get("serviceTier") == written


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"service_tier": "scale"}, "no service_tier 'scale'"),
        ({"speed": "fast"}, "no speed"),
        ({"inference_geo": "us"}, "no inference_geo"),
        ({"betas": ["b"]}, "no betas"),
        ({"web_search_options": {"user_location": {"type": "approximate"}}}, "the place"),
        ({"web_search_options": {}, "tools": [TOOL]}, "no web search beside functions"),
        ({"modalities": ["audio"], "audio": {"format": "mp3"}}, "pcm16 only"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "custom tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, "is not Gemini's"),
        ({"extra_body": 1}, "an object"),
    ],
)
def test_fields_that_gemini_lacks_and_that_change_the_answer_are_refused(
    fields: dict[str, Any], why: str
) -> None:
    assert why in refusal(**fields)


def test_fields_that_change_nothing_are_left_out() -> None:
    mark = {"type": "ephemeral"}
    marked = {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": mark}]}
    assert sent(marked, cache_control=mark, speed="standard", modalities=["text"], user="u") == body_of()


def test_modalities_and_the_voice() -> None:
    body = sent(modalities=["text", "audio"], audio={"voice": "Kore", "format": "pcm16"})
    assert body["generationConfig"] == {
        "responseModalities": ["TEXT", "AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    assert sent(modalities=["image"])["generationConfig"] == {"responseModalities": ["IMAGE"]}


def test_web_search_is_googles() -> None:
    assert sent(web_search_options={"search_context_size": "low"})["tools"] == [{"googleSearch": {}}]
    body = sent(model=NEW, web_search_options={}, tools=[TOOL])
    assert body["tools"][1] == {"googleSearch": {}}
    assert body["toolConfig"] == {"includeServerSideToolInvocations": True}


def test_extra_body_is_sent_as_it_is() -> None:
    assert sent(extra_body={"cachedContent": "cachedContents/1"})["cachedContent"] == "cachedContents/1"


def test_the_form_of_the_answer() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    assert body_of(response_format=wanted)["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    assert body_of(response_format={"type": "json_object"})["generationConfig"] == {
        "responseMimeType": "application/json"
    }


FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}


def test_a_schema_beside_functions_is_the_input_of_a_function_before_gemini_3() -> None:
    body = sent(response_format=FORMAT, tools=[TOOL])
    assert "generationConfig" not in body
    functions = body["tools"][0]["functionDeclarations"]
    assert [function["name"] for function in functions] == ["f", "callgate_answer"]
    assert functions[1]["parametersJsonSchema"] == SCHEMA
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    new = sent(model=NEW, response_format=FORMAT, tools=[TOOL])
    assert new["generationConfig"]["responseJsonSchema"] == SCHEMA
    assert len(new["tools"][0]["functionDeclarations"]) == 1


@pytest.mark.parametrize(
    ("choice", "allowed"),
    [
        ("none", ["callgate_answer"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"name": "f"}]}, ["f", "callgate_answer"]),
        ({"type": "function", "name": "f"}, ["f"]),
    ],
)
def test_the_choice_among_functions_still_holds_beside_a_schema(choice: Any, allowed: list[str]) -> None:
    body = sent(response_format=FORMAT, tools=[TOOL], tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": allowed}}


def test_a_schema_beside_googles_tools_is_described_before_gemini_3() -> None:
    body = sent(
        {"role": "system", "content": "Be short."}, USER, response_format=FORMAT, web_search_options={}
    )
    assert "generationConfig" not in body
    system = body["systemInstruction"]["parts"]
    assert system[0] == {"text": "Be short."}
    assert '"city"' in system[1]["text"]


def test_an_answer_by_the_function_is_the_text_whole_or_streamed() -> None:
    call = {"name": "callgate_answer", "args": {"city": "Oslo"}}
    parts = [{"text": "Hm.", "thought": True}, {"functionCall": call, "thoughtSignature": "s"}]
    answer = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    whole = DIALECT.decode(json.dumps(answer).encode(), {})
    deltas, streamed = read_stream(DIALECT, [f"data: {json.dumps(answer)}\n\n".encode()], {})
    for response in (whole, streamed):
        assert (response.text, response.tool_calls, response.finish_reason) == ('{"city":"Oslo"}', [], "stop")
        assert response.metadata == {}
    assert "".join(delta.text for delta in deltas) == whole.text


def test_tools() -> None:
    bare = {
        "type": "function",
        "function": {"name": "now", "parameters": {"type": "object", "properties": {}}},
    }
    assert body_of(tools=[TOOL, bare, {"googleSearch": {}}])["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": SCHEMA},
                {"name": "now"},
            ]
        },
        {"googleSearch": {}},
    ]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "f"}},
            {"mode": "ANY", "allowedFunctionNames": ["f"]},
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
        ),
    ],
)
def test_tool_choice(choice: Any, config: dict[str, Any]) -> None:
    assert body_of(tools=[TOOL], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": config}
    if not isinstance(choice, dict):
        assert "toolConfig" not in body_of(tools=[{"googleSearch": {}}], tool_choice=choice)


# -- going on with what was answered -------------------------------------------------------------------------


def going_on(response: Any) -> dict[str, Any]:
    """The message of the assistant's that an answer becomes."""
    return {
        "role": "assistant",
        "content": response.text,
        "tool_calls": [
            call(found.id, found.name, json.dumps(found.arguments)) for found in response.tool_calls
        ],
        REPLAY: response.metadata[REPLAY],
    }


PARTS = [
    {"text": "Hm.", "thought": True},
    {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "sig="},
]


def test_signed_parts_go_back_exactly_as_they_came() -> None:
    answer = {"candidates": [{"content": {"parts": PARTS}, "finishReason": "STOP"}], "responseId": "r"}
    response = DIALECT.decode(json.dumps(answer).encode(), {})
    result = {"role": "tool", "tool_call_id": response.tool_calls[0].id, "content": "42"}
    assert body_of(USER, going_on(response), result, model=NEW)["contents"][1:] == [
        {"role": "model", "parts": PARTS},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "42"}}}]},
    ]


def test_streamed_parts_go_back_as_one_answer() -> None:
    chunks = [{"text": "H", "thought": True}, {"text": "m.", "thought": True}, PARTS[1]]
    told = [{"candidates": [{"content": {"parts": [part]}}]} for part in chunks]
    told.append({"candidates": [{"finishReason": "STOP"}]})
    _, response = read_stream(DIALECT, ["".join(f"data: {json.dumps(c)}\n\n" for c in told).encode()], {})
    assert response.metadata[REPLAY] == {"dialect": "gemini", "content": PARTS}


def test_an_id_that_is_made_here_is_the_same_whenever_the_answer_is_read() -> None:
    parts = [
        {"functionCall": {"name": "f", "args": {"a": 1}}},
        {"functionCall": {"name": "f", "args": {"a": 1}}},
    ]
    answer = json.dumps({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}).encode()
    first, again = (DIALECT.decode(answer, {}).tool_calls for _ in range(2))
    assert [found.id for found in first] == [found.id for found in again]
    assert first[0].id != first[1].id


def test_two_calls_with_one_id_get_ids_that_differ_plain_and_streamed() -> None:
    parts = [{"functionCall": {"id": "x", "name": "f", "args": {"a": a}}} for a in (1, 2)]
    chunk = json.dumps({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}).encode()
    streamed = read_stream(DIALECT, [b"data: " + chunk + b"\n\n"], {})[1]
    ids = [call.id for call in DIALECT.decode(chunk, {}).tool_calls]
    assert ids == [call.id for call in streamed.tool_calls]
    assert ids[0] == "x" != ids[1]


def test_a_text_that_is_a_list_is_no_text() -> None:
    parts: list[dict[str, Any]] = [{"text": "a"}, {"text": [["b"]]}, {"text": "c"}]
    told = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    _, response = read_stream(DIALECT, [f"data: {json.dumps(told)}\n\n".encode()], {})
    assert response.text == "ac"


def test_the_id_of_a_streamed_call_stays_although_the_answers_id_comes_later() -> None:
    told = [
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]},
        {"candidates": [{"finishReason": "STOP"}], "responseId": "late"},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in told).encode()
    deltas, response = read_stream(DIALECT, [body], {})
    assert deltas[0].tool_call is not None
    assert deltas[0].tool_call.id == response.tool_calls[0].id


def test_audio_tokens_are_counted_apart_where_reported() -> None:
    details = [{"modality": "TEXT", "tokenCount": 3}, {"modality": "AUDIO", "tokenCount": 40}, "odd"]
    heard = read_usage({"promptTokenCount": 43, "promptTokensDetails": details})
    assert (heard.input_tokens, heard.input_audio_tokens, heard.output_audio_tokens) == (43, 40, 0)
    spoken = read_usage({"candidatesTokenCount": 43, "candidatesTokensDetails": details})
    assert (spoken.output_tokens, spoken.output_audio_tokens) == (43, 40)
