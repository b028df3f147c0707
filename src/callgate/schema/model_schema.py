"""`ModelSchema`: validates answers by a pydantic model, and returns them as plain data."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from callgate.schema.answer import AnswerSchema, MisfitError

__all__ = ["ModelSchema"]


class ModelSchema(AnswerSchema):
    """Answers that satisfy a pydantic model, its own validators included.

    Args:
        model: The model's class.

    >>> class Planet(BaseModel):
    ...     moons: int
    >>> ModelSchema(Planet).read('{"moons": 2}')
    {'moons': 2}
    """

    __slots__ = ("_model",)

    def __init__(self, model: type[BaseModel]) -> None:
        super().__init__(model.model_json_schema(), model.__name__)
        self._model = model

    def read(self, text: str) -> Any:
        """As for `AnswerSchema`."""
        value = super().read(text)
        try:
            self._model.model_validate(value)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            raise MisfitError(
                [f"{'.'.join(map(str, each['loc'])) or 'the answer'}: {each['msg']}" for each in problems]
            ) from None
        return value
