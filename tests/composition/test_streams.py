"""A stream passes the same layers as any call: it is charged, and retried until its first piece."""

from __future__ import annotations

import asyncio

import pytest

from callgate.errors import APITimeoutError, DeadlineExceededError, ServerError
from callgate.model.model import iModel
from callgate.response import Response, Usage
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, make_model, used
from tests.policies.scripted_service import After, Streamed, now

DOWN = ServerError("down", status_code=500)


async def read(model: iModel, **request: object) -> tuple[list[str], BaseException | None]:
    """The pieces of a stream, and what it ended in."""
    pieces: list[str] = []
    try:
        async for chunk in model.invoke_stream(**request):
            if chunk.content:
                pieces.append(chunk.content)
    except Exception as error:
        return pieces, error
    return pieces, None


def test_a_stream_pays_the_limiter_and_settles_like_any_call() -> None:
    answer = Response(text="Once upon", usage=Usage(3, 4))
    model, _ = make_model(
        Streamed(("Once ", "upon"), answer), model={"limit_requests": 100, "limit_tokens": 1000}
    )

    async def main() -> None:
        pieces, error = await read(model, prompt="x", num_api_tokens_needed=10)
        assert (pieces, error) == (["Once ", "upon"], None)
        assert (used(model, "requests"), used(model, "tokens")) == (1, 7)
        await assert_nothing_left(model)

    run_virtual(main())


def test_a_stream_waits_in_the_queue() -> None:
    model, backend = make_model(After(10, Streamed(("a",), "a")), model={"limit_concurrency": 1})

    async def main() -> None:
        await asyncio.gather(*(read(model, prompt=str(n)) for n in range(3)))
        assert now() == 30.0

    run_virtual(main())
    assert backend.most_running == 1


def test_a_stream_is_retried_until_its_first_delivered_piece() -> None:
    model, backend = make_model(DOWN, DOWN, Streamed(("Once",), "Once"))

    async def main() -> None:
        assert await read(model, prompt="x") == (["Once"], None)

    run_virtual(main())
    assert backend.at == [0.0, 1.0, 3.0]


def test_a_stream_is_not_retried_after_its_first_delivered_piece() -> None:
    model, backend = make_model(Streamed(("Once", " upon"), DOWN))

    async def main() -> None:
        assert await read(model, prompt="x") == (["Once", " upon"], DOWN)
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 1


def test_leaving_a_stream_early_cancels_the_call_and_frees_its_place_at_once() -> None:
    model, backend = make_model(
        Streamed(("Once",), After(3600, "never")), "fine", model={"limit_concurrency": 1}
    )

    async def main() -> None:
        stream = model.invoke_stream(prompt="x")
        async for chunk in stream:
            assert chunk.content == "Once"
            break
        await stream.aclose()
        assert (await model.invoke(prompt="y")).response.text == "fine"
        assert now() == 0.0
        await assert_nothing_left(model)

    run_virtual(main())
    assert backend.cancelled == 1


@pytest.mark.parametrize(
    ("limits", "kind"), [({"timeout": 5.0}, APITimeoutError), ({"poll_timeout": 5.0}, DeadlineExceededError)]
)
def test_a_stream_that_stalls_ends_in_time_after_what_came_before(
    limits: dict[str, float], kind: type[Exception]
) -> None:
    model, _ = make_model(Streamed(("Once",), After(3600, "never")))

    async def main() -> None:
        pieces, error = await read(model, prompt="x", **limits)
        assert pieces == ["Once"]
        assert isinstance(error, kind)
        assert now() == 5.0
        await assert_nothing_left(model)

    run_virtual(main())


def test_a_slow_reader_slows_the_stream_and_loses_nothing() -> None:
    pieces = tuple(str(n) for n in range(200))
    model, _ = make_model(Streamed(pieces, "".join(pieces)))

    async def main() -> None:
        got = []
        async for chunk in model.invoke_stream(prompt="x"):
            got.append(chunk.content)
            await asyncio.sleep(1)
        assert got == [*pieces, ""]
        await assert_nothing_left(model)

    run_virtual(main())
