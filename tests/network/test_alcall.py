"""`alcall`: in order, bounded, the first exhausted error ends it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from callgate.errors import APITimeoutError, AuthenticationError, ConfigurationError
from callgate.network.alcall import alcall
from callgate.testing.clock import run_virtual


def now() -> float:
    return asyncio.get_running_loop().time()


class ConcurrencyCounter:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.begun: list[float] = []

    async def __call__(self, item: int, plus: int = 0) -> int:
        self.begun.append(now())
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep((item * 7 % 5) / 10)  # not in their order
            return item + plus
        finally:
            self.inside -= 1


def test_results_come_in_the_order_of_the_inputs() -> None:
    assert run_virtual(alcall(range(50), ConcurrencyCounter(), plus=100)) == list(range(100, 150))


def test_no_more_run_at_once_than_permitted_and_as_many() -> None:
    counter = ConcurrencyCounter()
    run_virtual(alcall(range(50), counter, max_concurrent=5))
    assert counter.most == 5


def test_many_inputs_do_not_make_as_many_tasks() -> None:
    async def main() -> None:
        counts: list[int] = []

        async def call(item: int) -> None:
            if item % 500 == 0:
                counts.append(len(asyncio.all_tasks()))
            await asyncio.sleep(0)

        await alcall(iter(range(5000)), call)
        assert max(counts) <= 1001

    run_virtual(main())


def test_failures_are_tried_again_with_growing_delays() -> None:
    async def main() -> None:
        times: list[float] = []

        async def call(_: str) -> str:
            times.append(now())
            if len(times) < 4:
                raise ValueError("not yet")
            return "done"

        assert await alcall("text", call, num_retries=3, retry_delay=1, backoff_factor=2) == ["done"]
        assert times == [0.0, 1.0, 3.0, 7.0]

    run_virtual(main())


def test_the_first_exhausted_error_is_raised_itself_and_cancels_the_rest() -> None:
    async def main() -> None:
        ended: list[int] = []

        async def call(item: int) -> None:
            if item == 3:
                await asyncio.sleep(1)
                raise KeyError("three")
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(item)

        with pytest.raises(KeyError, match="three"):
            await alcall(range(10), call)
        assert sorted(ended) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert now() == 1.0
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_cancelling_it_cancels_all_its_calls() -> None:
    async def main() -> None:
        counter = ConcurrencyCounter()

        async def call(item: int) -> None:
            counter.inside += 1
            try:
                await asyncio.sleep(100)
            finally:
                counter.inside -= 1

        task = asyncio.create_task(alcall(range(10), call))
        await asyncio.sleep(1)
        assert counter.inside == 10
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert counter.inside == 0

    run_virtual(main())


def test_what_no_retry_mends_is_not_tried_again() -> None:
    async def main() -> None:
        calls = 0

        async def call(_: int) -> None:
            nonlocal calls
            calls += 1
            raise AuthenticationError(status_code=401)

        with pytest.raises(AuthenticationError):
            await alcall([1], call, num_retries=5)
        assert calls == 1

    run_virtual(main())


def test_a_default_stands_where_all_attempts_failed() -> None:
    async def call(item: int) -> int:
        return 10 // item

    assert run_virtual(alcall([5, 0, 2], call, retry_default=None)) == [2, None, 5]


def test_an_attempt_that_takes_too_long_is_ended_and_tried_again() -> None:
    async def main() -> None:
        seconds = iter([5.0, 0.5])

        async def call(_: int) -> str:
            await asyncio.sleep(next(seconds))
            return "done"

        assert await alcall([1], call, retry_timeout=1.0, num_retries=1) == ["done"]
        assert now() == 1.5
        with pytest.raises(APITimeoutError):
            await alcall([1], functools.partial(asyncio.sleep, 9), retry_timeout=1.0)

    run_virtual(main())


def test_a_timeout_of_the_function_itself_stays_its_own() -> None:
    async def call(_: int) -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        run_virtual(alcall([1], call, retry_timeout=5.0))


def test_beginnings_are_throttled_and_delayed() -> None:
    counter = ConcurrencyCounter()
    run_virtual(alcall(range(5), counter, throttle_period=2.0, initial_delay=1.0))
    assert counter.begun == [1.0, 3.0, 5.0, 7.0, 9.0]


def test_a_sync_function_does_not_block_the_loop() -> None:
    def call(item: int) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert asyncio.run(alcall(range(3), call)) == [False] * 3


def test_what_a_sync_function_gives_to_be_awaited_is_awaited() -> None:
    async def double(item: int) -> int:
        await asyncio.sleep(0)
        return 2 * item

    assert asyncio.run(alcall(range(3), lambda item: double(item), retry_timeout=30)) == [0, 2, 4]


def test_one_value_is_one_input_and_any_iterable_is_many() -> None:
    async def call(item: Any) -> Any:
        return item

    async def come() -> AsyncIterator[int]:
        for item in range(3):
            yield item

    def give() -> Iterator[int]:
        yield from range(3)

    for one in ("text", b"bytes", {"a": 1}, 7, None):
        assert run_virtual(alcall(one, call)) == [one]
    for many in ([0, 1, 2], (0, 1, 2), give(), come()):
        assert run_virtual(alcall(many, call)) == [0, 1, 2]
    assert run_virtual(alcall([], call)) == []


def test_results_can_be_tidied() -> None:
    async def call(item: Any) -> Any:
        return item

    inputs = [[1, [2, (3,)]], None, 1, [None, 4]]
    assert run_virtual(alcall(inputs, call, flatten=True)) == [1, 2, 3, None, 1, None, 4]
    assert run_virtual(alcall(inputs, call, flatten=True, dropna=True, unique_output=True)) == [1, 2, 3, 4]
    assert run_virtual(alcall([[1], [1], {"a": 1}, {"a": 1}], call, unique_output=True)) == [[1], {"a": 1}]


def test_bounds_that_cannot_work_are_refused() -> None:
    async def call(item: Any) -> Any:
        return item

    for wrong in ({"max_concurrent": 0}, {"num_retries": -1}):
        with pytest.raises(ConfigurationError):
            run_virtual(alcall([1], call, **wrong))
