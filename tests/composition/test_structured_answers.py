"""Structured output is outside cache and retry: each new ask is a call of its own and is counted."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from callgate.errors import ConfigurationError, InvalidAnswerError, ServerError
from callgate.policies.cache.memory import MemoryCache
from callgate.response import Response, Usage
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, make_model, used

PRICES = {"input": 1.0, "output": 10.0}
MESSAGES = [{"role": "user", "content": "Which planet?"}]


class Planet(BaseModel):
    name: str


def said(text: str) -> Response:
    return Response(text=text, usage=Usage(100, 20), model="m")


def test_every_ask_passes_the_limiter_and_pays() -> None:
    model, backend = make_model(
        said("no"), said("no"), said('{"name": "Mars"}'), model={"limit_requests": 100, "limit_tokens": 10000}
    )

    async def main() -> None:
        calling = await model.invoke(model="m", messages=MESSAGES, response_model=Planet)
        assert calling.response.parsed == Planet(name="Mars")
        assert len(calling.attempts) == 3
        assert (used(model, "requests"), used(model, "tokens")) == (3, 360)
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 3


def test_usage_and_cost_have_all_of_it() -> None:
    model, _ = make_model(said("no"), said('{"name": "Mars"}'), model={"prices": PRICES})

    async def main() -> None:
        calling = await model.invoke(model="m", messages=MESSAGES, response_model=Planet)
        assert calling.usage == Usage(200, 40)
        assert calling.cost is not None
        assert calling.cost.input == pytest.approx(200 * 1.0 / 1e6)
        assert calling.cost.output == pytest.approx(40 * 10.0 / 1e6)

    run_virtual(main())


def test_what_never_fitted_is_counted_too() -> None:
    model, _ = make_model(said("no"), model={"prices": PRICES})

    async def main() -> None:
        calling = await model.invoke(model="m", messages=MESSAGES, response_model=Planet)
        assert isinstance(calling.error, InvalidAnswerError)
        assert calling.usage == Usage(300, 60)
        assert calling.cost is not None
        assert calling.cost.total == pytest.approx(300 * 1.0 / 1e6 + 60 * 10.0 / 1e6)

    run_virtual(main())


def test_each_ask_has_its_own_retries() -> None:
    down = ServerError("down", status_code=500)
    model, backend = make_model(down, said("no"), down, down, said('{"name": "Mars"}'))

    async def main() -> None:
        calling = await model.invoke(model="m", messages=MESSAGES, response_model=Planet)
        assert calling.response.parsed == Planet(name="Mars")

    run_virtual(main())
    assert backend.at == [0.0, 1.0, 1.0, 2.0, 4.0]


def test_a_cached_answer_is_validated_again_and_costs_nothing() -> None:
    model, backend = make_model(said('{"name": "Mars"}'), model={"cache": MemoryCache(), "prices": PRICES})

    async def main() -> None:
        for hit in (False, True):
            calling = await model.invoke(model="m", messages=MESSAGES, response_model=Planet)
            assert calling.cached is hit
            assert calling.response.parsed == Planet(name="Mars")
            assert calling.cost is not None
            assert (calling.cost.total == 0) is hit

    run_virtual(main())
    assert len(backend.at) == 1


def test_asks_answered_by_the_cache_are_not_paid_again() -> None:
    """Run again, the whole conversation of two asks comes from the cache: used once, paid once."""
    model, backend = make_model(
        said("no"), said('{"name": "Mars"}'), model={"cache": MemoryCache(), "prices": PRICES}
    )

    async def main() -> None:
        await model.invoke(model="m", messages=MESSAGES, response_model=Planet)
        again = await model.invoke(model="m", messages=MESSAGES, response_model=Planet)
        assert again.response.parsed == Planet(name="Mars")
        assert again.attempts == []
        assert again.cost is not None
        assert again.cost.total == 0

    run_virtual(main())
    assert len(backend.at) == 2


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def test_a_json_schema_stands_in_for_a_model_class() -> None:
    model, backend = make_model(said("no"), said('{"name": "Mars"}'))

    async def main() -> None:
        calling = await model.invoke(model="m", messages=MESSAGES, response_schema=SCHEMA)
        assert calling.response.parsed == {"name": "Mars"}
        submitted = await model.submit(model="m", messages=MESSAGES, response_schema=SCHEMA)
        assert submitted.response.parsed == {"name": "Mars"}

    run_virtual(main())
    assert backend.payloads[0]["response_format"]["json_schema"]["strict"] is True


def test_a_bad_schema_is_refused_before_anything_is_sent() -> None:
    model, backend = make_model(said("no"))

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="no JSON schema"):
            await model.invoke(messages=MESSAGES, response_schema={"type": "objct"})
        with pytest.raises(ConfigurationError, match="not both"):
            await model.invoke(messages=MESSAGES, response_schema=SCHEMA, response_model=Planet)

    run_virtual(main())
    assert backend.at == []
