"""One timer ends what takes too long, however many are watched."""

import asyncio

import pytest

from callgate.policies.timeout.timer import Watch
from callgate.testing.clock import VirtualClock, run_virtual


def after(seconds: float) -> float:
    """The moment in so many seconds, by the loop's clock."""
    return asyncio.get_running_loop().time() + seconds


async def bounded(watch: Watch, seconds: float, work: float) -> str:
    task = asyncio.current_task()
    assert task is not None
    watched = watch.begin(task, after(seconds))
    try:
        await asyncio.sleep(work)
    except asyncio.CancelledError:
        if watched.was_it():
            return "too late"
        raise
    else:
        return "in time"
    finally:
        watch.end(watched)


def test_ends_what_takes_too_long_and_nothing_else() -> None:
    async def scenario() -> list[str]:
        watch = Watch(asyncio.get_running_loop())
        ends = await asyncio.gather(*(bounded(watch, seconds, 5.0) for seconds in (1.0, 4.9, 5.1, 60.0)))
        assert len(watch) == 0
        return ends

    assert run_virtual(scenario()) == ["too late", "too late", "in time", "in time"]


def test_the_task_goes_on_after_its_time_was_up() -> None:
    async def scenario() -> float:
        watch = Watch(asyncio.get_running_loop())
        assert await bounded(watch, 1.0, 5.0) == "too late"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(10.0)
        return asyncio.get_running_loop().time()

    run_virtual(scenario())


def test_a_cancellation_from_outside_stays_a_cancellation() -> None:
    async def scenario() -> None:
        watch = Watch(asyncio.get_running_loop())
        task = asyncio.create_task(bounded(watch, 10.0, 20.0))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(scenario())


