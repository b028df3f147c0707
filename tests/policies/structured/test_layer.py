from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel

from callgate.call.calling import Calling
from callgate.errors import InvalidAnswerError, ServerError
from callgate.policies.structured.layer import answer_format, find_json, structure_layer
from callgate.response import Response, ToolCall, Usage
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import Scripted, Streamed, attempted, calling, result_of


class Planet(BaseModel):
    name: str
    moons: int = 0


class System(BaseModel):
    star: Planet = Field(description="The one in the middle.")
    planets: list[Planet]
    home: Planet | None = None


FITS, MISFITS = '{"name": "Mars", "moons": 2}', '{"moons": "two"}'
ASKED = {"messages": [{"role": "user", "content": "Which planet?"}], "temperature": 0}


def asking(payload: Any = None, answer_type: Any = Planet) -> Calling:
    call = calling(payload=ASKED if payload is None else payload)
    call.answer_type = answer_type
    return call


def answered(*steps: Any, call: Calling | None = None, **settings: Any) -> tuple[Any, Calling, Scripted]:
    """What a structured call ends in, the calling, and the backend."""
    backend = Scripted(*steps)

    async def main() -> tuple[Any, Calling]:
        made = call or asking()
        return await result_of(structure_layer(**settings)(attempted(backend)), made), made

    outcome, made = run_virtual(main())
    return outcome, made, backend


def test_a_call_without_an_answer_type_is_left_alone() -> None:
    async def main() -> None:
        response = await structure_layer()(Scripted("any text"))(calling())
        assert response.text == "any text"
        assert response.parsed is None

    run_virtual(main())


@pytest.mark.parametrize(
    "text",
    [
        FITS,
        f"\n  {FITS}\n",
        f"```json\n{FITS}\n```",
        f"Sure! Here it is: {FITS}. Anything else?",
        f"The set {{a, b}} aside: {FITS}",
        f'First a draft {{"draft": 1}}, then {FITS}',
        FITS.replace("}", " ,\n}"),
        f"```json\n{FITS.replace('}', ',}')}\n```",
        json.dumps(FITS),
    ],
)
def test_an_answer_that_fits_is_parsed_whatever_stands_around_it(text: str) -> None:
    outcome, _, backend = answered(text)
    assert outcome.parsed == Planet(name="Mars", moons=2)
    assert len(backend.at) == 1


def test_an_answer_that_does_not_fit_is_asked_again_with_what_is_wrong() -> None:
    outcome, _, backend = answered(MISFITS, FITS)
    assert outcome.parsed == Planet(name="Mars", moons=2)
    assert backend.payloads[0] == ASKED
    again = backend.payloads[1]
    assert again["temperature"] == 0
    assert again["messages"][:1] == ASKED["messages"]
    answer, complaint = again["messages"][1:]
    assert answer == {"role": "assistant", "content": MISFITS}
    assert complaint["role"] == "user"
    assert "- name: " in complaint["content"]
    assert "- moons: " in complaint["content"]


def test_the_encoded_question_is_not_sent_again_for_the_next_ask() -> None:
    wires = []

    async def encoding(call: Calling) -> Response:
        wires.append(call.encoded(encoding))
        call.note_request("", encoder=encoding, wire=b"encoded")
        return Response(text=FITS if len(wires) == 2 else MISFITS)

    async def main() -> None:
        await structure_layer()(encoding)(asking())

    run_virtual(main())
    assert wires == [None, None]


def test_each_new_ask_starts_from_the_question_and_shows_the_latest_answer_only() -> None:
    outcome, _, backend = answered(MISFITS, "no JSON at all", FITS)
    assert isinstance(outcome, Response)
    assert [len(payload["messages"]) for payload in backend.payloads] == [1, 3, 3]
    assert backend.payloads[2]["messages"][1]["content"] == "no JSON at all"
    assert "- the answer: " in backend.payloads[2]["messages"][2]["content"]


def test_an_empty_answer_is_asked_again_too() -> None:
    _, _, backend = answered("", FITS)
    assert backend.payloads[1]["messages"][1]["content"] == "(nothing)"


def test_after_the_last_ask_the_error_has_type_and_problem() -> None:
    outcome, call, backend = answered(MISFITS, max_asks=3)
    assert isinstance(outcome, InvalidAnswerError)
    assert "Planet" in str(outcome)
    assert "3 asks" in str(outcome)
    assert "name: " in str(outcome)
    assert call.request_id in str(outcome)
    assert not outcome.retryable
    assert len(backend.at) == 3


