"""Validate JSON schemas in requests: providers refuse a request with an invalid schema."""

from __future__ import annotations

from typing import Any

__all__ = ["schema_error"]

_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_SCHEMAS = ("items", "additionalProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_LEAST = ("minItems", "minLength", "minProperties")
_COUNTS = (*_LEAST, "maxItems", "maxLength", "maxProperties")
_MOST = 10_000
_DEEPEST = 60


def schema_error(schema: Any, where: str = "schema", depth: int = 0) -> str:
    """The first error in this schema and its location; empty when it is valid.

    >>> schema_error({"type": "object", "properties": {"a": {"type": "strin"}}})
    "schema.properties.a.type: 'strin' is not a type"
    """
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, dict):
        return f"{where}: a schema has to be an object"
    if depth > _DEEPEST:
        return f"{where}: nested too deeply"
    return _keyword_error(schema, where) or _nested_error(schema, where, depth + 1)


def _keyword_error(schema: dict[str, Any], where: str) -> str:
    """The first error in keywords that hold no schemas."""
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            return f"{where}.type: {kind!r} is not a type"
    for name in ("required", "enum"):
        given = schema.get(name, [""])
        if not isinstance(given, list) or (
            name == "required" and not all(isinstance(one, str) for one in given)
        ):
            return f"{where}.{name}: has to be a list"
    if schema.get("enum") == []:
        return f"{where}.enum: has to have a value in it"
    for name in ("$ref", "format"):
        if not isinstance(schema.get(name, ""), str):
            return f"{where}.{name}: has to be a string"
    for name in (*_NUMBERS, *_COUNTS):
        value = schema.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{where}.{name}: has to be a number"
        if name in _COUNTS and value < 0:
            return f"{where}.{name}: must not be negative"
        if name in _LEAST and value > _MOST:  # the simulator makes an instance of it
            return f"{where}.{name}: must not be above {_MOST}"
    if schema.get("multipleOf", 1) <= 0:
        return f"{where}.multipleOf: has to be above 0"
    return ""


def _nested_error(schema: dict[str, Any], where: str, depth: int) -> str:
    """The first error in nested schemas."""
    for name in _SCHEMAS:
        if name in schema and (fault := schema_error(schema[name], f"{where}.{name}", depth)):
            return fault
    for name in _LISTS:
        if name in schema:
            if not isinstance(schema[name], list) or not schema[name]:
                return f"{where}.{name}: has to be a list of schemas"
            for index, inner in enumerate(schema[name]):
                if fault := schema_error(inner, f"{where}.{name}[{index}]", depth):
                    return fault
    for name in _MAPS:
        if name in schema:
            if not isinstance(schema[name], dict):
                return f"{where}.{name}: has to be an object"
            for key, inner in schema[name].items():
                if fault := schema_error(inner, f"{where}.{name}.{key}", depth):
                    return fault
    return ""
