"""One timer for many moments."""

from __future__ import annotations

import asyncio
import math

import uvloop

from callgate.policies.timeout.alarm import Alarm
from callgate.testing.clock import run_virtual


def test_rings_at_the_earliest_of_the_moments() -> None:
    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        rung: list[float] = []
        alarm = Alarm(lambda: rung.append(loop.time()))
        start = loop.time()
        for seconds in (30.0, 10.0, 20.0, math.inf):
            alarm.ring_by(loop, start + seconds)
        await asyncio.sleep(60.0)
        return [at - start for at in rung]

    assert run_virtual(scenario()) == [10.0]


def test_silenced_or_forgotten_it_rings_no_more_until_set_again() -> None:
    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        rung = 0

        def ring() -> None:
            nonlocal rung
            rung += 1

        alarm = Alarm(ring)
        alarm.silence()
        alarm.ring_by(loop, loop.time() + 1.0)
        alarm.silence()
        await asyncio.sleep(5.0)
        assert rung == 0
        alarm.forget()
        alarm.ring_by(loop, loop.time() + 1.0)
        await asyncio.sleep(5.0)
        return rung

    assert run_virtual(scenario()) == 1


def test_a_moment_that_is_already_due_does_not_break_uvloop() -> None:
    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        rung = 0

        def ring() -> None:
            nonlocal rung
            rung += 1

        alarm = Alarm(ring)
        alarm.ring_by(loop, loop.time() - 1.0)
        alarm.ring_by(loop, loop.time() - 2.0)
        await asyncio.sleep(0.01)
        return rung

    assert uvloop.run(scenario()) == 1
