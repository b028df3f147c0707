"""ProcessLocks: one asks at a time, across tasks, loops, caches and processes, and none is left behind."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from callgate.policies.cache import locks as room
from callgate.policies.cache.locks import ProcessLocks
from tests.policies.cache.write_process import key_for

ROOT = Path(__file__).parents[3]
LONG = 600.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "claims"


@pytest.fixture
def pair(file: Path) -> Iterator[tuple[ProcessLocks, ProcessLocks]]:
    """Two caches on one file: to the kernel they are as two processes."""
    one, other = ProcessLocks(file), ProcessLocks(file)
    yield one, other
    one.close()
    other.close()


def start_claimer(file: Path, number: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.policies.cache.lock_process", str(file), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    return process


def test_a_held_lock_excludes_others_until_it_is_released(
    pair: tuple[ProcessLocks, ProcessLocks],
) -> None:
    one, other = pair
    assert one.take(key_for(1))
    assert not one.take(key_for(1))
    assert not other.take(key_for(1))
    assert other.take(key_for(2))
    one.release(key_for(1))
    assert other.take(key_for(1))


def test_a_released_lock_goes_to_a_waiting_call(pair: tuple[ProcessLocks, ProcessLocks]) -> None:
    one, other = pair

    async def main() -> None:
        assert one.take(key_for(1))
        waiting = asyncio.create_task(other.wait(key_for(1), LONG))
        await asyncio.sleep(0)
        assert not waiting.done()
        one.release(key_for(1))
        assert await waiting
        assert not one.take(key_for(1))
        other.release(key_for(1))
        assert one.take(key_for(1))

    asyncio.run(main())


def test_the_lock_of_a_killed_process_goes_to_a_waiting_call(file: Path) -> None:
    claims, holder = ProcessLocks(file), start_claimer(file, 1)

    async def main() -> None:
        assert not claims.take(key_for(1))
        waiting = asyncio.create_task(claims.wait(key_for(1), LONG))
        await asyncio.sleep(0)
        holder.kill()
        assert await waiting

    asyncio.run(main())
    holder.communicate()
    claims.close()


def test_a_process_that_ends_well_gives_its_claims_back(file: Path) -> None:
    claims, holder = ProcessLocks(file), start_claimer(file, 1)
    holder.communicate("")
    assert claims.take(key_for(1))
    claims.close()


def test_the_calls_of_one_cache_get_a_lock_in_fifo_order(
    pair: tuple[ProcessLocks, ProcessLocks],
) -> None:
    one, other = pair
    order: list[int] = []

    async def come(number: int) -> None:
        assert await other.wait(key_for(1), LONG)
        order.append(number)
        other.release(key_for(1))

    async def main() -> None:
        assert one.take(key_for(1))
        tasks = [asyncio.create_task(come(number)) for number in range(5)]
        await asyncio.sleep(0)
        one.release(key_for(1))
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == [0, 1, 2, 3, 4]


def test_locks_are_granted_in_fifo_order(file: Path) -> None:
    claims = ProcessLocks(file)

    async def main() -> None:
        assert claims.take(key_for(1))
        waiting = asyncio.create_task(claims.wait(key_for(1), LONG))
        await asyncio.sleep(0)
        claims.release(key_for(1))
        assert not claims.take(key_for(1)), "it is the waiting one's already"
        assert await waiting

    asyncio.run(main())
    claims.close()


def test_patience_ends_and_leaves_nothing_behind(pair: tuple[ProcessLocks, ProcessLocks]) -> None:
    one, other = pair
    assert one.take(key_for(1))
    assert not asyncio.run(other.wait(key_for(1), 0.001))
    one.release(key_for(1))

    async def lock_again() -> bool:
        # The thread of the call that gave up may hold the lock until it finds that no call waits.
        return one.take(key_for(1)) or await one.wait(key_for(1), LONG)

    assert asyncio.run(lock_again())
    assert not other.take(key_for(1))


@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "in the moment it is granted"])
def test_a_cancelled_call_leaves_the_lock_to_the_next(
    pair: tuple[ProcessLocks, ProcessLocks], granted: bool
) -> None:
    one, _ = pair

    async def main() -> None:
        assert one.take(key_for(1))
        first = asyncio.create_task(one.wait(key_for(1), LONG))
        second = asyncio.create_task(one.wait(key_for(1), LONG))
        await asyncio.sleep(0)
        if granted:
            one.release(key_for(1))
            first.cancel()
        else:
            first.cancel()
            await asyncio.sleep(0)
            one.release(key_for(1))
        assert await second
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


def test_the_last_to_be_cancelled_leaves_it_free(pair: tuple[ProcessLocks, ProcessLocks]) -> None:
    one, other = pair

    async def main() -> None:
        assert one.take(key_for(1))
        waiting = asyncio.create_task(one.wait(key_for(1), LONG))
        await asyncio.sleep(0)
        one.release(key_for(1))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert other.take(key_for(1))

    asyncio.run(main())


def test_more_waits_than_threads_are_all_served(pair: tuple[ProcessLocks, ProcessLocks]) -> None:
    """The claims that no thread waits for are looked after by those that wake."""
    one, other = pair
    numbers = range(room._MOST_WATCHERS * 4)

    async def main() -> None:
        assert all(one.take(key_for(number)) for number in numbers)
        tasks = [asyncio.create_task(other.wait(key_for(number), LONG)) for number in numbers]
        await asyncio.sleep(0)
        watching = [thread for thread in threading.enumerate() if "_wait_in_kernel" in thread.name]
        assert len(watching) == room._MOST_WATCHERS
        for number in reversed(numbers):  # those that nobody watches first
            one.release(key_for(number))
        assert all(await asyncio.gather(*tasks))

    asyncio.run(main())


def test_a_loop_that_was_closed_does_not_keep_the_claim(file: Path) -> None:
    claims = ProcessLocks(file)
    assert claims.take(key_for(1))
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # that a task is left behind is the point
    task = loop.create_task(claims.wait(key_for(1), LONG))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert not task.done()
    loop.close()
    claims.release(key_for(1))
    assert claims.take(key_for(1))
    claims.close()


def test_close_releases_all_locks_and_resumes_waiting_calls(pair: tuple[ProcessLocks, ProcessLocks]) -> None:
    one, other = pair

    async def main() -> None:
        assert one.take(key_for(1))
        assert other.take(key_for(2))
        waiting = asyncio.create_task(other.wait(key_for(1), LONG))
        await asyncio.sleep(0)
        other.close()
        assert await waiting
        other.release(key_for(1))
        other.close()
        assert one.take(key_for(2))

    asyncio.run(main())


def test_without_file_locks_each_process_sends_its_request(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(room, "_lock", refuse)
    one, other = ProcessLocks(file), ProcessLocks(file)
    assert one.take(key_for(1))
    assert other.take(key_for(1))
    one.close()
    other.close()


def test_never_two_at_a_time_whatever_the_turns(file: Path) -> None:
    """Threads with loops of their own, on caches of their own, give up, are cancelled, and go on."""
    holders: Counter[int] = Counter()
    worst = 0
    guard = threading.Lock()

    def change(number: int, by: int) -> None:
        nonlocal worst
        with guard:
            holders[number] += by
            worst = max(worst, holders[number])

    async def use(claims: ProcessLocks, rng: random.Random) -> None:
        for _ in range(60):
            number = rng.randrange(4)
            key = key_for(number)
            if not claims.take(key):
                waiting = asyncio.ensure_future(claims.wait(key, rng.choice([0.001, LONG, LONG])))
                if rng.random() < 0.1:
                    await asyncio.sleep(0)
                    waiting.cancel()
                try:
                    if not await waiting:
                        continue
                except asyncio.CancelledError:
                    continue
            change(number, 1)
            await asyncio.sleep(rng.choice([0, 0, 0.0005]))
            change(number, -1)
            claims.release(key)

    async def many(claims: ProcessLocks, seed: int) -> None:
        await asyncio.gather(*(use(claims, random.Random(seed * 100 + task)) for task in range(8)))

    caches = [ProcessLocks(file), ProcessLocks(file)]
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(asyncio.run, many(caches[seed % 2], seed)) for seed in range(4)]
        for run in runs:
            run.result()
    assert worst == 1
    assert all(cache.take(key_for(number)) for number, cache in enumerate([*caches, *caches]))
    for cache in caches:
        cache.close()


def test_closed_locks_let_every_call_through(file: Path) -> None:
    locks = ProcessLocks(file)
    locks.close()
    locks.close()
    assert locks.take(key_for(1))
    assert asyncio.run(locks.wait(key_for(1), LONG))
    locks.release(key_for(1))


def test_a_wait_that_the_kernel_refuses_ends_with_its_patience(
    pair: tuple[ProcessLocks, ProcessLocks], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    lock = room._lock

    def refuse(fd: int, place: int, *, wait: bool) -> None:
        if wait:
            raise OSError(35, "Resource deadlock avoided")
        lock(fd, place, wait=wait)

    monkeypatch.setattr(room, "_lock", refuse)
    assert one.take(key_for(1))
    assert not asyncio.run(other.wait(key_for(1), 0.01))
    other.close()