@pytest.mark.parametrize(("finish", "why"), [("length", "max_tokens"), ("content_filter", "withheld")])
def test_what_was_cut_off_or_withheld_would_be_so_again(
    finish: Literal["length", "content_filter"], why: str
) -> None:
    outcome, _, backend = answered(Response(text='{"name": "Ma', finish_reason=finish))
    assert isinstance(outcome, InvalidAnswerError)
    assert why in str(outcome)
    assert "1 ask;" in str(outcome)
    assert len(backend.at) == 1


def test_all_asks_are_counted_in_the_usage() -> None:
    steps = [Response(text=text, usage=Usage(10, 5)) for text in (MISFITS, MISFITS, FITS)]
    outcome, call, _ = answered(*steps)
    assert call.usage == Usage(30, 15)
    assert outcome.usage == Usage(10, 5)


def test_an_answer_without_usage_or_from_the_cache_adds_nothing_to_what_was_spent() -> None:
    call: Calling | None = None

    async def from_cache(made: Calling) -> Response:
        made.cached = made.payload is ASKED
        return Response(text=MISFITS if made.payload is ASKED else FITS, usage=Usage(10, 5))

    async def main() -> None:
        nonlocal call
        call = asking()
        await structure_layer()(from_cache)(call)

    run_virtual(main())
    assert call is not None
    assert call.attempts == []
    assert not call.cached
    _, silent, _ = answered(MISFITS, FITS)
    assert silent.usage is None


def test_what_was_spent_is_kept_when_a_later_ask_fails() -> None:
    down = ServerError("down")
    outcome, call, _ = answered(Response(text=MISFITS, usage=Usage(10, 5)), down)
    assert outcome is down
    assert call.usage == Usage(10, 5)


def test_a_stream_that_was_delivered_is_not_asked_again() -> None:
    async def main() -> None:
        async def sink(_: object) -> None:
            pass

        backend = Scripted(Streamed((MISFITS,), MISFITS))
        call = asking()
        call.sink = sink
        assert isinstance(await result_of(structure_layer()(backend), call), InvalidAnswerError)
        assert len(backend.at) == 1

    run_virtual(main())


def test_an_answer_that_calls_tools_is_passed_on_as_it_is() -> None:
    response = Response(text="", tool_calls=[ToolCall("1", "look_up")])
    outcome, _, _ = answered(response)
    assert outcome is response
    assert outcome.parsed is None


@pytest.mark.parametrize(
    ("payload", "name", "first"),
    [
        ({"prompt": "Which planet?"}, "prompt", "Which planet?"),
        ({"input": "Which planet?"}, "input", [{"role": "user", "content": "Which planet?"}]),
        ({"input": [{"role": "user", "content": "?"}]}, "input", [{"role": "user", "content": "?"}]),
        ({"messages": "Which planet?"}, "messages", [{"role": "user", "content": "Which planet?"}]),
    ],
)
def test_every_form_of_a_question_can_be_asked_again(payload: Any, name: str, first: Any) -> None:
    backend = Scripted(MISFITS, FITS)

    async def main() -> None:
        await structure_layer()(backend)(asking(payload))

    run_virtual(main())
    again = backend.payloads[1][name]
    assert again[: len(first)] == first
    assert MISFITS in str(again)


def test_a_question_of_unknown_form_is_simply_asked_again() -> None:
    backend = Scripted(MISFITS, FITS)

    async def main() -> None:
        await structure_layer()(backend)(asking({"question": "Which planet?"}))

    run_virtual(main())
    assert backend.payloads == [{"question": "Which planet?"}] * 2


def test_find_json_gives_the_outermost_values_in_their_order() -> None:
    text = 'a {"b": {"c": [1, "}"]}} d [2, {"e": 3}] f {broken [4]'
    assert list(find_json(text)) == ['{"b": {"c": [1, "}"]}}', '[2, {"e": 3}]', "[4]"]


@pytest.mark.parametrize("wrapped", ["{}", "Sure!\n```json\n{}\n```"])
def test_line_ends_within_strings_are_no_reason_to_ask_again(wrapped: str) -> None:
    outcome, call, _ = answered(wrapped.replace("{}", '{"name": "Ma\n\trs", "moons": 2}'))
    assert outcome.parsed == Planet(name="Ma\n\trs", moons=2)
    assert len(call.attempts) == 1


