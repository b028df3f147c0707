"""`AnswerSchema`: a JSON schema that responses must satisfy, as an alternative to a pydantic model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from callgate.errors import ConfigurationError
from callgate.exact_json import dumps, loads
from callgate.reprs import live_repr
from callgate.schema.strict import strict_answer_schema, with_plain_root

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

__all__ = ["AnswerSchema", "MisfitError", "schema_name", "to_answer_schema"]

_UNFIT_FOR_NAME = re.compile(r"[^a-zA-Z0-9_-]+")
_MOST_PROBLEMS = 10
_LONGEST_PROBLEM = 300  # they quote the answer, which may be long


class MisfitError(Exception):
    """An answer does not satisfy its schema.

    Attributes:
        problems: One line for each problem, with its path; at least one.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class AnswerSchema:
    """A JSON schema of an object, compiled once and used for every answer.

    Any draft up to 2020-12, by its `$schema`. Nothing is fetched: a `$ref` must point into the schema.

    Args:
        schema: The schema, or OpenAI's wrapper around one (`{"name": ..., "schema": ...}`).
        name: Its name for the model; by default the schema's title.

    Attributes:
        name: The name, of letters, digits, "-" and "_".
        format: The `response_format` for such answers. It is shared: do not change it. It is "strict" if
            constrained decoding supports exactly this schema.

    Raises:
        ConfigurationError: (a ValueError) `schema` is not a JSON schema, or not of an object, which providers
            require.

    >>> planet = AnswerSchema({"type": "object", "properties": {"moons": {"type": "integer"}}})
    >>> planet.read('{"moons": 2}')
    {'moons': 2}
    >>> planet.read('{"moons": "two"}')
    Traceback (most recent call last):
    ...
    callgate.schema.answer.MisfitError: moons: "two" is not of type "integer"
    """

    __slots__ = ("_validator", "format", "name")

    def __init__(self, schema: Mapping[str, Any], name: str | None = None) -> None:
        # Imported here because it takes 30 ms, and most programs do not use a schema.
        import jsonschema_rs

        schema, name = _unwrapped(schema, name)
        whole, schema = schema, with_plain_root(schema)
        try:
            self._validator = jsonschema_rs.validator_for(dict(whole), retriever=_fetch_nothing)
        except jsonschema_rs.ValidationError as error:
            raise ConfigurationError(f"this is no JSON schema: {_problem(error, 'the schema')}") from None
        if schema.get("type", "object") != "object":
            raise ConfigurationError(
                f"the schema is of type {schema['type']}; providers answer with objects, so wrap it in one"
                " with one property"
            )
        self.name = schema_name(name or schema.get("title") or "answer")
        closed = strict_answer_schema(schema) if _requires_all(schema) else None
        sent: dict[str, Any] = {"name": self.name, "schema": dict(schema) if closed is None else closed}
        if closed is not None:
            sent["strict"] = True
        self.format: Mapping[str, Any] = {"type": "json_schema", "json_schema": sent}

    def read(self, text: str) -> Any:
        """The value of a JSON text.

        Raises:
            MisfitError: the text is not JSON, or does not satisfy the schema.
        """
        try:
            value = loads(text)
        except ValueError as error:
            raise MisfitError([f"the answer: is no JSON ({error})"]) from None
        if self._validator.is_valid(value):
            return value
        wrong = islice(self._validator.iter_errors(value), _MOST_PROBLEMS)
        raise MisfitError([_problem(each, "the answer") for each in wrong])

    @live_repr
    def __repr__(self) -> str:
        return f"<AnswerSchema {self.name!r}>"


def to_answer_schema(schema: Mapping[str, Any] | AnswerSchema) -> AnswerSchema:
    """A compiled schema; equal schemas are compiled once.

    Raises:
        ConfigurationError: as for `AnswerSchema`.
    """
    if isinstance(schema, AnswerSchema):
        return schema
    try:
        # Keys keep their order, which the model may follow.
        return _compiled(dumps(schema))
    except TypeError as error:
        raise ConfigurationError(f"this is no JSON schema: {error}") from None


@lru_cache(maxsize=128)
def _compiled(schema: bytes) -> AnswerSchema:
    return AnswerSchema(loads(schema))


def schema_name(text: str) -> str:
    """A name of a schema that providers accept.

    >>> schema_name("Big Planet!")
    'Big_Planet_'
    """
    return _UNFIT_FOR_NAME.sub("_", text)[:64]


def _unwrapped(schema: Any, name: str | None) -> tuple[Mapping[str, Any], str | None]:
    """The schema without OpenAI's wrapper."""
    if isinstance(schema, Mapping) and schema.get("type") == "json_schema":
        schema = schema.get("json_schema")
    if isinstance(schema, Mapping) and isinstance(schema.get("schema"), Mapping) and "type" not in schema:
        inner = schema.get("name")
        schema, name = schema["schema"], name or (inner if isinstance(inner, str) else None)
    if not isinstance(schema, Mapping):
        raise ConfigurationError(f"this is no JSON schema: it is an object, not {type(schema).__name__}")
    return schema, name


def _requires_all(schema: Any) -> bool:
    """True if every property is required, as in strict decoding, which would otherwise invent values."""
    if isinstance(schema, list):
        return all(_requires_all(inner) for inner in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and set(properties) - set(schema.get("required", ())):
        return False
    return all(_requires_all(inner) for inner in schema.values())


def _problem(error: ValidationError, whole: str) -> str:
    where = ".".join(map(str, error.instance_path)) or whole
    message = error.message
    if len(message) > _LONGEST_PROBLEM:
        message = f"{message[:100]} ... {message[100 - _LONGEST_PROBLEM :]}"
    return f"{where}: {message}"


def _fetch_nothing(address: str) -> NoReturn:
    """Refuse to fetch a schema, because its author would choose the host that is called."""
    raise LookupError(f"schemas are not fetched; put {address} under $defs")
