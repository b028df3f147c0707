"""Converts a JSON schema to the subset that constrained decoding supports, with closed objects.

Only the copy that is sent is converted; answers are validated against the whole schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["strict_answer_schema", "strict_schema", "with_plain_root"]

_KEPT = frozenset({"type", "enum", "const", "description", "title", "required", "$ref", "minItems"})
_IN_WORDS = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "maxItems", "uniqueItems", "minProperties", "maxProperties", "format", "pattern",
    }
)  # fmt: skip
"""Constraints that constrained decoding does not enforce: they are added to the description."""
_INEXPRESSIBLE = frozenset(
    {"patternProperties", "propertyNames", "if", "then", "else", "not", "contains", "prefixItems",
     "unevaluatedProperties", "unevaluatedItems", "dependentSchemas", "dependentRequired", "$dynamicRef"}
)  # fmt: skip
# All other keywords only describe (`default`, `examples`, `discriminator`), and are dropped.
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_NO_PLAIN_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9]|\\[kpP]")
"""Look-around, named groups, flags, back-references and named classes: not all regex engines have them."""
_TYPE_NAMES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_TYPED = frozenset({"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "properties"})
_MAX_DEPTH = 60


def strict_answer_schema(schema: Mapping[str, Any], *, require_all: bool = False) -> dict[str, Any] | None:
    """As `strict_schema`, for the schema of an answer: also None if its root is not a plain object.

    >>> strict_answer_schema({"anyOf": [{"type": "object", "properties": {}}]})
    """
    strict = strict_schema(schema, require_all=require_all)
    return strict if strict is not None and strict.get("type") == "object" else None


def with_plain_root(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with a reference at its root replaced by the definition, because providers require an object
    there.

    Recursive pydantic models have such a reference.

    >>> with_plain_root({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}})
    {'$defs': {'A': {'type': 'object'}}, 'type': 'object'}
    """
    seen: set[str] = set()
    while type(target := schema.get("$ref")) is str and target not in seen:
        seen.add(target)
        holder, _, name = target.removeprefix("#/").partition("/")
        definition = _definitions(schema, holder).get(name)
        if not isinstance(definition, Mapping):
            break
        schema = {**{key: value for key, value in schema.items() if key != "$ref"}, **definition}
    return schema


def strict_schema(schema: Mapping[str, Any], *, require_all: bool = False) -> dict[str, Any] | None:
    """The schema with every object closed and every bound in the description; None if it cannot be converted.

    Not convertible: objects with properties of any name (`additionalProperties`), lists without a type of
    items, values of any type, recursion, conditions.

    Args:
        schema: A JSON schema; it is not changed.
        require_all: True to make every property required, so that the model fills each.

    >>> strict_schema({"type": "integer", "minimum": 1})
    {'type': 'integer', 'description': 'minimum: 1'}
    >>> strict_schema({"type": "object", "additionalProperties": {"type": "string"}})
    """
    if _is_recursive(schema):
        return None
    try:
        return _strict(schema, require_all, 0)
    except _Inexpressible:
        return None


class _Inexpressible(Exception):
    """The schema uses a keyword that constrained decoding does not support."""


def _strict(schema: Any, require_all: bool, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or _TYPED.isdisjoint(schema) or depth > _MAX_DEPTH:
        raise _Inexpressible
    if not _INEXPRESSIBLE.isdisjoint(schema):
        raise _Inexpressible
    if "$ref" in schema:
        # No other keyword is allowed beside a reference, except the definitions at the root.
        schema = {name: schema[name] for name in ("$ref", "$defs", "definitions") if name in schema}
    elif "allOf" in schema:
        schema = _merged(schema)
    strict: dict[str, Any] = {}
    words: list[str] = []
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions"):
            strict[name] = {key: _strict(inner, require_all, depth + 1) for key, inner in value.items()}
        elif name in ("anyOf", "oneOf"):
            strict["anyOf"] = [_strict(inner, require_all, depth + 1) for inner in value]
        elif name == "items":
            strict[name] = _strict(value, require_all, depth + 1)
        elif name == "additionalProperties":
            if value is not False:
                raise _Inexpressible
        elif _is_in_words(name, value):
            words.append(f"{name}: {value}")
        elif name in _KEPT or name in ("format", "pattern"):
            strict[name] = value
    _close(strict, schema, require_all)
    if words:
        held = strict.get("description")
        strict["description"] = f"{held} ({', '.join(words)})" if held else ", ".join(words)
    return strict


def _is_in_words(name: str, value: Any) -> bool:
    if name == "format":
        return value not in _FORMATS
    if name == "pattern":
        return type(value) is not str or _NO_PLAIN_PATTERN.search(value) is not None
    return name in _IN_WORDS or (name == "minItems" and value not in (0, 1))


def _close(strict: dict[str, Any], schema: Mapping[str, Any], require_all: bool) -> None:
    """Add the type of an enum or const, close objects, and refuse lists and objects of any content."""
    if "type" not in strict and ("enum" in strict or "const" in strict):
        values = strict["enum"] if "enum" in strict else [strict["const"]]
        kinds = {_TYPE_NAMES.get(type(value)) for value in values}
        if len(kinds) == 1 and None not in kinds:
            strict["type"] = kinds.pop()
    kind = strict.get("type")
    if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "items" not in strict:
        raise _Inexpressible
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in strict:
        if "properties" not in strict and "additionalProperties" not in schema:
            raise _Inexpressible  # any object at all
        strict.setdefault("type", "object")
        strict["additionalProperties"] = False
        if require_all:
            strict["required"] = list(strict.get("properties", ()))


def _merged(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with its `allOf` of one schema merged; an `allOf` of several cannot be converted."""
    parts = schema["allOf"]
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], Mapping):
        raise _Inexpressible
    return {**{name: value for name, value in schema.items() if name != "allOf"}, **parts[0]}


def _is_recursive(schema: Mapping[str, Any]) -> bool:
    """True if its references form a cycle."""
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
    """The names of the definitions that a schema refers to; "#" for the whole schema."""
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
