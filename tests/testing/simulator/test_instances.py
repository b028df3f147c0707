"""Instances drawn from a JSON schema satisfy it."""

from __future__ import annotations

import random

import orjson

from callgate.testing.simulator.instances import instance_of


def instances(schema, count=30):
    return [instance_of(schema, random.Random(seed)) for seed in range(count)]


def test_instances_of_objects_have_what_is_required():
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 30, "maxLength": 40},
            "age": {"type": "integer", "minimum": 18, "exclusiveMaximum": 20},
            "mood": {"enum": ["good", "bad"]},
            "kind": {"const": "person"},
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "uniqueItems": True},
            "height": {"type": ["number", "null"], "minimum": 1, "maximum": 2},
        },
        "required": ["name", "age", "mood", "kind", "tags", "height", "undeclared"],
    }
    for made in instances(schema):
        assert 30 <= len(made["name"]) <= 40
        assert made["age"] in (18, 19)
        assert made["mood"] in ("good", "bad")
        assert made["kind"] == "person"
        assert len(made["tags"]) == len(set(made["tags"])) >= 2
        assert 1 <= made["height"] <= 2
        assert "undeclared" in made


def test_instances_follow_references_and_alternatives():
    schema = {
        "$defs": {
            "city": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
            "node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["children"],
            },
        },
        "type": "object",
        "properties": {
            "where": {"anyOf": [{"$ref": "#/$defs/city"}, {"type": "null"}]},
            "tree": {"$ref": "#/$defs/node"},
            "all": {
                "allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]
            },
        },
        "required": ["where", "tree", "all"],
    }
    for made in instances(schema):
        assert isinstance(made["where"]["name"], str)
        assert isinstance(made["tree"]["children"], list)
        assert isinstance(made["all"]["a"], int)


def test_a_recursive_schema_terminates():
    loop = {"$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}}
    assert orjson.dumps(instance_of({**loop, "$ref": "#/$defs/a"}, random.Random(1)))


def test_multiples_and_formats():
    for made in instances({"type": "integer", "minimum": 7, "maximum": 30, "multipleOf": 5}):
        assert made in (10, 15, 20, 25, 30)
    assert len(instance_of({"type": "string", "format": "uuid"}, random.Random(1))) == 36
