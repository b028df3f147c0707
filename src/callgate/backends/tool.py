"""`Tool`: a Python function as a backend, with validated arguments."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from callgate.backends.service import as_response
from callgate.backends.signature import (
    describe_function,
    json_schema,
    parameters_of,
    read_signature,
    usable_name,
)
from callgate.call.calling import Calling
from callgate.errors import CallgateError, ConfigurationError, ToolError
from callgate.reprs import live_repr
from callgate.response import Response

__all__ = ["Tool"]

_SETTINGS = frozenset({"name", "description", "request_options", "tags"})
_Kind = inspect.Parameter


class Tool:
    """A function as a tool of a model, or as the backend of an `iModel`.

    A sync function runs in a thread, an async one on the loop. A thread cannot be interrupted: after a
    cancellation or timeout the function runs to its end and its result is dropped.

    Args:
        func_callable: Any callable with named parameters: a function, method, lambda, partial or object.
        config: `request_options`, a pydantic model that validates the arguments instead of the function's
            signature; `name`, `description`, `tags`.
        tool_schema: The schema for models, instead of the one from the signature: OpenAI's function format,
            with or without its outer "function".

    Raises:
        ConfigurationError: (a ValueError) the function takes `*args`, is a generator, has a parameter that
            JSON cannot represent, or does not fit `request_options`.

    >>> def add(a: int, b: int = 1) -> int:
    ...     "Add two numbers."
    ...     return a + b
    >>> tool = Tool(add)
    >>> tool.name, tool.tool_schema["function"]["parameters"]["required"]
    ('add', ['a'])
    >>> asyncio.run(tool.call(Calling({"a": "2"}))).data
    3
    """

    __slots__ = (
        "_is_async",
        "_model",
        "_numbered",
        "_parameters",
        "func_callable",
        "name",
        "tags",
        "tool_schema",
    )

    def __init__(
        self,
        func_callable: Callable[..., Any],
        config: Mapping[str, Any] | None = None,
        tool_schema: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(func_callable):
            raise ConfigurationError(f"a tool is made from a function, not {type(func_callable).__name__}")
        settings = dict(config or {})
        unknown = settings.keys() - _SETTINGS
        if unknown:
            raise ConfigurationError(
                f"unknown setting of a tool: {', '.join(sorted(unknown))};"
                f" there are {', '.join(sorted(_SETTINGS))}"
            )
        written = _read_schema(tool_schema or {})
        self.func_callable = func_callable
        self.name: str = settings.get("name") or written.get("name") or usable_name(func_callable)
        self.tags: frozenset[str] = frozenset(settings.get("tags", ("tool",)))
        self._refuse_generators()
        self._is_async = _is_async(func_callable)
        options = settings.get("request_options")
        self._numbered = options is None
        if options is None:
            self._model = read_signature(func_callable)
            self._parameters = parameters_of(func_callable)
        else:
            self._model = options
            self._parameters = self._fit(options)
        self.tool_schema: dict[str, Any] = {
            "type": "function",
            "function": {
                "description": settings.get("description") or describe_function(func_callable),
                "parameters": {} if "parameters" in written else json_schema(self._model),
                **written,
                "name": self.name,
            },
        }

    async def call(self, calling: Calling) -> Response:
        """Call the function with the calling's payload as its arguments.

        Returns:
            A response whose `data` is the result of the function.

        Raises:
            ToolError: the arguments are invalid, or the function raised; its exception is the `__cause__`.
            CallgateError: raised by the function.
        """
        args, kwargs = self._read(calling.payload)
        try:
            if self._is_async:
                value = await self.func_callable(*args, **kwargs)
            else:
                value = await asyncio.to_thread(self.func_callable, *args, **kwargs)
                if inspect.isawaitable(value):
                    value = await value
        except CallgateError:
            raise
        except Exception as error:
            raise ToolError(f"the tool {self.name!r} raised {type(error).__name__}: {error}") from error
        response = as_response(value)
        response.data = value
        return response

    async def close(self) -> None:
        """Does nothing."""

    def to_dict(self) -> NoReturn:
        """Not supported.

        Raises:
            NotImplementedError: always, because a function cannot be serialized.
        """
        raise NotImplementedError(f"the tool {self.name!r} is a Python function and cannot be serialized")

    @live_repr
    def __repr__(self) -> str:
        return f"<Tool {self.name!r}>"

    # -- arguments --------------------------------------------------------------------------------------

    def _refuse_generators(self) -> None:
        target = self.func_callable
        for function in (target, getattr(target, "__call__", target)):  # noqa: B004  an object that is called
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise ConfigurationError(f"the tool {self.name!r} yields; let it return its result instead")

    def _fit(self, options: Any) -> dict[str, inspect.Parameter]:
        """The function's parameters, checked to accept the fields of the model `options`."""
        if not (isinstance(options, type) and issubclass(options, BaseModel)):
            raise ConfigurationError("request_options is a pydantic model class")
        parameters = parameters_of(self.func_callable)
        if _takes_whole(parameters, options):
            return parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        missing = [
            name
            for name, parameter in parameters.items()
            if parameter.default is _Kind.empty
            and parameter.kind is not _Kind.VAR_KEYWORD
            and name not in options.model_fields
        ]
        surplus = (
            []
            if _Kind.VAR_KEYWORD in kinds
            else [name for name in options.model_fields if name not in parameters]
        )
        if missing or surplus:
            wrong = [f"{name!r} is not in it" for name in missing]
            wrong += [f"the function takes no {name!r}" for name in surplus]
            raise ConfigurationError(
                f"the tool {self.name!r} and its request_options {options.__name__} do not fit:"
                f" {'; '.join(wrong)}"
            )
        return parameters

    def _read(self, payload: Any) -> tuple[list[Any], dict[str, Any]]:
        """The validated arguments, positional and by keyword."""
        if not isinstance(payload, Mapping | None):
            raise ToolError(
                f"the arguments of the tool {self.name!r} are an object, not {type(payload).__name__}"
            )
        try:
            checked = self._model.model_validate(dict(payload or {}))
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False)
            )
            raise ToolError(f"the arguments of the tool {self.name!r} do not fit: {wrong}") from None
        if _takes_whole(self._parameters, self._model):
            return [checked], {}
        args: list[Any] = []
        kwargs: dict[str, Any] = dict(checked.model_extra or {})
        for field, info in type(checked).model_fields.items():
            name = info.alias if self._numbered and info.alias else field
            parameter = self._parameters.get(name)
            if parameter is not None and parameter.kind is _Kind.POSITIONAL_ONLY:
                args.append(getattr(checked, field))
            else:
                kwargs[name] = getattr(checked, field)
        return args, kwargs


def _read_schema(given: Mapping[str, Any]) -> dict[str, Any]:
    """The function part of a schema, with or without its outer "function", or of its parameters alone."""
    if "function" in given:
        return dict(given["function"])
    if given.get("type") == "object":
        return {"parameters": dict(given)}
    return {key: value for key, value in given.items() if key != "type"}


def _takes_whole(parameters: Mapping[str, inspect.Parameter], model: type[BaseModel]) -> bool:
    """True if the only parameter is the model itself: `def search(request: SearchRequest)`."""
    return len(parameters) == 1 and next(iter(parameters.values())).annotation is model


def _is_async(function: Callable[..., Any]) -> bool:
    if inspect.isclass(function):
        return False  # a class creates an object
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  an object whose __call__ is async
    )
