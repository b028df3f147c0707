"""A JSON schema as constrained decoding takes it: a part of JSON Schema, with closed objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["strict_schema"]

_UNSUPPORTED = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "maxItems", "uniqueItems", "minProperties", "maxProperties",
    }
)  # fmt: skip
"""Bounds: not enforced while the answer is written, so they are told to the model in words."""
_INEXPRESSIBLE = frozenset(
    {"patternProperties", "propertyNames", "if", "then", "else", "not", "contains", "prefixItems",
     "unevaluatedProperties", "unevaluatedItems", "dependentSchemas", "dependentRequired"}
)  # fmt: skip
# `discriminator` only tells readers of OpenAPI which branch of a union to expect.
_DROPPED = frozenset({"$schema", "$id", "$comment", "examples", "discriminator"})
_MAX_DEPTH = 60


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema with every object closed and every bound turned into words; None when it cannot be said so.

    What cannot be said: objects with properties of any name (`additionalProperties`), recursion, conditions.

    >>> strict_schema({"type": "integer", "minimum": 1})
    {'type': 'integer', 'description': 'minimum: 1'}
    >>> strict_schema({"type": "object", "additionalProperties": {"type": "string"}})
    """
    if _is_recursive(schema):
        return None
    try:
        strict: dict[str, Any] = _strict(schema, 0)
        return strict
    except _Inexpressible:
        return None


class _Inexpressible(Exception):
    """The schema uses something that constrained decoding does not know."""


def _strict(schema: Any, depth: int) -> Any:
    if schema is True or schema == {}:
        raise _Inexpressible
    if not isinstance(schema, Mapping):
        return schema
    if depth > _MAX_DEPTH or not _INEXPRESSIBLE.isdisjoint(schema):
        raise _Inexpressible
    strict: dict[str, Any] = {}
    bounds: list[str] = []
    for name, value in schema.items():
        if name in _DROPPED:
            continue
        if name in _UNSUPPORTED or (name == "minItems" and value not in (0, 1)):
            bounds.append(f"{name}: {value}")
        elif name in ("properties", "$defs", "definitions"):
            strict[name] = {key: _strict(inner, depth + 1) for key, inner in value.items()}
        elif name in ("anyOf", "oneOf", "allOf"):
            strict["anyOf" if name == "oneOf" else name] = [_strict(inner, depth + 1) for inner in value]
        elif name == "items":
            strict[name] = _strict(value, depth + 1)
        elif name == "additionalProperties":
            if value is not False:
                raise _Inexpressible
        else:
            strict[name] = value
    if schema.get("type") == "object" or "properties" in schema:
        if "properties" not in schema and "additionalProperties" not in schema:
            raise _Inexpressible  # any object at all
        strict["additionalProperties"] = False
    if bounds:
        told = strict.get("description")
        strict["description"] = f"{told} ({', '.join(bounds)})" if told else ", ".join(bounds)
    return strict


def _is_recursive(schema: Mapping[str, Any]) -> bool:
    """Whether following its references ever leads back to where one has been."""
    definitions = {**_definitions(schema, "definitions"), **_definitions(schema, "$defs")}
    references = {name: _references(inner) for name, inner in definitions.items()}
    references["#"] = _references({k: v for k, v in schema.items() if k not in ("$defs", "definitions")})
    if "#" in {target for targets in references.values() for target in targets}:
        return True
    done: set[str] = set()

    def leads_back(name: str, path: frozenset[str]) -> bool:
        if name in path:
            return True
        if name in done:
            return False
        found = any(leads_back(target, path | {name}) for target in references.get(name, ()))
        done.add(name)
        return found

    return len(references) > 500 or any(leads_back(name, frozenset()) for name in references)


def _definitions(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = schema.get(name)
    return value if isinstance(value, Mapping) else {}


def _references(schema: Any) -> set[str]:
    """The names of the definitions it refers to, "#" for the whole."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            target = item.get("$ref")
            if type(target) is str:
                found.add(target.rpartition("/")[2])
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return found
