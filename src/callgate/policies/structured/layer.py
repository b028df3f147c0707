"""The structured layer: validates responses against a schema, and requests them again on a mismatch."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from callgate.call.calling import Calling
from callgate.errors import ConfigurationError, InvalidAnswerError
from callgate.pipeline import Layer, Service
from callgate.response import Response
from callgate.schema.answer import AnswerSchema, MisfitError, schema_name
from callgate.schema.strict import strict_answer_schema, with_plain_root

__all__ = ["MOST_ASKS", "AnswerType", "answer_format", "find_answer", "find_json", "fits", "structure_layer"]

AnswerType = type[BaseModel] | AnswerSchema

MOST_ASKS: Final = 3
"""The most requests for a response that matches its schema."""

_MOST_FAILURES = 100
_MOST_PROBLEMS = 10
_decoder = json.JSONDecoder(strict=False)  # models write line ends within strings
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_THOUGHTS = re.compile(r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHTS = re.compile(r"</(?:think|thinking|thought|reasoning)>|◁/think▷", re.IGNORECASE)
_COMMA_AT_END = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
_FENCE = re.compile(r"```[a-zA-Z0-9]*\s*\n(.*?)```", re.DOTALL)


@lru_cache(maxsize=128)
def answer_format(answer_type: type[BaseModel]) -> Mapping[str, Any]:
    """The `response_format` for responses of this type. It is shared: do not change it.

    If constrained decoding supports the schema, it is closed and "strict", and the model fills every field,
    also those with a default. Otherwise the schema is sent unchanged. The response is validated in both
    cases.

    Raises:
        ConfigurationError: (a ValueError) `answer_type` is not a pydantic model, or its schema is not an
            object, which providers require.

    >>> class Planet(BaseModel):
    ...     name: str
    ...     moons: int = 0
    >>> answer_format(Planet)["json_schema"]["schema"]["required"]
    ['name', 'moons']
    """
    if not (isinstance(answer_type, type) and issubclass(answer_type, BaseModel)):
        raise ConfigurationError(f"response_model is a pydantic model class, not {answer_type!r}")
    schema = dict(with_plain_root(answer_type.model_json_schema()))
    if schema.get("type", "object") != "object":
        raise ConfigurationError(
            f"response_model {answer_type.__name__} is of type {schema['type']}; providers answer with"
            " objects, so wrap it in a model with one field"
        )
    name = schema_name(answer_type.__name__)
    closed = strict_answer_schema(schema, require_all=True)
    if closed is None:
        return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
    return {"type": "json_schema", "json_schema": {"name": name, "schema": closed, "strict": True}}


def structure_layer(max_asks: int = MOST_ASKS) -> Layer:
    """Validate the response of a calling with an `answer_type`.

    If it does not match, it is sent to the model with the error and requested again, up to `max_asks`
    requests in all; then a fallback is called, if there is one. Discarded responses are in
    `calling.attempts`. A response with tool calls is not validated. A response that was cut off or filtered
    is not requested again, because the next one would be too.

    Raises (in the service):
        InvalidAnswerError: no response matched, or that of a stream did not.
    """

    def wrap(call: Service) -> Service:
        def structured(calling: Calling) -> Awaitable[Response]:
            # Most calls have no schema and need no coroutine.
            answer_type: AnswerType | None = calling.answer_type
            return call(calling) if answer_type is None else fitting(calling, answer_type)

        async def fitting(calling: Calling, answer_type: AnswerType) -> Response:
            name, asked = _conversation(calling.payload)
            ask = 0
            while True:
                ask += 1
                response = await call(calling)
                if response.tool_calls:
                    return response
                try:
                    if response.parsed is None:  # else the cache layer has validated it
                        response.parsed = _validated(response.text, answer_type)
                except MisfitError as error:
                    hopeless = calling.delivered or response.finish_reason in ("length", "content_filter")
                    if ask < max_asks and not hopeless:
                        _ask(calling, name, _asked_again(name, asked, response, error))
                        continue
                    misfit = _misfit(calling, answer_type, response, error, ask)
                    if (
                        calling.delivered
                        or calling.route is None
                        or not calling.route.descend(calling, misfit)
                    ):
                        raise misfit from error
                    ask = 0
                    _ask(calling, name, asked)
                else:
                    return response

        return structured

    return wrap


def fits(calling: Calling, response: Response) -> bool:
    """True if a response matches the `answer_type` of its calling; sets `parsed`."""
    answer_type: AnswerType | None = calling.answer_type
    if answer_type is None or response.tool_calls:
        return True
    try:
        response.parsed = _validated(response.text, answer_type)
    except MisfitError:
        return False
    return True


def _validated(text: str, answer_type: AnswerType) -> Any:
    """The validated answer in a text.

    Raises:
        MisfitError: The answer does not match, or the text has none.
    """
    try:
        return _read(text, answer_type)
    except MisfitError:
        plain = _plain_json(text)
        answer = find_answer(plain, _properties(answer_type))
        if answer is None:
            raise
    return _read(answer, answer_type)


def _plain_json(text: str) -> str:
    """A text without commas before a closing bracket, and decoded if it is JSON within a JSON string."""
    if text.lstrip().startswith('"'):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        text = value if isinstance(value, str) else text
    return _COMMA_AT_END.sub(lambda found: found[1] or "", text)


def _properties(answer_type: AnswerType) -> Iterable[str]:
    """The property names by which an answer is recognised in a text."""
    form = answer_type.format if isinstance(answer_type, AnswerSchema) else answer_format(answer_type)
    properties: Iterable[str] = form["json_schema"]["schema"].get("properties", ())
    return properties


def _read(text: str, answer_type: AnswerType) -> Any:
    if isinstance(answer_type, AnswerSchema):
        return answer_type.read(text)
    try:
        return answer_type.model_validate_json(text)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)[:_MOST_PROBLEMS]
        ]
        raise MisfitError(problems) from error


def find_answer(text: str, properties: Iterable[str]) -> str | None:
    """The JSON of the answer in a text; None if there is none.

    Models wrap an answer in a Markdown fence or a sentence, and some write drafts before it, in `<think>` or
    in prose. So thoughts are removed, and the last candidate is the answer, or the last one in a fence. A
    candidate is an object with one of `properties`.

    >>> find_answer('First {"a": 0}? No: {"a": 1}, see [1] and {"note": 2}.', ["a"])
    '{"a": 1}'
    """
    text = _THOUGHTS.sub("", text)
    if _END_OF_THOUGHTS.search(text):  # the opening tag is missing
        text = _END_OF_THOUGHTS.split(text)[-1]
    names = frozenset(properties)
    fenced = [block for match in _FENCE.finditer(text) for block in find_json(match[1])]
    for found in (fenced, list(find_json(text))):
        attempts = [block for block in found if _is_attempt(block, names)]
        if attempts or (found and found is not fenced):
            return (attempts or found)[-1]
    return None


def _is_attempt(block: str, names: frozenset[str]) -> bool:
    value = json.loads(block)
    return isinstance(value, dict) and not names.isdisjoint(value)


def find_json(text: str) -> Iterator[str]:
    """The JSON objects and lists in a text, outermost ones only, with line ends within strings escaped.

    >>> list(find_json('Sure! {"a": [1]} is the answer.'))
    ['{"a": [1]}']
    """
    at = failures = 0
    while failures < _MOST_FAILURES:
        starts = [start for start in (text.find("{", at), text.find("[", at)) if start >= 0]
        if not starts:
            return
        at = min(starts)
        try:
            _, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            failures += 1
        else:
            yield _STRING.sub(_escaped, text[at:end])
            at = end


def _escaped(string: re.Match[str]) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", string[0])


def _conversation(payload: Mapping[str, Any]) -> tuple[str, Any]:
    """The field of a request that holds its conversation, and the value of that field."""
    for name in ("messages", "input", "prompt"):
        if payload.get(name) is not None:
            return name, payload[name]
    return "messages", None


def _ask(calling: Calling, name: str, conversation: Any) -> None:
    """Replace the conversation of a calling."""
    if conversation is not None:
        calling.payload = {**calling.payload, name: conversation}
        calling.request = {**calling.request, name: conversation}


def _asked_again(name: str, asked: Any, response: Response, error: MisfitError) -> Any:
    """The conversation with the response that did not match and its problems."""
    problems = "\n".join(f"- {problem}" for problem in error.problems)
    complaint = f"That answer does not fit the schema:\n{problems}\nAnswer again with the JSON alone."
    answer = response.text or "(nothing)"
    if asked is None:
        return None
    if name == "prompt":
        return f"{asked}\n\n{answer}\n\n{complaint}\n\n"
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    return [*asked, {"role": "assistant", "content": answer}, {"role": "user", "content": complaint}]


def _misfit(
    calling: Calling, answer_type: AnswerType, response: Response, error: MisfitError, asks: int
) -> InvalidAnswerError:
    cut_off = response.finish_reason == "length"
    if cut_off:
        why = "the answer was cut off"
    elif response.finish_reason == "content_filter":
        why = "the provider withheld the answer"
    else:
        why = f"the last: {error.problems[0]}"
    name = answer_type.name if isinstance(answer_type, AnswerSchema) else answer_type.__name__
    return InvalidAnswerError(
        f"call {calling.request_id}: no answer fitted {name} in {asks}"
        f" {'ask' if asks == 1 else 'asks'}; {why}",
        status_code=response.status_code,
        response_content=response.raw,
        headers=response.headers,
        code="content_filter" if response.finish_reason == "content_filter" else None,
        setting="max_tokens" if cut_off else None,
        remedy="raise" if cut_off else None,
    )
