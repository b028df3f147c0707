"""Virtual time: exact, deterministic, and loud when nothing can ever happen."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from callgate.testing.clock import DeadlockError, VirtualClock, run_virtual


def test_waiting_takes_virtual_time_only() -> None:
    begun = time.monotonic()
    clock = VirtualClock()
    assert clock.run(asyncio.sleep(86_400 * 365, "a year")) == "a year"
    assert clock.time() == 86_400 * 365
    assert time.monotonic() - begun < 60


def test_timers_run_in_order_at_exactly_their_moments() -> None:
    seen: list[tuple[str, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for name, at in (("c", 0.3), ("a", 0.1), ("b", 0.1), ("d", 1e6 + 0.1)):
            loop.call_at(at, lambda name=name: seen.append((name, loop.time())))  # type: ignore[misc]
        loop.call_at(0.2, seen.append, ("cancelled", 0.2)).cancel()
        await asyncio.sleep(1e6 + 1)

    run_virtual(main())
    assert seen == [("a", 0.1), ("b", 0.1), ("c", 0.3), ("d", 1e6 + 0.1)]


@pytest.mark.parametrize("start", [0.0, 1e9, 1e12])
def test_two_timers_one_ulp_apart_run_at_their_own_times(start: float) -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1e-9)
        await asyncio.sleep(0.5)
        return [loop.time()]

    assert run_virtual(main(), start=start) == [pytest.approx(start + 0.5)]


def test_every_run_is_the_same() -> None:
    async def main() -> list[tuple[int, float]]:
        loop, seen = asyncio.get_running_loop(), []

        async def worker(number: int) -> None:
            for step in range(5):
                await asyncio.sleep((number * 7 + step * 3) % 4 / 10)
                seen.append((number, loop.time()))

        await asyncio.gather(*(worker(number) for number in range(20)))
        return seen

    assert run_virtual(main()) == run_virtual(main())


def test_the_time_continues_from_run_to_run() -> None:
    clock = VirtualClock(100.0, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    clock.run(asyncio.sleep(20))
    clock.run(asyncio.sleep(3))
    assert clock.time() == 123.0
    assert clock.to_datetime(120.0) == datetime(2026, 1, 1, 0, 2, tzinfo=UTC)


def test_timeouts_work() -> None:
    async def main() -> float:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.get_running_loop().create_future()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 2.5


class TestDeadlock:
    def test_the_error_names_the_waiting_tasks_and_their_places(self) -> None:
        async def waits_for_ever() -> None:
            await asyncio.get_running_loop().create_future()

        async def main() -> None:
            await asyncio.sleep(7)
            task = asyncio.get_running_loop().create_task(waits_for_ever(), name="the lost one")
            await task

        with pytest.raises(DeadlockError, match=r"at 7 s of virtual time.*the lost one.*waits_for_ever"):
            run_virtual(main())

    def test_waiting_tasks_can_still_await_in_their_cleanup(self) -> None:
        cleaned: list[float] = []

        async def main() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(5)
                cleaned.append(asyncio.get_running_loop().time())

        with pytest.raises(DeadlockError):
            run_virtual(main())
        assert cleaned == [5.0]

    def test_a_task_that_has_not_begun_is_named_too(self) -> None:
        clock = VirtualClock()
        loop = clock.new_event_loop()
        future = loop.create_future()
        try:
            with pytest.raises(DeadlockError, match="these wait: $"):
                loop.run_until_complete(future)
        finally:
            loop.close()


class TestThreads:
    def test_functions_in_threads_take_no_virtual_time(self) -> None:
        async def main() -> tuple[list[int], float]:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(5, lambda: None)
            results = await asyncio.gather(*(asyncio.to_thread(lambda n=n: n * 2) for n in range(20)))
            assert not timer.cancelled()
            return results, loop.time()

        assert run_virtual(main()) == ([n * 2 for n in range(20)], 0.0)

    def test_a_slow_thread_is_waited_for(self) -> None:
        go_on = threading.Event()

        async def main() -> float:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, go_on.set)
            await loop.run_in_executor(None, go_on.wait)
            await asyncio.sleep(1)
            return loop.time()

        assert run_virtual(main()) == 1.0

    def test_an_error_in_a_thread_propagates(self) -> None:
        def fails() -> None:
            raise ValueError("in a thread")

        async def main() -> None:
            with pytest.raises(ValueError, match="in a thread"):
                await asyncio.to_thread(fails)
            await asyncio.sleep(1)

        run_virtual(main())

    def test_a_call_from_another_thread_is_run(self) -> None:
        async def main() -> str:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[str] = loop.create_future()

            def call() -> None:
                loop.call_soon_threadsafe(future.set_result, "from outside")

            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
            return await future

        assert run_virtual(main()) == "from outside"


@pytest.mark.parametrize(
    "open_something",
    [
        lambda: asyncio.open_connection("127.0.0.1", 9),
        lambda: asyncio.start_server(print, "127.0.0.1", 0),
        lambda: asyncio.create_subprocess_exec("true"),
    ],
)
def test_sockets_and_processes_are_refused(open_something: Callable[[], Any]) -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError, match="a virtual clock has no sockets"):
            await open_something()

    run_virtual(main())


def test_many_waits_leave_no_timer_behind() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()

        async def worker() -> None:
            for _ in range(200):
                await asyncio.sleep(0.01)

        await asyncio.gather(*(worker() for _ in range(100)))
        return len(loop._scheduled)  # type: ignore[attr-defined]

    assert run_virtual(main()) == 0
