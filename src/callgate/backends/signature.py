"""A function's signature as a pydantic model, which validates a tool's arguments and has its schema."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from callgate.errors import ConfigurationError

__all__ = ["describe_function", "json_schema", "parameters_of", "read_signature", "usable_name"]

_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64
_Kind = inspect.Parameter


def usable_name(function: Callable[..., Any]) -> str:
    """A name of a function that all providers accept: letters, digits, "_" and "-", at most 64.

    A lambda is named after its line.
    """
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    if name == "<lambda>":
        name = f"lambda_{function.__code__.co_firstlineno}"
    return _FORBIDDEN.sub("_", name)[:_LONGEST_NAME]


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """A function's parameters by name, with resolved annotations.

    Raises:
        ConfigurationError: the signature cannot be read, or has `*args`, which have no names.
    """
    name = usable_name(function)
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"the signature of the tool {name!r} cannot be read; wrap it in a function of yours"
        ) from None
    hints = _hints(function, name)
    for parameter in parameters.values():
        if parameter.kind is _Kind.VAR_POSITIONAL:
            raise ConfigurationError(
                f"the tool {name!r} takes *{parameter.name}, which has no names a model could fill;"
                " give it named parameters, one of them a list perhaps"
            )
    return {key: parameter.replace(annotation=hints.get(key, Any)) for key, parameter in parameters.items()}


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isclass(function):
        function = function.__init__  # its parameters are the constructor's
    elif not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise ConfigurationError(f"an annotation of the tool {name!r} cannot be read: {error}") from None


def read_signature(function: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of a function's parameters; unknown arguments are refused unless it takes `**kwargs`.

    Its fields are numbered and have the parameters' names as aliases, so that names that pydantic reserves
    can be used.

    Raises:
        ConfigurationError: a parameter has a type that JSON cannot represent.
    """
    name = usable_name(function)
    described = _described_parameters(inspect.getdoc(function) or "")
    fields: dict[str, Any] = {}
    extra: typing.Literal["allow", "forbid"] = "forbid"
    for number, (key, parameter) in enumerate(parameters_of(function).items()):
        if parameter.kind is _Kind.VAR_KEYWORD:
            extra = "allow"
            continue
        default = ... if parameter.default is _Kind.empty else parameter.default
        fields[f"p{number}"] = _field(key, parameter.annotation, default, described.get(key))
    try:
        model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra=extra), **fields)
        json_schema(model)
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, PydanticUserError) as error:
        why = str(error).split("\n", 1)[0]
        raise ConfigurationError(
            f"a parameter of the tool {name!r} cannot be represented in JSON: {why}"
        ) from None
    return model


def _field(key: str, annotation: Any, default: Any, described: str | None) -> tuple[Any, Any]:
    """A field for `create_model`, described by the text in `Annotated[str, "text"]` or by the docstring."""
    extras = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    text = next((extra for extra in extras if isinstance(extra, str)), described)
    if any(isinstance(extra, FieldInfo) and extra.description for extra in extras):
        text = None
    if isinstance(default, FieldInfo):  # `units: str = Field("celsius", description=...)`
        return Annotated[annotation, Field(alias=key, description=default.description or text)], default
    own = Field(alias=key) if text is None else Field(alias=key, description=text)
    return Annotated[annotation, own], default


class _Untitled(GenerateJsonSchema):
    """A schema without titles, which repeat the names and cost tokens."""

    # The schema leaves out a default that is not JSON; it works when the function is called.
    ignored_warning_kinds = GenerateJsonSchema.ignored_warning_kinds | {"non-serializable-default"}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema by its aliases, without the titles pydantic makes up."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_Untitled)
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return schema


# -- docstrings -----------------------------------------------------------------------------------------

_GOOGLE = re.compile(r"^(?:Args|Arguments|Parameters):[ ]*\n((?:[ \t]+\S.*\n?|\n)+)", re.MULTILINE)
_GOOGLE_ENTRY = re.compile(r"^(\*{0,2}\w+)(?:[ ]*\([^)]*\))?:[ ]*(.*)$")
_NUMPY = re.compile(r"^Parameters\n-{3,}\n(.*?)(?=^\S[^\n]*\n-{3,}|\Z)", re.MULTILINE | re.DOTALL)
_NUMPY_ENTRY = re.compile(r"^(\w+)(?:[ ]*:.*)?$")
_REST_ENTRY = re.compile(r"^:param(?:[ ]+[^:]*?)?[ ]+(\w+):[ ]*(.*(?:\n[ \t]+.*)*)", re.MULTILINE)


def describe_function(function: Callable[..., Any]) -> str:
    """The first paragraph of the docstring in one line; empty if there is none."""
    while isinstance(function, functools.partial):
        function = function.func
    return " ".join((inspect.getdoc(function) or "").split("\n\n", 1)[0].split())


def _described_parameters(doc: str) -> Mapping[str, str]:
    """The descriptions of parameters in a docstring of Google's, numpy's or Sphinx' style."""
    found = {name: " ".join(text.split()) for name, text in _REST_ENTRY.findall(doc)}
    google = _GOOGLE.search(doc + "\n")
    if google:
        found.update(_entries(textwrap.dedent(google[1]), _GOOGLE_ENTRY))
    numpy = _NUMPY.search(doc)
    if numpy:
        found.update(_entries(textwrap.dedent(numpy[1]), _NUMPY_ENTRY))
    return {name.lstrip("*"): text for name, text in found.items() if text}


def _entries(section: str, entry: re.Pattern[str]) -> dict[str, str]:
    """Name -> text of the entries of a section, which begin in the first column."""
    found: dict[str, str] = {}
    current = None
    for line in section.splitlines():
        begun = None if line[:1].isspace() else entry.match(line)
        if begun:
            current = begun[1]
            found[current] = begun[2].strip() if begun.re.groups > 1 else ""
        elif current is not None and line.strip():
            found[current] = f"{found[current]} {line.strip()}".strip()
    return found
