"""JSON schemas narrowed to what constrained decoding takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from callgate.schema.strict import strict_schema


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


def test_a_union_that_is_told_apart_by_a_field_is_a_plain_union() -> None:
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
