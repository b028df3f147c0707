"""A calling is one call: invoked several times, it is sent once."""

from __future__ import annotations

import asyncio

import pytest

from callgate.errors import ConfigurationError
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, make_model
from tests.policies.scripted_service import After, now


def test_invoking_a_submitted_calling_waits_for_its_end() -> None:
    model, backend = make_model(After(5, "once"))

    async def main() -> None:
        calling = model.submit(prompt="x")
        assert await model.invoke(calling) is calling
        assert calling.response.text == "once"
        assert now() == 5.0
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 1


def test_invoking_a_calling_side_by_side_sends_it_once() -> None:
    model, backend = make_model(After(5, "once"))

    async def main() -> None:
        calling = await model.create_calling(prompt="x")
        await asyncio.gather(*(model.invoke(calling) for _ in range(3)))
        assert calling.response.text == "once"
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 1


def test_invoking_a_calling_that_has_ended_gives_it_as_it_is() -> None:
    model, backend = make_model("once")

    async def main() -> None:
        calling = await model.invoke(prompt="x")
        first = calling.response
        assert (await model.invoke(calling)).response is first

    run_virtual(main())
    assert len(backend.at) == 1


def test_only_invoke_takes_a_calling_that_was_made_before() -> None:
    model, backend = make_model("fine")

    async def main() -> None:
        calling = await model.create_calling(prompt="x")
        with pytest.raises(ConfigurationError, match="calling= is for invoke"):
            model.submit(calling=calling)
        with pytest.raises(ConfigurationError, match="calling= is for invoke"):
            async for _ in model.invoke_stream(calling=calling):
                pass

    run_virtual(main())
    assert backend.at == []