def test_find_json_gives_up_on_text_made_to_keep_it_busy() -> None:
    assert list(find_json("[" * 100_000)) == []


def test_the_format_is_closed_and_strict_where_the_schema_allows_it() -> None:
    made = answer_format(System)["json_schema"]
    assert made["name"] == "System"
    assert made["strict"] is True
    assert made["schema"]["required"] == ["star", "planets", "home"]
    assert made["schema"]["additionalProperties"] is False
    planet = made["schema"]["$defs"]["Planet"]
    assert planet["required"] == ["name", "moons"]
    assert "default" not in planet["properties"]["moons"]
    assert made["schema"]["properties"]["star"] == {"$ref": "#/$defs/Planet"}


def test_the_items_of_a_list_are_closed_too() -> None:
    class Sky(BaseModel):
        planets: list[Annotated[Planet, Field(description="One of them.")]]

    schema = answer_format(Sky)["json_schema"]["schema"]
    assert schema["properties"]["planets"]["items"] == {"$ref": "#/$defs/Planet"}


class Branch(BaseModel):
    leaves: int
    branches: list[Branch] = []


def test_a_recursive_model_is_asked_for_as_an_object() -> None:
    schema = answer_format(Branch)["json_schema"]["schema"]
    assert schema["type"] == "object"
    assert set(schema["properties"]) == {"leaves", "branches"}
    assert schema["$defs"]["Branch"]["properties"]["branches"]["items"] == {"$ref": "#/$defs/Branch"}


def test_the_format_is_sent_as_it_is_where_the_schema_cannot_be_closed() -> None:
    class Anything(BaseModel):
        facts: dict[str, int]

    made = answer_format(Anything)["json_schema"]
    assert "strict" not in made
    assert made["schema"] == Anything.model_json_schema()


def test_the_name_of_a_generic_model_is_made_fit_for_providers() -> None:
    made = type("Planet[int]", (Planet,), {"__annotations__": {}})
    assert answer_format(made)["json_schema"]["name"] == "Planet_int_"


@pytest.mark.parametrize("wrong", [dict, "Planet", RootModel[list[int]]])
def test_what_is_no_model_of_an_object_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="response_model"):
        answer_format(wrong)


DRAFT, FINAL = '{"name": "draft", "moons": 99}', '{"name": "final", "moons": 1}'


@pytest.mark.parametrize(
    "text",
    [
        f"<think>Perhaps {DRAFT}? No.</think>\n\n{FINAL}",
        f"<thinking>\n{DRAFT}\n</thinking>{FINAL}",
        f"<THINK>{DRAFT}</THINK>{FINAL}",
        f"<think>{DRAFT}</think>Hm.<think>{DRAFT}</think>{FINAL}",
        f"Perhaps {DRAFT}? No.\n</think>\n{FINAL}",
        f"My first idea was {DRAFT}, but that is wrong.\n```json\n{FINAL}\n```",
        f"```json\n{FINAL}\n```\nMy first idea was {DRAFT}.",
        f"```json\n{DRAFT}\n```\nNo:\n```json\n{FINAL}\n```",
        f"First {DRAFT}, then {FINAL}.",
        f'First {DRAFT}, then {FINAL}; see [1] and {{"note": 2}}.',
        f"{FINAL}\n<think>{DRAFT}",
    ],
)
def test_a_draft_is_not_the_answer(text: str) -> None:
    outcome, _, _ = answered(text)
    assert outcome.parsed.name == "final"


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{DRAFT}</think>I do not know.",
        f"<think>{DRAFT}",
        f"First {DRAFT}, then {MISFITS}.",
        f"<think>{DRAFT}</think>{MISFITS}",
        f"{DRAFT}\n```json\n{MISFITS}\n```",
    ],
)
def test_a_draft_never_stands_in_for_an_answer_that_does_not_fit(text: str) -> None:
    outcome, _, backend = answered(text, FITS)
    assert outcome.parsed.name == "Mars"
    assert len(backend.payloads) == 2


def test_tags_within_an_answer_are_part_of_it() -> None:
    outcome, _, _ = answered('{"name": "<think>Mars</think>", "moons": 2}')
    assert outcome.parsed.name == "<think>Mars</think>"
