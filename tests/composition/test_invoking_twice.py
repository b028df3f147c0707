"""A calling is one call: however often it is handed in, it is sent once."""

from __future__ import annotations

import asyncio

import pytest

from callgate.errors import ConfigurationError
from callgate.testing.clock import run_virtual
from tests.composition.harness import model_of, nothing_is_left
from tests.policies.services import After, now


def test_invoking_a_submitted_calling_waits_for_its_end() -> None:
    model, backend = model_of(After(5, "once"))

    async def main() -> None:
        calling = model.submit(prompt="x")
        assert await model.invoke(calling) is calling
        assert calling.response.text == "once"
        assert now() == 5.0
        await nothing_is_left(model)

    run_virtual(main())
    assert len(backend.at) == 1


def test_invoking_a_calling_side_by_side_sends_it_once() -> None:
    model, backend = model_of(After(5, "once"))

    async def main() -> None:
        calling = await model.create_calling(prompt="x")
        await asyncio.gather(*(model.invoke(calling) for _ in range(3)))
        assert calling.response.text == "once"
        await nothing_is_left(model)

    run_virtual(main())
    assert len(backend.at) == 1


def test_invoking_a_calling_that_has_ended_gives_it_as_it_is() -> None:
    model, backend = model_of("once")

    async def main() -> None:
        calling = await model.invoke(prompt="x")
        first = calling.response
        assert (await model.invoke(calling)).response is first

    run_virtual(main())
    assert len(backend.at) == 1


def test_only_invoke_takes_a_calling_that_was_made_before() -> None:
    model, backend = model_of("fine")

    async def main() -> None:
        calling = await model.create_calling(prompt="x")
        with pytest.raises(ConfigurationError, match="calling= is for invoke"):
            model.submit(calling=calling)
        with pytest.raises(ConfigurationError, match="calling= is for invoke"):
            async for _ in model.invoke_stream(calling=calling):
                pass

    run_virtual(main())
    assert backend.at == []
