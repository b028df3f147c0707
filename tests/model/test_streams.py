"""Streams for one reader, and for many."""

import asyncio

import pytest

from callgate import CallCancelledError, Calling, Executor, ServerError, StreamChunk, iModel
from callgate.response import Delta, Response
from callgate.testing.clock import run_virtual


class Letters:
    """A backend that streams letters and then answers, or fails, with what it said."""

    name = "letters"

    def __init__(self, text: str, error: Exception | None = None) -> None:
        self.text = text
        self.error = error
        self.sent = 0
        self.cancelled = False

    async def call(self, calling: Calling) -> Response:
        try:
            for letter in self.text:
                await calling.emit(Delta(text=letter))
                self.sent += 1
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        return Response(text=self.text)


def test_a_stream_gives_every_chunk_and_then_the_whole_answer() -> None:
    async def scenario() -> list[StreamChunk]:
        async with iModel(backend=Letters("moon")) as model:
            return [chunk async for chunk in model.invoke_stream()]

    chunks = asyncio.run(scenario())
    assert [str(chunk) for chunk in chunks] == ["m", "o", "o", "n", ""]
    assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4]
    assert [chunk.is_final for chunk in chunks] == [False] * 4 + [True]
    assert chunks[-1].response is not None
    assert chunks[-1].response.text == "moon"


def test_a_failed_stream_raises_after_what_came_before_it() -> None:
    async def scenario() -> list[str]:
        seen: list[str] = []
        async with iModel(backend=Letters("mo", ServerError("gone", status_code=500))) as model:
            with pytest.raises(ServerError):
                async for chunk in model.invoke_stream():
                    seen.append(chunk.content)
        return seen

    assert asyncio.run(scenario()) == ["m", "o"]


def test_a_stream_that_cannot_begin_says_why_and_is_not_waited_for_ever() -> None:
    async def one_reader(model: iModel) -> None:
        async for _ in model.invoke_stream():
            pass

    async def many_readers(model: iModel) -> None:
        channel = await model.invoke_stream_with_channel()
        with pytest.raises(RuntimeError, match="not started"):
            await channel.response()
        async for _ in channel:
            pass

    async def scenario() -> None:
        model = iModel(Letters("moon"), executor=Executor())
        for read in (one_reader, many_readers):
            with pytest.raises(RuntimeError, match="not started"):
                await read(model)

    run_virtual(scenario())


def test_a_stream_whose_task_is_cancelled_before_its_first_step_has_ended() -> None:
    async def scenario() -> None:
        async with iModel(backend=Letters("moon")) as model:
            channel = await model.invoke_stream_with_channel()
            reading = asyncio.ensure_future(channel.response())
            asyncio.get_running_loop().call_soon(channel.calling.cancel)
            with pytest.raises(CallCancelledError):
                await reading
            assert channel.is_completed

    run_virtual(scenario())


def test_leaving_a_stream_early_cancels_the_call() -> None:
    backend = Letters("x" * 10_000)

    async def scenario() -> None:
        async with iModel(backend=backend) as model:
            stream = model.invoke_stream()
            async for _ in stream:
                break
            await stream.aclose()
            assert model.limiter.in_flight == 0

    asyncio.run(scenario())
    assert backend.cancelled


def test_a_provider_cannot_run_far_ahead_of_its_reader() -> None:
    backend = Letters("x" * 10_000)

    async def scenario() -> None:
        async with iModel(backend=backend) as model:
            stream = model.invoke_stream()
            await anext(stream)
            for _ in range(2_000):
                await asyncio.sleep(0)
            assert backend.sent < 1_000
            await stream.aclose()

    asyncio.run(scenario())


def test_every_consumer_of_a_channel_sees_every_chunk_however_slow_another_is() -> None:
    async def scenario() -> tuple[list[str], list[str], str]:
        fast: list[str] = []
        slow: list[str] = []
        release = asyncio.Event()

        async def crawl(chunk: StreamChunk) -> None:
            if not slow:
                await release.wait()
            slow.append(chunk.content)

        async with iModel(backend=Letters("planet")) as model:
            channel = await model.invoke_stream_with_channel()
            channel.add_consumer(crawl)
            channel.add_consumer(lambda chunk: fast.append(chunk.content))
            await channel.response()
            while len(fast) < 7:
                await asyncio.sleep(0)
            assert slow == []
            release.set()
            async for _ in channel:
                pass
            assert channel.is_completed
            return fast, slow, channel.get_accumulated()

    fast, slow, text = asyncio.run(scenario())
    assert fast == slow == [*"planet", ""]
    assert text == "planet"


def test_a_consumer_that_raises_is_dropped_and_reported() -> None:
    async def scenario() -> None:
        seen: list[str] = []

        def broken(chunk: StreamChunk) -> None:
            raise ValueError("no")

        async with iModel(backend=Letters("abc")) as model:
            channel = await model.invoke_stream_with_channel()
            channel.add_consumer(broken)
            channel.add_consumer(lambda chunk: seen.append(chunk.content))
            async for _ in channel:
                pass
            assert seen == ["a", "b", "c", ""]
            assert [consumer for consumer, _ in channel.failures] == [broken]

    asyncio.run(scenario())


def test_a_late_consumer_gets_the_earlier_chunks_too() -> None:
    async def scenario() -> list[str]:
        late: list[str] = []
        async with iModel(backend=Letters("abc")) as model:
            channel = await model.invoke_stream_with_channel()
            async for _ in channel:
                pass
            channel.add_consumer(lambda chunk: late.append(chunk.content))
            async for _ in channel:
                pass
            assert [chunk.content for chunk in channel.get_buffer()] == late
        return late

    assert asyncio.run(scenario()) == ["a", "b", "c", ""]


def test_a_removed_consumer_is_called_no_more() -> None:
    async def scenario() -> None:
        seen: list[str] = []

        def consumer(chunk: StreamChunk) -> None:
            seen.append(chunk.content)

        async with iModel(backend=Letters("abc" * 50)) as model:
            channel = await model.invoke_stream_with_channel()
            channel.add_consumer(consumer)
            while not seen:
                await asyncio.sleep(0)
            assert channel.remove_consumer(consumer)
            assert not channel.remove_consumer(consumer)
            so_far = len(seen)
            async for _ in channel:
                pass
            assert len(seen) == so_far

    asyncio.run(scenario())


def test_closing_a_channel_cancels_the_call() -> None:
    backend = Letters("x" * 10_000)

    async def scenario() -> None:
        async with iModel(backend=backend) as model:
            channel = await model.invoke_stream_with_channel()
            async for _ in channel:
                break
            await channel.close()
            assert model.limiter.in_flight == 0

    asyncio.run(scenario())
    assert backend.cancelled