def test_a_cancellation_in_the_same_moment_is_not_swallowed() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        watch = Watch(loop)
        task = asyncio.create_task(bounded(watch, 1.0, 20.0))
        await asyncio.sleep(0)
        loop.call_later(1.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(scenario())


def test_an_answer_to_our_cancellation_leaves_no_cancellation_behind() -> None:
    async def scenario() -> None:
        watch = Watch(asyncio.get_running_loop())
        task = asyncio.current_task()
        assert task is not None
        watched = watch.begin(task, after(1.0))
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            pass  # as a careless library does
        finally:
            watch.end(watched)
        assert task.cancelling() == 0

    run_virtual(scenario())


def test_two_timers_on_one_task_are_distinguished() -> None:
    async def scenario() -> tuple[bool, bool]:
        watch = Watch(asyncio.get_running_loop())
        task = asyncio.current_task()
        assert task is not None
        outer, inner = watch.begin(task, after(10.0)), watch.begin(task, after(1.0))
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            return outer.was_it(), inner.was_it()
        finally:
            watch.end(inner)
            watch.end(outer)
        return False, False

    assert run_virtual(scenario()) == (False, True)


def test_a_hundred_thousand_watched_hold_one_timer_and_the_ended_are_forgotten() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        watch = Watch(loop)
        task = asyncio.current_task()
        assert task is not None
        timers = 0
        call_at = loop.call_at

        def counted(*args: object, **kwargs: object) -> asyncio.TimerHandle:
            nonlocal timers
            timers += 1
            return call_at(*args, **kwargs)  # type: ignore[arg-type]

        loop.call_at = counted  # type: ignore[method-assign]
        watched = [watch.begin(task, after(60.0 + number)) for number in range(100_000)]
        assert timers == 1
        for each in watched:
            watch.end(each)
        assert len(watch) == 0
        assert len(watch._heap) <= 200
        watch.end(watched[0])  # ending twice changes nothing
        assert repr(watch) == "<Watch 0 watched>"

    run_virtual(scenario())


def test_an_earlier_end_moves_the_timer() -> None:
    async def scenario() -> list[str]:
        watch = Watch(asyncio.get_running_loop())
        late = asyncio.create_task(bounded(watch, 50.0, 100.0))
        await asyncio.sleep(1.0)
        early = asyncio.create_task(bounded(watch, 2.0, 100.0))
        return [await early, await late]

    assert run_virtual(scenario()) == ["too late", "too late"]


def test_a_reminder_calls_at_its_moment_unless_it_is_ended_before() -> None:
    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        watch = Watch(loop)
        called: list[float] = []
        task = asyncio.create_task(bounded(watch, 60.0, 4.0))
        for seconds in (5.0, 1.0, 3.0):
            watch.remind(loop.time() + seconds, lambda: called.append(loop.time()))
        ended = watch.remind(loop.time() + 2.0, lambda: called.append(-1.0))
        watch.end(ended)
        assert await task == "in time"
        passed = watch.remind(loop.time() + 0.5, lambda: None)
        await asyncio.sleep(1.5)
        watch.end(passed)  # after its time: nothing is left to do
        assert len(watch) == 0
        return called

    assert run_virtual(scenario()) == [1.0, 3.0, 5.0]


def test_a_reminder_that_raises_does_not_affect_the_others() -> None:
    async def scenario() -> tuple[list[float], list[str]]:
        loop = asyncio.get_running_loop()
        told: list[str] = []
        loop.set_exception_handler(lambda _, context: told.append(repr(context["exception"])))
        watch = Watch(loop)
        called: list[float] = []

        def broken() -> None:
            raise ValueError("mine")

        watch.remind(loop.time() + 1.0, broken)
        watch.remind(loop.time() + 1.0, lambda: called.append(loop.time()))
        watch.remind(loop.time() + 2.0, lambda: called.append(loop.time()))
        await asyncio.sleep(3.0)
        return called, told

    called, told = run_virtual(scenario())
    assert called == [pytest.approx(1.0), 2.0]
    assert told == ["ValueError('mine')"]


def test_a_reminder_may_end_and_set_many_others() -> None:
    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        watch = Watch(loop)
        called: list[float] = []

        def tidy_up() -> None:
            for other in others:
                watch.end(other)  # so many that the heap is made anew
            watch.remind(loop.time() + 1.0, lambda: called.append(loop.time()))

        watch.remind(loop.time() + 1.0, tidy_up)
        others = [watch.remind(loop.time() + 5.0, lambda: called.append(-1.0)) for _ in range(200)]
        await asyncio.sleep(10.0)
        assert len(watch) == 0
        return called

    assert run_virtual(scenario()) == [2.0]


@pytest.mark.parametrize(("arrives_after", "ends"), [(0.01, "in time"), (2.0, "too late")])
def test_what_arrived_while_the_process_was_stopped_is_read_before_anything_ends(
    arrives_after: float, ends: str
) -> None:
    clock = VirtualClock()

    async def work(arrived: asyncio.Event) -> str:
        watch = Watch(asyncio.get_running_loop())
        task = asyncio.current_task()
        assert task is not None
        watched = watch.begin(task, after(3.0))
        for _ in range(200):  # so many that end meanwhile have the heap tidied up
            watch.end(watch.begin(task, after(2.5)))
        try:
            await arrived.wait()
        except asyncio.CancelledError:
            assert watched.was_it()
            return "too late"
        else:
            return "in time"
        finally:
            watch.end(watched)

    async def scenario() -> tuple[str, float]:
        arrived = asyncio.Event()
        task = asyncio.create_task(work(arrived))
        await asyncio.sleep(1.0)
        clock._advance_to(10.0)  # the process goes on; its sockets are read after its timers
        asyncio.get_running_loop().call_later(arrives_after, arrived.set)
        return await task, clock.time()

    end, at = clock.run(scenario())
    assert end == ends
    assert at == pytest.approx(10.0 + min(1.0, arrives_after))


def test_what_ends_during_a_grace_does_not_shorten_it() -> None:
    clock = VirtualClock()

    async def scenario() -> float:
        watch = Watch(asyncio.get_running_loop())
        others = [asyncio.create_task(bounded(watch, 3.0, 9.5)) for _ in range(200)]
        late = asyncio.create_task(bounded(watch, 3.0, 10.5))
        await asyncio.sleep(1.0)
        clock._advance_to(9.5)
        assert await asyncio.gather(*others) == ["in time"] * 200
        assert await late == "too late"
        return clock.time()

    assert clock.run(scenario()) == pytest.approx(10.5)
