"""JSON schemas narrowed to what constrained decoding takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from callgate.schema.strict import strict_answer_schema, strict_schema, with_plain_root


class Street(BaseModel):
    name: str = Field(min_length=1)
    number: int | None = Field(default=None, ge=1, description="The house.")


class Place(BaseModel):
    """A place."""

    city: str
    streets: list[Street] = Field(max_length=3)


class Node(BaseModel):
    children: list[Node] = []


class Open(BaseModel):
    counts: dict[str, int]


def test_a_pydantic_models_schema_is_closed_and_its_bounds_become_words() -> None:
    strict = strict_schema(Place.model_json_schema())
    assert strict is not None
    assert strict["additionalProperties"] is False
    assert strict["properties"]["streets"]["description"] == "maxItems: 3"
    assert "maxItems" not in strict["properties"]["streets"]
    street = strict["$defs"]["Street"]
    assert street["additionalProperties"] is False
    assert street["properties"]["name"] == {"type": "string", "title": "Name", "description": "minLength: 1"}
    number = street["properties"]["number"]
    assert number["description"] == "The house."
    assert number["anyOf"][0] == {"type": "integer", "description": "minimum: 1"}


def test_the_callers_schema_is_not_changed() -> None:
    schema = Place.model_json_schema()
    strict_schema(schema)
    assert schema == Place.model_json_schema()


def test_a_bound_joins_a_description_that_is_there() -> None:
    schema = {"type": "integer", "maximum": 9, "description": "A digit."}
    assert strict_schema(schema) == {"type": "integer", "description": "A digit. (maximum: 9)"}


def test_one_of_becomes_any_of_and_few_items_stay() -> None:
    assert strict_schema({"oneOf": [{"type": "string"}, {"type": "null"}]}) == {
        "anyOf": [{"type": "string"}, {"type": "null"}]
    }
    assert strict_schema({"type": "array", "items": {"type": "string"}, "minItems": 1}) == {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
    }


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    names = {name: {"type": "string"} for name in ("minimum", "not", "properties", "$schema")}
    strict = strict_schema({"type": "object", "properties": names})
    assert strict is not None
    assert strict["properties"] == names


@pytest.mark.parametrize(
    "schema",
    [
        Node.model_json_schema(),
        Open.model_json_schema(),
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"self": {"$ref": "#"}}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        {"type": "object", "patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False},
        {"if": {"type": "string"}, "then": {"type": "string"}},
        {"type": "array", "prefixItems": [{"type": "string"}]},
    ],
)
def test_what_cannot_be_said_is_not_said_differently(schema: dict[str, Any]) -> None:
    assert strict_schema(schema) is None


def test_a_definition_that_is_used_twice_is_no_recursion() -> None:
    schema = {
        "type": "object",
        "$defs": {"a": {"type": "string"}, "b": {"items": {"$ref": "#/$defs/a"}, "type": "array"}},
        "properties": {"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/$defs/b"}},
    }
    assert strict_schema(schema) is not None


def test_a_schema_as_deep_as_a_well_is_given_up() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    assert strict_schema(schema) is None


def test_a_discriminated_union_becomes_a_plain_union() -> None:
    class Cat(BaseModel):
        kind: Literal["cat"]
        lives: int

    class Dog(BaseModel):
        kind: Literal["dog"]
        tricks: list[str]

    class Owner(BaseModel):
        pet: Annotated[Cat | Dog, Field(discriminator="kind")]

    schema = strict_schema(Owner.model_json_schema())
    assert schema is not None
    pet = schema["properties"]["pet"]
    assert pet.keys() == {"anyOf", "title"}
    assert pet["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "format": "uri"}, "format: uri"),
        ({"type": "string", "format": "binary"}, "format: binary"),
        ({"type": "string", "pattern": "^(?=.*[0-9])[a-z]+$"}, "pattern: ^(?=.*[0-9])[a-z]+$"),
        ({"type": "string", "pattern": "(?<!a)b"}, "pattern: (?<!a)b"),
        ({"type": "string", "pattern": r"(a)\1"}, r"pattern: (a)\1"),
        ({"type": "string", "pattern": "(?P<x>a)"}, "pattern: (?P<x>a)"),
        ({"type": "string", "pattern": "(?i)a"}, "pattern: (?i)a"),
    ],
)
def test_forms_that_strict_mode_refuses_become_words(schema: dict[str, Any], words: str) -> None:
    assert strict_schema(schema) == {"type": "string", "description": words}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date-time"},
        {"type": "string", "pattern": "^(?:a|b)+$"},
        {"type": ["string", "null"]},
        {"type": "string", "enum": ["a", "b"]},
    ],
)
def test_what_strict_mode_takes_stays(schema: dict[str, Any]) -> None:
    assert strict_schema(schema) == schema


def test_what_only_describes_is_dropped() -> None:
    schema = {
        "type": "string", "default": "a", "examples": ["b"], "deprecated": True, "contentEncoding": "base64",
        "x-mine": 1, "$comment": "no", "title": "T", "description": "D",
    }  # fmt: skip
    assert strict_schema(schema) == {"type": "string", "title": "T", "description": "D"}


def test_nothing_stands_beside_a_reference() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A", "description": "An A.", "default": "x"}},
        "$defs": {"A": {"type": "string", "default": "x"}},
    }
    strict = strict_schema(schema)
    assert strict is not None
    assert strict["properties"] == {"a": {"$ref": "#/$defs/A"}}
    assert strict["$defs"] == {"A": {"type": "string"}}


def test_a_single_all_of_is_merged_and_several_cannot_be_expressed() -> None:
    part = {"type": "string", "minLength": 1}
    assert strict_schema({"allOf": [part], "title": "T"}) == {
        "title": "T",
        "type": "string",
        "description": "minLength: 1",
    }
    assert strict_schema({"allOf": [part, {"type": "string"}]}) is None


@pytest.mark.parametrize(
    ("schema", "kind"),
    [({"enum": ["a"]}, "string"), ({"const": 1}, "integer"), ({"const": True}, "boolean")],
)
def test_values_alone_are_given_their_type(schema: dict[str, Any], kind: str) -> None:
    assert strict_schema(schema) == {**schema, "type": kind}


@pytest.mark.parametrize(
    "inner",
    [
        {}, {"title": "Anything"}, True, False, {"type": "array"}, {"type": "array", "items": {}},
        {"type": "object"}, {"type": ["array", "null"]}, {"not": {"type": "string"}},
    ],
)  # fmt: skip
def test_values_of_any_kind_cannot_be_expressed(inner: Any) -> None:
    assert strict_schema({"type": "object", "properties": {"it": inner}}) is None


def test_every_property_is_required_where_that_is_asked_for() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {"a": {"anyOf": [inner, {"type": "null"}]}, "c": {"$ref": "#/$defs/C"}},
        "$defs": {"C": inner},
    }
    strict = strict_schema(schema, require_all=True)
    assert strict is not None
    assert strict["required"] == ["a", "c"]
    assert strict["properties"]["a"]["anyOf"][0]["required"] == strict["$defs"]["C"]["required"] == ["b"]
    assert "required" not in (strict_schema(schema) or {})


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"type": "object", "properties": {}}]},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {}}}},
        {"type": "string"},
    ],
)
def test_an_answer_whose_root_is_no_plain_object_is_not_strict(schema: dict[str, Any]) -> None:
    assert strict_schema(schema) is not None
    assert strict_answer_schema(schema) is None


CHAIN = {"A": {"$ref": "#/definitions/B"}, "B": {"type": "object"}}
RECURSIVE = {"Node": {"type": "object", "properties": {"kids": {"items": {"$ref": "#/$defs/Node"}}}}}


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({"$ref": "#/$defs/Node", "$defs": RECURSIVE}, {"$defs": RECURSIVE, **RECURSIVE["Node"]}),
        ({"$ref": "#/definitions/A", "definitions": CHAIN}, {"definitions": CHAIN, "type": "object"}),
        ({"type": "object"}, {"type": "object"}),
        ({"$ref": "#/$defs/Missing"}, {"$ref": "#/$defs/Missing"}),
        ({"$ref": "#"}, {"$ref": "#"}),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, None),
    ],
)
def test_a_reference_at_the_root_gives_way_to_what_it_refers_to(schema: Any, plain: Any) -> None:
    read = with_plain_root(schema)
    assert plain is None or read == plain
