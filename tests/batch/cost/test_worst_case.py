"""No attempt can cost more than its worst case; what nothing bounds has none, and is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.batch.cost.worst_case import longest_answer, worst_case
from callgate.batch.input.rows import Row
from callgate.errors import InputError
from callgate.messages import Conversation
from callgate.model.model import iModel
from callgate.model.spread import Spread


def row(**more: Any) -> Row:
    return Row(0, 7, None, 1, {"messages": [{"role": "user", "content": "Hello!"}], **more})


def worst(model: Any, /, **more: Any) -> float:
    async def main() -> float:
        one = row(**more)
        return await worst_case(model, await model.create_calling(request_payload=one.request), one)

    return asyncio.run(main())


def model(price: float = 1.0, name: str = "m", **more: Any) -> iModel:
    prices = {"input": price, "output": 10 * price}
    return iModel(provider="openai", model=name, api_key="k", prices=prices, **more)


def test_the_worst_case_is_no_less_than_any_answer_can_cost() -> None:
    one = worst(model(), max_tokens=1000)
    assert one > (1000 * 10 + 6) / 1e6
    assert worst(model(), max_completion_tokens=1000) == pytest.approx(one, rel=0.01)
    assert worst(model(), max_tokens=1000, n=3) == pytest.approx(3 * one, rel=0.02)
    assert worst(model(), max_tokens=1000, tools=[{"type": "function", "x": "y" * 100_000}]) > one + 0.09
    cached = iModel(
        provider="openai", model="m", api_key="k", prices={"input": 1, "output": 1, "cache_write": 50}
    )
    marked = {"metadata": {"cache_control": "x" * 1000}}
    plain = {"metadata": {"x": "x" * 1000}}
    assert worst(cached, max_tokens=1, **marked) > 20 * worst(model(), max_tokens=1, **plain)


def test_of_several_models_the_dearest_counts() -> None:
    spread = Spread([model(1.0), model(5.0, "n")])
    assert worst(spread, max_tokens=1000) == pytest.approx(worst(model(5.0), max_tokens=1000), rel=0.01)


def test_of_several_models_each_is_priced_as_the_one_it_sends_to() -> None:
    # A spread's models answer with their own names, whatever the row says.
    spread = Spread(
        [iModel(provider="openai", model=name, api_key="k") for name in ("gpt-4o-mini", "gpt-4o")]
    )
    dear = iModel(provider="openai", model="gpt-4o", api_key="k")
    assert worst(spread, max_tokens=1000, model="gpt-4o-mini") == pytest.approx(
        worst(dear, max_tokens=1000), rel=0.01
    )


def test_a_spread_within_a_spread_and_a_fallback_count_too() -> None:
    dearest = worst(model(5.0), max_tokens=1000)
    inner = Spread([model(1.0), Spread([model(2.0), model(5.0, "n")])])
    assert worst(inner, max_tokens=1000) == pytest.approx(dearest, rel=0.01)
    falling = model(1.0, fallbacks=[model(2.0, "n"), model(5.0, "o")])
    assert worst(falling, max_tokens=1000) == pytest.approx(dearest, rel=0.01)
    # Who answers in the place of another brings no fallbacks of its own.
    assert worst(Spread([falling]), max_tokens=1000) == pytest.approx(dearest / 5, rel=0.01)


@pytest.mark.parametrize("spread", [False, True])
def test_an_answer_that_is_asked_for_again_reads_the_ones_before(spread: bool) -> None:
    schema = {"type": "object"}

    async def worst_with(schema: Any) -> float:
        one, asked = row(max_tokens=1000), Spread([model()]) if spread else model()
        calling = await asked.create_calling(request_payload=one.request, response_schema=schema)
        return await worst_case(asked, calling, one)

    more = asyncio.run(worst_with(schema)) - asyncio.run(worst_with(None))
    assert more > 2 * (1000 + 5000) / 1e6


def test_the_larger_of_two_bounds_counts() -> None:
    assert longest_answer({"max_tokens": 5, "max_completion_tokens": 50}) == 50
    assert longest_answer({"max_tokens": 50, "max_completion_tokens": 5, "n": 2}) == 100


@pytest.mark.parametrize("wrong", [0, -1, 10.5, "200", True])
def test_what_is_no_whole_number_above_0_bounds_nothing(wrong: Any) -> None:
    assert longest_answer({"max_tokens": wrong, "max_completion_tokens": None}) is None
    assert longest_answer({"max_tokens": 100, "max_completion_tokens": wrong}) is None
    assert longest_answer({"max_tokens": 100, "n": wrong}) is None
    with pytest.raises(InputError, match="line 7: a budget needs to know the longest answer"):
        worst(model(), max_tokens=100, n=wrong)


def test_what_cannot_be_bounded_is_refused_with_its_line() -> None:
    with pytest.raises(InputError, match="line 7: a budget needs to know the longest answer"):
        worst(model())
    unknown = iModel(provider="openai", model="a-model-nobody-prices", api_key="k")
    with pytest.raises(InputError, match="line 7: a budget needs to know the price of a-model-nobody-prices"):
        worst(unknown, max_tokens=5)


def test_what_costs_more_than_the_price_that_is_known_is_refused() -> None:
    for tier in ("auto", "default", "flex"):
        assert worst(model(), max_tokens=5, service_tier=tier) < 0.01
    with pytest.raises(
        InputError, match="line 7: a budget cannot bound what the service tier priority may cost"
    ):
        worst(model(), max_tokens=5, service_tier="priority")
    hour = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    with pytest.raises(InputError, match="kept for an hour"):
        worst(model(), **asking(hour))
    assert worst(model(), **asking({"type": "text", "text": 'It says "ttl":"1h".'})) > 0


def asking(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], "max_tokens": 10}


TEXT = {"type": "text", "text": "What is this?"}
PNG = "data:image/png;base64,"


def picture(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    "part",
    [
        picture("https://example.com/cat"),
        picture(PNG + "A" * 4_000_000),
        {"type": "image_url", "image_url": PNG + "A" * 4_000_000},
        {"type": "input_image", "image_url": PNG + "A" * 4_000_000, "detail": "high"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4_000_000}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat"}},
        {"type": "tool_result", "tool_use_id": "t", "content": [picture(PNG + "A" * 4_000_000)]},
        {"type": "document", "source": {"type": "content", "content": [picture(PNG + "A" * 4_000_000)]}},
    ],
)
def test_a_picture_counts_as_its_most_tokens_whatever_its_size(part: dict[str, Any]) -> None:
    more = worst(model(), **asking(TEXT, part)) - worst(model(), **asking(TEXT))
    assert 50_000 / 1e6 <= more < 50_300 / 1e6
    two = worst(model(), **asking(TEXT, part, part)) - worst(model(), **asking(TEXT))
    assert two == pytest.approx(2 * more)


@pytest.mark.parametrize(
    "part",
    [
        "a text of its own",
        {"type": "output_text", "text": "x" * 900},
        {"type": "tool_result", "tool_use_id": "t", "content": "x" * 900},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_text", "text": "x" * 900}],
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 900}},
        {"type": "thinking", "thinking": "x" * 900, "signature": "s"},
        {"text": "x" * 900, "thought": True},
        {"reasoningContent": {"reasoningText": {"text": "x" * 900}}},
    ],
)
def test_text_counts_as_its_bytes_wherever_it_stands(part: Any) -> None:
    more = worst(model(), **asking(TEXT, part)) - worst(model(), **asking(TEXT))
    assert len(str(part)) * 0.8 / 1e6 < more < len(str(part)) * 1.2 / 1e6


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            {"type": "document", "source": {"type": "url", "url": "https://x.com/a.pdf"}},
            "a part of type document",
        ),
        ({"type": "document", "source": {"type": "base64", "data": "JVBE"}}, "a part of type document"),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "a part of type document"),
        ({"type": "document"}, "a part of type document"),
        ({"type": "file", "file": {"file_id": "f"}}, "a part of type file"),
        ({"type": "input_file", "file_url": "https://x.com/a.pdf"}, "a part of type input_file"),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
            "a part of type input_audio",
        ),
        ({"type": "video_url", "video_url": {"url": "https://x.com/a.mp4"}}, "a part of type video_url"),
        ({"type": "item_reference", "id": "i"}, "a part of type item_reference"),
        (picture("data:application/pdf;base64,JVBE"), "a part of type image_url that is application/pdf"),
        (picture("data:;base64,JVBE"), "a part of type image_url that is text/plain"),
        ({"fileData": {"fileUri": "https://x.com/a"}}, "a part with fileData"),
        (1.5, "a part of type float"),
        ({"type": "tool_result", "content": [{"type": "document"}]}, "a part of type document"),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_file"}]},
            "a part of type input_file",
        ),
    ],
)
def test_a_part_that_only_its_reader_knows_the_size_of_is_refused(part: Any, told: str) -> None:
    with pytest.raises(InputError, match=f"line 7: a budget cannot bound what {told} may cost; leave it out"):
        worst(model(), **asking(TEXT, part))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("web_search_options", {"search_context_size": "low"}),
        ("mcp_servers", [{"url": "https://x.com"}]),
        ("generationConfig", {"maxOutputTokens": 100_000}),
        ("models", ["a-dear-one"]),
        ("modalities", ["text", "audio"]),
        ("tools", [{"type": "web_search_20250305", "name": "web_search"}]),
        ("tools", [{"googleSearch": {}}]),
        ("tools", [7]),
        ("prompt", {"id": "pmpt_1"}),
        ("messages", [{"role": "assistant", "audio": {"id": "audio_1"}}]),
        ("messages", [{"role": "assistant", "replay": {"dialect": "x", "content": [{"fileData": {}}]}}]),
    ],
)
def test_what_brings_in_more_than_it_says_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match="line 7: a budget cannot bound what .* may cost"):
        worst(model(), max_tokens=10, **{field: value})


def test_what_is_empty_or_plain_is_not() -> None:
    fields = {"previous_response_id": None, "modalities": ["text"], "prompt": "x", "input": None}
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
        {"type": "custom", "name": "g"},
        {"name": "h", "input_schema": {"type": "object"}},
        {"functionDeclarations": [{"name": "i"}]},
    ]
    replay = {"dialect": "x", "content": [{"type": "thinking", "thinking": "x"}]}
    said = [
        {"role": "assistant", "content": None, "replay": replay},
        {"role": "assistant", "content": "x", "replay": "odd"},
        {"role": "model", "parts": [{"text": "x"}]},
    ]
    assert worst(model(), max_tokens=10, tools=tools, messages=said, **fields) < 0.002


def test_messages_that_are_objects_count_as_what_they_say() -> None:
    moon = Conversation().add_message("user", "x" * 5000)
    more = worst(model(), messages=list(moon), max_tokens=10) - worst(model(), messages=[], max_tokens=10)
    assert 5000 / 1e6 <= more < 5200 / 1e6


def test_who_opens_any_address_is_given_pictures_alone() -> None:
    gemini = iModel(provider="gemini", model="m", api_key="k", prices={"input": 1, "output": 1})
    assert worst(gemini, **asking(picture("https://example.com/cat.png?size=1"))) > 50_000 / 1e6
    for film in ("https://youtu.be/dQw4", "https://example.com/film.mp4", "https://example.com/cat"):
        with pytest.raises(InputError, match="a part of type image_url that is"):
            worst(gemini, **asking(picture(film)))
        with pytest.raises(InputError, match="a part of type image_url that is"):
            worst(Spread([model(), gemini]), **asking(picture(film)))


@pytest.mark.parametrize("mark", [{"cache_control": {"type": "ephemeral"}}, None])
def test_a_mark_of_the_cache_inside_the_content_is_priced_as_writing_it(mark: Any) -> None:
    prices = {"input": 1, "output": 1, "cache_write": 50}
    writing = iModel(provider="openai", model="m", api_key="k", prices=prices)
    parts = [{**TEXT, **mark}] if mark else [TEXT, {"cachePoint": {"type": "default"}}]
    assert worst(writing, **asking(*parts)) > 20 * worst(writing, **asking(TEXT))
