"""Checks the types of a request before it is sent, because providers' messages are rarely clear."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from callgate.backends.option_check import problem_with_field
from callgate.errors import InvalidRequestError

__all__ = ["check_request", "validate_request"]

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_TEXT: Final = (str, list, tuple)
# Concrete types first, which are compared before the abstract ones.
_KINDS: Final[Mapping[str, tuple[tuple[Any, ...], str]]] = {
    "model": ((str,), "a string"),
    "prompt": (_TEXT, "a string or a list"),
    "system": (_TEXT, "a string or a list of parts"),
    "max_tokens": ((int, Integral), "a positive integer"),
    "max_completion_tokens": ((int, Integral), "a positive integer"),
    "temperature": ((float, int, Real), "a number"),
    "top_p": ((float, int, Real), "a number"),
    "frequency_penalty": ((float, int, Real), "a number"),
    "presence_penalty": ((float, int, Real), "a number"),
    "seed": ((int, Integral), "an integer"),
    "top_logprobs": ((int, Integral), "an integer"),
    "logit_bias": ((dict, Mapping), "an object"),
    "metadata": ((dict, Mapping), "an object"),
    "user": ((str,), "a string"),
    "n": ((int, Integral), "a positive integer"),
    "stop": (_TEXT, "a string or a list of strings"),
    "tools": ((list, tuple), "a list"),
    "tool_choice": ((str, dict, Mapping), "a string or an object"),
    "response_format": ((dict, Mapping), "an object"),
}
"""Field of the request format -> its types, and their description. None counts as absent."""
_POSITIVE: Final = frozenset({"max_tokens", "max_completion_tokens", "n"})


def check_request(request: Any, *, needs_model: bool = False) -> None:
    """Refuse a request with fields of types that no provider accepts.

    Args:
        request: The canonical request, with the defaults of the model.
        needs_model: True if the provider requires a model.

    Raises:
        InvalidRequestError: a field is invalid; the message names it and its type.

    >>> check_request({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5})
    >>> check_request({"messages": "Hi"})
    Traceback (most recent call last):
        ...
    callgate.errors.InvalidRequestError: messages must be a list of messages, got str
    """
    if type(request) is not dict and not isinstance(request, Mapping):
        raise _refuse(f"the request must be an object, got {type(request).__name__}")
    for name, value in request.items():
        if name in _KINDS:
            if type(value) not in _KINDS[name][0] or name in _POSITIVE:
                _check_value(name, value)
            continue
        problem = problem_with_field(name) if isinstance(name, str) else f"a field is named {name!r}"
        if problem is not None:
            raise _refuse(problem)
    if "extra_headers" in request:  # a valid mapping was moved to the headers of the call
        raise _refuse("extra_headers must be an object of strings")
    messages = request.get("messages")
    if messages is not None:
        _check_messages(messages)
    if needs_model and not request.get("model"):
        raise InvalidRequestError(
            "the request has no model", surely_unsent=True, setting="model", remedy="name one with"
        )


def _check_value(name: str, value: Any) -> None:
    kinds, description = _KINDS[name]
    if value is not None:
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if not fits or (name in _POSITIVE and value < 1):
            raise _refuse(f"{name} must be {description}, got {_shown(value)}")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list | tuple):
        raise _refuse(f"messages must be a list of messages, got {type(messages).__name__}")
    if not messages:
        raise _refuse("messages must not be empty")
    for number, message in enumerate(messages):
        if type(message) is not dict and not isinstance(message, Mapping):
            raise _refuse(f"messages[{number}] must be an object, got {type(message).__name__}")
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise _refuse(f"messages[{number}].role must be one of {', '.join(sorted(_ROLES))}, got {role!r}")
        content = message.get("content")
        if content is None and role == "user":
            raise _refuse(f"messages[{number}] has no content")
        if content is not None and not isinstance(content, _TEXT):
            raise _refuse(
                f"messages[{number}].content must be a string or a list of parts,"
                f" got {type(content).__name__}"
            )


def validate_request(model: type[BaseModel], request: Any) -> dict[str, Any]:
    """The request, validated by a pydantic model, with its defaults and without fields that are None.

    Raises:
        InvalidRequestError: the request does not satisfy the model.
    """
    try:
        return model.model_validate(request).model_dump(exclude_none=True, by_alias=True)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
    wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'request'}: {each['msg']}" for each in problems)
    raise _refuse(f"the request does not fit {model.__name__}: {wrong}")


def _shown(value: Any) -> str:
    if isinstance(value, Real):
        return repr(value)
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__


def _refuse(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, surely_unsent=True)
