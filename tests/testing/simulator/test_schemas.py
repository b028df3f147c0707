"""Invalid JSON schemas are found, with the place of the error."""

from __future__ import annotations

import pytest

from callgate.testing.simulator.schemas import schema_error

DEEP: dict = {}
for _ in range(100):
    DEEP = {"items": DEEP}


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        ("object", "schema: a schema has to be an object"),
        ({"type": "strin"}, "schema.type: 'strin' is not a type"),
        ({"type": ["string", 3]}, "schema.type: 3 is not a type"),
        ({"required": "name"}, "schema.required: has to be a list"),
        ({"enum": []}, "schema.enum: has to have a value in it"),
        ({"$ref": 3}, "schema.$ref: has to be a string"),
        ({"minimum": "0"}, "schema.minimum: has to be a number"),
        ({"minLength": -1}, "schema.minLength: must not be negative"),
        ({"minItems": 10**9}, "schema.minItems: must not be above 10000"),
        ({"multipleOf": 0}, "schema.multipleOf: has to be above 0"),
        ({"anyOf": []}, "schema.anyOf: has to be a list of schemas"),
        ({"properties": []}, "schema.properties: has to be an object"),
        ({"properties": {"a": {"type": "x"}}}, "schema.properties.a.type: 'x' is not a type"),
        ({"anyOf": [True, {"items": 3}]}, "schema.anyOf[1].items: a schema has to be an object"),
        ({"additionalProperties": {"type": 1}}, "schema.additionalProperties.type: 1 is not a type"),
    ],
)
def test_an_error_names_its_place(schema, error):
    assert schema_error(schema) == error


def test_nesting_is_bounded():
    assert schema_error(DEEP).endswith("nested too deeply")


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "OBJECT"},
        {"type": ["string", "null"], "enum": [None, "a"]},
        {"items": {"minimum": 0.5}},
    ],
)
def test_a_valid_schema_has_no_error(schema):
    assert schema_error(schema) == ""
