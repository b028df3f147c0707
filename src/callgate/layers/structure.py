"""Answers that satisfy a schema: validated, and asked for again when they do not."""

from __future__ import annotations

from collections.abc import Awaitable

from pydantic import BaseModel, ValidationError

from callgate.calling import Calling
from callgate.errors import InvalidAnswerError
from callgate.pipeline import Layer, Service
from callgate.response import Response, Usage

__all__ = ["extract_json", "structure_layer"]


def structure_layer(max_asks: int = 3) -> Layer:
    """Validate the answer of a calling that has an `answer_type`; a calling without one is left alone.

    An answer that does not fit is shown to the model with the error and asked for again, up to `max_asks`
    times in all. What the discarded answers used is kept in `calling.spent`.

    Raises (in the service):
        InvalidAnswerError: when no answer fitted, or when a stream's did not.
    """

    def wrap(call: Service) -> Service:
        def structured(calling: Calling) -> Awaitable[Response]:
            # Most calls want plain text, and are spared a coroutine.
            answer_type: type[BaseModel] | None = calling.answer_type
            return call(calling) if answer_type is None else fitting(calling, answer_type)

        async def fitting(calling: Calling, answer_type: type[BaseModel]) -> Response:
            asked = calling.payload
            for ask in range(1, max_asks + 1):
                response = await call(calling)
                try:
                    response.parsed = answer_type.model_validate_json(extract_json(response.text))
                except ValidationError as error:
                    if response.usage is not None:
                        calling.spent = (calling.spent or Usage()) + response.usage
                    if ask == max_asks or calling.delivered:
                        raise _misfit(calling, answer_type, response, error, ask) from error
                    calling.payload = {
                        **asked,
                        "messages": [*asked["messages"], *_complaint(response, error)],
                    }
                    calling.wire = None
                else:
                    return response
            raise AssertionError("unreachable: the last ask returns or raises")

        return structured

    return wrap


def extract_json(text: str) -> str:
    """The JSON in an answer: models like to wrap it in a Markdown fence or a sentence."""
    stripped = text.strip()
    if stripped.startswith(("{", "[")):
        return stripped
    starts = [at for at in (stripped.find("{"), stripped.find("[")) if at >= 0]
    end = max(stripped.rfind("}"), stripped.rfind("]"))
    if not starts or end < min(starts):
        return stripped
    return stripped[min(starts) : end + 1]


def _complaint(response: Response, error: ValidationError) -> list[dict[str, str]]:
    problems = "\n".join(
        f"- {'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)[:10]
    )
    return [
        {"role": "assistant", "content": response.text or "(nothing)"},
        {
            "role": "user",
            "content": f"That answer does not fit the schema:\n{problems}\nAnswer again with the JSON alone.",
        },
    ]


def _misfit(
    calling: Calling, answer_type: type[BaseModel], response: Response, error: ValidationError, asks: int
) -> InvalidAnswerError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "the answer"
    return InvalidAnswerError(
        f"call {calling.request_id}: no answer fitted {answer_type.__name__} in {asks} asks; the last:"
        f" {where}: {first['msg']}",
        status_code=response.status_code,
        response_content=response.raw,
        headers=response.headers,
    )
