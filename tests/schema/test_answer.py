"""Answers held to a JSON schema: compiled once, nothing fetched, told to the model as it can be kept."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from callgate.errors import ConfigurationError, InvalidAnswerError
from callgate.policies.structured.layer import structure_layer
from callgate.response import Response
from callgate.schema.answer import AnswerSchema, MisfitError, schema_name, to_answer_schema
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import Scripted, calling, result_of

PLANET: dict[str, Any] = {
    "title": "Planet of ours",
    "type": "object",
    "properties": {"name": {"type": "string"}, "moons": {"type": "integer", "minimum": 0}},
    "required": ["name", "moons"],
}
FITS, MISFITS = '{"name": "Mars", "moons": 2}', '{"name": "Mars", "moons": -1}'


def told(schema: AnswerSchema) -> Any:
    assert schema.format["type"] == "json_schema"
    return schema.format["json_schema"]


# --- the schema -----------------------------------------------------------------------------------------


def test_a_schema_that_can_be_kept_to_exactly_is_strict_and_closed() -> None:
    format_ = told(AnswerSchema(PLANET))
    assert format_["strict"] is True
    assert format_["name"] == "Planet_of_ours"
    assert format_["schema"]["additionalProperties"] is False
    assert format_["schema"]["required"] == ["name", "moons"]


@pytest.mark.parametrize(
    "change",
    [
        {"required": ["name"]},  # strict decoding would have the model invent the other
        {"properties": {**PLANET["properties"], "more": {"type": "object", "properties": {"a": {}}}}},
        {"properties": {**PLANET["properties"], "list": {"anyOf": [{"properties": {"a": {}}}]}}},
        {"additionalProperties": {"type": "string"}},
    ],
)
def test_any_other_is_sent_as_it_is(change: dict[str, Any]) -> None:
    schema = {**PLANET, **change}
    schema["required"] = [*schema["required"], *(set(schema["properties"]) - {"name", "moons"})]
    assert told(AnswerSchema(schema)) == {"name": "Planet_of_ours", "schema": schema}


def test_a_reference_at_the_root_is_sent_as_the_object_it_refers_to() -> None:
    schema = AnswerSchema({"$ref": "#/$defs/Planet", "$defs": {"Planet": PLANET}})
    assert told(schema)["schema"]["type"] == "object"
    assert schema.read(FITS) == {"name": "Mars", "moons": 2}


def test_the_wrappers_of_requests_are_taken_off() -> None:
    wrapped = {"name": "planet", "strict": True, "schema": PLANET}
    for given in (wrapped, {"type": "json_schema", "json_schema": wrapped}):
        assert told(AnswerSchema(given))["name"] == "planet"
        assert AnswerSchema(given).read(FITS) == {"name": "Mars", "moons": 2}
    assert AnswerSchema({"name": 7, "schema": PLANET}).name == "Planet_of_ours"


def test_a_property_called_schema_is_no_wrapper() -> None:
    schema = {"type": "object", "properties": {"schema": {"type": "integer"}}, "schema": {"x": 1}}
    assert AnswerSchema(schema).read('{"schema": 1}') == {"schema": 1}


def test_its_name_is_the_given_one_the_title_or_none_in_particular() -> None:
    untitled = {"type": "object"}
    assert AnswerSchema(PLANET, "mine").name == "mine"
    assert AnswerSchema(untitled).name == "answer"
    assert len(schema_name("x" * 100)) == 64
    assert repr(AnswerSchema(PLANET)) == "<AnswerSchema 'Planet_of_ours'>"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objct"}, 'this is no JSON schema: type: "objct" is not valid'),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, r"properties\.a\.pattern"),
        ({"$ref": "#/nowhere"}, "the schema: Pointer '/nowhere' does not exist"),
        ({"$schema": "https://example.com/own"}, "Unknown meta-schema"),
        ({"type": "array"}, "is of type array; providers answer with objects"),
        ({"type": "json_schema"}, "it is an object, not NoneType"),
        ([1], "it is an object, not list"),
    ],
)
def test_what_cannot_be_asked_for_is_one_clear_error(schema: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        to_answer_schema(schema)


def test_what_json_does_not_know_is_no_schema() -> None:
    with pytest.raises(ConfigurationError, match="no JSON schema"):
        to_answer_schema({"type": "object", "enum": {1, 2}})


def test_nothing_is_fetched() -> None:
    with pytest.raises(ConfigurationError, match="schemas are not fetched; put http://127"):
        AnswerSchema({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/a.json"}}})


def test_the_same_schema_is_compiled_once() -> None:
    first = to_answer_schema(PLANET)
    assert to_answer_schema(json.loads(json.dumps(PLANET))) is first
    assert to_answer_schema(first) is first


def test_a_long_problem_is_cut() -> None:
    schema = AnswerSchema({"type": "object", "properties": {"a": {"type": "integer"}}})
    with pytest.raises(MisfitError) as caught:
        schema.read(json.dumps({"a": "x" * 10_000}))
    (problem,) = caught.value.problems
    assert problem.startswith('a: "xxx')
    assert problem.endswith('is not of type "integer"')
    assert len(problem) < 400


def test_at_most_ten_problems_are_reported() -> None:
    schema = AnswerSchema({"type": "object", "additionalProperties": {"type": "integer"}})
    with pytest.raises(MisfitError) as caught:
        schema.read(json.dumps({str(n): "x" for n in range(50)}))
    assert len(caught.value.problems) == 10


def test_the_validator_is_loaded_with_the_first_schema_and_not_before() -> None:
    program = "import sys, callgate.model.model; print('jsonschema_rs' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


# --- in the layer ---------------------------------------------------------------------------------------


def answered(*steps: Any) -> tuple[Any, Scripted]:
    backend = Scripted(*steps)

    async def main() -> Any:
        call = calling(payload={"messages": [{"role": "user", "content": "Which planet?"}]})
        call.answer_type = to_answer_schema(PLANET)
        return await result_of(structure_layer()(backend), call)

    return run_virtual(main()), backend


@pytest.mark.parametrize("text", [FITS, f"```json\n{FITS}\n```", f"[1] is no planet, but {FITS} is."])
def test_an_answer_that_fits_is_given_as_plain_data(text: str) -> None:
    outcome, backend = answered(text)
    assert isinstance(outcome, Response)
    assert outcome.parsed == {"name": "Mars", "moons": 2}
    assert len(backend.at) == 1


def test_an_answer_that_does_not_fit_is_asked_for_again_with_what_is_wrong() -> None:
    outcome, backend = answered("Mars", MISFITS, FITS)
    assert isinstance(outcome, Response)
    assert "the answer: is no JSON" in backend.payloads[1]["messages"][-1]["content"]
    assert "- moons: -1 is less than the minimum of 0" in backend.payloads[2]["messages"][-1]["content"]


def test_after_three_asks_the_error_names_the_schema_and_the_problem() -> None:
    outcome, backend = answered(MISFITS)
    assert isinstance(outcome, InvalidAnswerError)
    assert "no answer fitted Planet_of_ours in 3 asks; the last: moons: -1 is less" in str(outcome)
    assert len(backend.at) == 3
