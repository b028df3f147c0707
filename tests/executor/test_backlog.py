from __future__ import annotations

import asyncio
import gc
from typing import Any

from callgate.call.calling import Calling
from callgate.errors import DeadlineExceededError
from callgate.executor.backlog import Backlog
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import Scripted, calling, now

SERVICE = Scripted("")
OURS = {"prompt": "of this test"}


def filled(*calls: Calling) -> Backlog:
    backlog = Backlog()
    for call in calls:
        backlog.add(call, SERVICE)
    return backlog


def timers() -> int:
    """Timers of the running loop that are set."""
    loop: Any = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in loop._scheduled)


def test_first_come_first_served() -> None:
    async def main() -> None:
        calls = [calling() for _ in range(3)]
        backlog = filled(*calls)
        assert backlog
        assert [backlog.pop() for _ in range(4)] == [*((call, SERVICE) for call in calls), None]
        assert not backlog

    run_virtual(main())


def test_ended_callings_are_skipped() -> None:
    async def main() -> None:
        calls = [calling() for _ in range(4)]
        backlog = filled(*calls)
        for position in (0, 1, 3):
            calls[position].cancel()
        assert backlog.pop() == (calls[2], SERVICE)
        assert not backlog
        assert backlog.pop() is None

    run_virtual(main())


def test_a_deadline_ends_the_call_at_its_very_moment() -> None:
    async def main() -> None:
        calls = [calling(deadline=deadline) for deadline in (7.0, 3.0, 11.0)]
        backlog = filled(*calls)
        for call in calls:
            await call
            assert isinstance(call.error, DeadlineExceededError)
            assert call.request_id in str(call.error)
            assert call.error.surely_unsent
        assert [call.ended_at for call in calls] == [7.0, 3.0, 11.0]
        assert not backlog

    run_virtual(main())


def test_one_timer_however_many_wait() -> None:
    async def main() -> None:
        filled(*(calling(deadline=1000.0 - n) for n in range(500)))
        assert timers() == 1
        await asyncio.sleep(750)
        assert timers() == 1
        await asyncio.sleep(300)
        assert timers() == 0

    run_virtual(main())


def test_a_call_that_has_left_is_not_ended_by_its_deadline() -> None:
    async def main() -> None:
        left, waiting = calling(deadline=5.0), calling(deadline=6.0)
        backlog = filled(left, waiting)
        assert backlog.pop() == (left, SERVICE)
        left.bind(asyncio.current_task())
        await waiting
        assert not left.done
        assert now() == 6.0

    run_virtual(main())


def test_a_call_that_has_left_is_not_kept_until_its_deadline() -> None:
    async def main() -> None:
        backlog = filled(*(calling(payload=OURS, deadline=now() + 3600.0) for _ in range(1000)))
        while (waiting := backlog.pop()) is not None:
            waiting[0].complete(Response(text=""), now())
        del waiting
        gc.collect()
        # Not isinstance, which has the lazy modules of installed SDKs imported.
        alive = [each for each in gc.get_objects() if type(each) is Calling and each.payload is OURS]
        assert len(alive) < 100

    gc.collect()
    run_virtual(main())


def test_a_call_that_was_cancelled_is_not_ended_twice() -> None:
    async def main() -> None:
        call = calling(deadline=5.0)
        filled(call)
        call.cancel()
        await asyncio.sleep(10)
        assert call.cancelled
        assert call.ended_at == 0.0

    run_virtual(main())


def test_cancel_all_ends_all_callings_and_leaves_no_timer() -> None:
    async def main() -> None:
        calls = [calling(deadline=100.0), calling()]
        backlog = filled(*calls)
        backlog.cancel_all()
        assert all(call.cancelled for call in calls)
        assert not backlog
        assert timers() == 0
        backlog.cancel_all()

    run_virtual(main())
