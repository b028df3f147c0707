"""Monotonic seconds, and how they are shown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from callgate.control.clock import Clock, SystemClock
from callgate.testing.clock import VirtualClock


def test_moments_of_a_loop_can_be_shown() -> None:
    clock: Clock = SystemClock()

    async def moment() -> float:
        return asyncio.get_running_loop().time()

    before = datetime.now(UTC) - timedelta(seconds=5)
    shown = clock.to_datetime(asyncio.run(moment()))
    assert before < shown < datetime.now(UTC) + timedelta(seconds=5)
    assert shown.tzinfo is UTC


def test_seconds_apart_are_shown_as_far_apart() -> None:
    clock = SystemClock()
    now = clock.time()
    assert clock.to_datetime(now + 90) - clock.to_datetime(now) == timedelta(seconds=90)


def test_the_virtual_clock_is_a_clock_too() -> None:
    clock: Clock = VirtualClock(60.0)
    assert clock.to_datetime(clock.time()) == datetime(2000, 1, 1, 0, 1, tzinfo=UTC)
