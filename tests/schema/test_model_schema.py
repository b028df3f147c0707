"""A pydantic model as the schema of answers."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, field_validator

from callgate.schema.answer import MisfitError
from callgate.schema.model_schema import ModelSchema


class Planet(BaseModel):
    name: str
    moons: int = 0

    @field_validator("name")
    @classmethod
    def _is_capitalized(cls, name: str) -> str:
        if not name[:1].isupper():
            raise ValueError("must be capitalized")
        return name


def test_an_answer_stays_plain_data() -> None:
    assert ModelSchema(Planet).read('{"name": "Mars", "moons": 2}') == {"name": "Mars", "moons": 2}
    assert ModelSchema(Planet).name == "Planet"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": 7}', "name: 7 is not of type"),
        ('{"name": "mars"}', "name: Value error, must be capitalized"),
    ],
)
def test_the_schema_and_the_models_own_validators_hold(text: str, problem: str) -> None:
    with pytest.raises(MisfitError, match=problem):
        ModelSchema(Planet).read(text)
