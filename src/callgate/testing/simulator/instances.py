"""Draw random instances of a JSON schema, as a model with schema support would answer."""

from __future__ import annotations

import random
import uuid
from typing import Any

from callgate.testing.simulator.prose import write

__all__ = ["instance_of"]

# A recursive schema has to end: below this depth only required properties are made, and of several
# alternatives the first without a reference is taken.
_DEEP = 6
_DEEPEST = 40

_FORMATS = {
    "date": "2026-03-14",
    "time": "09:26:53Z",
    "date-time": "2026-03-14T09:26:53Z",
    "duration": "PT1H30M",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.com/page",
}


def instance_of(schema: dict[str, Any] | bool, rng: random.Random) -> Any:
    """A value that satisfies `schema`.

    Supports type (also a list), enum, const, objects, arrays, required, nested schemas, `$ref` into `$defs`
    or `definitions`, anyOf, oneOf, allOf, numeric bounds, lengths, common formats, and additionalProperties
    as a schema. Ignores `pattern`, `not` and `if`.

    >>> schema = {"type": "object", "properties": {"n": {"const": 3}}, "required": ["n"]}
    >>> instance_of(schema, random.Random(1))
    {'n': 3}
    """
    return _InstanceMaker(schema if isinstance(schema, dict) else {}, rng).make(schema, 0)


class _InstanceMaker:
    def __init__(self, root: dict[str, Any], rng: random.Random) -> None:
        self._root = root
        self._rng = rng

    def make(self, schema: dict[str, Any] | bool, depth: int) -> Any:
        if isinstance(schema, bool) or depth > _DEEPEST:
            return None
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._rng.choice(schema["enum"])
        for several in ("anyOf", "oneOf"):
            if schema.get(several):
                rest = {key: value for key, value in schema.items() if key != several}
                return self.make(_merged(rest, self._one_of(schema[several], depth)), depth + 1)
        kind = schema.get("type") or _implied_type(schema)
        if isinstance(kind, list):
            real = [name for name in kind if name != "null"]
            kind = real[0] if real else "null"
        kind = kind.lower()  # Gemini's schemas use upper-case types
        make = getattr(self, f"_{kind}", None)
        return make(schema, depth) if make else None

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema with `$ref` followed and `allOf` merged in."""
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merged(self._target(schema["$ref"]), rest)
            elif "allOf" in schema:
                parts = schema["allOf"]
                schema = {key: value for key, value in schema.items() if key != "allOf"}
                for part in parts:
                    schema = _merged(schema, self._resolved(part))
            else:
                break
        return schema

    def _target(self, reference: str) -> dict[str, Any]:
        found: Any = self._root
        for step in reference.lstrip("#").strip("/").split("/"):
            if step:
                step = step.replace("~1", "/").replace("~0", "~")
                found = found.get(step, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}

    def _one_of(self, options: list[Any], depth: int) -> dict[str, Any]:
        schemas = [option for option in options if isinstance(option, dict)]
        real = [option for option in schemas if option.get("type") != "null"]
        if depth >= _DEEP:
            plain = [option for option in schemas if "$ref" not in option and option.get("type") != "array"]
            return (plain or schemas or [{}])[0]
        return self._rng.choice(real or schemas or [{}])

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties") or {}
        required = schema.get("required") or []
        made = {
            name: self.make(inner, depth + 1)
            for name, inner in properties.items()
            if name in required or depth < _DEEP
        }
        others = schema.get("additionalProperties")
        inner = others if isinstance(others, dict) else {"type": "string"}
        for name in required:
            if name not in made:
                made[name] = self.make(inner, depth + 1)
        for number in range(int(schema.get("minProperties", 0)) - len(made)):
            made[f"entry_{number + 1}"] = self.make(inner, depth + 1)
        return made

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        prefix = [self.make(inner, depth + 1) for inner in schema.get("prefixItems") or []]
        least = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(least, 3)))
        wanted = least if depth >= _DEEP else max(least, min(most, self._rng.randint(1, 3)))
        items = schema.get("items", {"type": "string"})
        made = prefix
        for _ in range(20 * wanted):  # uniqueItems may need several draws; a small enum may never suffice
            if len(made) >= wanted or items is False:
                break
            item = self.make(items, depth + 1)
            if not schema.get("uniqueItems") or item not in made:
                made.append(item)
        return made

    def _string(self, schema: dict[str, Any], depth: int) -> str:
        form = schema.get("format")
        if form == "uuid":
            return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        if form in _FORMATS:
            return _FORMATS[form]
        text = write(self._rng, self._rng.randint(2, 6))
        least = int(schema.get("minLength", 0))
        while len(text) < least:
            text += " " + write(self._rng, 6)
        return text[: int(schema["maxLength"])].rstrip().ljust(least, ".") if "maxLength" in schema else text

    def _integer(self, schema: dict[str, Any], depth: int) -> int:
        least, most = self._bounds(schema, step=1)
        low, high = -int(-least // 1), int(most // 1)
        step = schema.get("multipleOf")
        if step:
            low = int(-(-low // step) * step)
            return low + int(step) * self._rng.randint(0, max(0, int((high - low) // step)))
        return self._rng.randint(low, max(low, high))

    def _number(self, schema: dict[str, Any], depth: int) -> float:
        if schema.get("multipleOf"):
            least, most = self._bounds(schema, step=schema["multipleOf"])
            low, high = -(-least // schema["multipleOf"]), most // schema["multipleOf"]
            return float(self._rng.randint(int(low), int(max(low, high))) * schema["multipleOf"])
        least, most = self._bounds(schema, step=0.01)
        value = round(self._rng.uniform(least, most), 2)
        return min(max(value, least), most)

    @staticmethod
    def _bounds(schema: dict[str, Any], *, step: float) -> tuple[float, float]:
        least, most = schema.get("minimum"), schema.get("maximum")
        if isinstance(schema.get("exclusiveMinimum"), int | float):
            least = schema["exclusiveMinimum"] + step
        if isinstance(schema.get("exclusiveMaximum"), int | float):
            most = schema["exclusiveMaximum"] - step
        if least is None:
            least = 0 if most is None or most >= 0 else most - 100
        return least, least + 100 if most is None else most

    def _boolean(self, schema: dict[str, Any], depth: int) -> bool:
        return self._rng.random() < 0.5

    def _null(self, schema: dict[str, Any], depth: int) -> None:
        return None


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both schemas merged; the second takes precedence."""
    both = {**one, **other}
    if "properties" in one and "properties" in other:
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    return both


def _implied_type(schema: dict[str, Any]) -> str:
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if any(word in schema for word in ("minimum", "maximum", "multipleOf")):
        return "number"
    return "string"
