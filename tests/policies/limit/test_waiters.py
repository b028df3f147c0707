"""The order and the deadlines of calls that wait, by themselves."""

from __future__ import annotations

import asyncio
import math
import random

from callgate.policies.limit.candidate import FirstWithRoom
from callgate.policies.limit.gate import Gate
from callgate.policies.limit.waiters import Waiter, Waiters
from callgate.testing.clock import run_virtual

GATES = (Gate(), Gate())


def waiter(
    tokens: float = 0.0,
    *,
    front: bool = False,
    deadline: float | None = None,
    gates: tuple[Gate, ...] = GATES,
) -> Waiter:
    future = asyncio.get_running_loop().create_future()
    return Waiter(FirstWithRoom(gates, tokens), future, front, deadline, None)


def test_calls_and_tokens_ahead_are_counted_for_each_class() -> None:
    async def main() -> None:
        waiters = Waiters()
        for tokens, front in ((5, False), (7, True), (11, False), (13, True)):
            waiters.join(waiter(tokens, front=front))
        assert waiters.ahead(front=False) == (4, 36)
        assert waiters.ahead(front=True) == (2, 20)
        head = waiters.first()
        assert head is not None
        assert head.tokens == 7
        waiters.leave(head)
        waiters.leave(head)  # counts once
        assert waiters.ahead(front=True) == (1, 13)
        assert waiters.ahead(front=False) == (3, 29)

    run_virtual(main())


def test_without_waiters_no_tokens_are_ahead_whatever_floats_have_lost() -> None:
    async def main() -> None:
        waiters = Waiters()
        members = [waiter(0.1 * number) for number in range(1, 50)]
        for member in members:
            waiters.join(member)
        for member in members:
            waiters.leave(member)
        assert waiters.ahead(front=False) == (0, 0.0)
        assert waiters.first() is None

    run_virtual(main())


def test_the_next_deadline_is_the_earliest_of_those_that_still_wait() -> None:
    async def main() -> None:
        waiters = Waiters()
        assert waiters.next_deadline() == math.inf
        late, early, none = waiter(deadline=9.0), waiter(deadline=3.0), waiter()
        for member in (late, early, none):
            waiters.join(member)
        assert waiters.next_deadline() == 3.0
        assert waiters.overdue(2.9) is None
        assert waiters.overdue(3.0) is early
        waiters.leave(early)
        assert waiters.next_deadline() == 9.0
        waiters.leave(late)
        assert waiters.next_deadline() == math.inf

    run_virtual(main())


def test_deadlines_stay_in_order_when_the_heap_is_compacted() -> None:
    async def main() -> None:
        rng = random.Random(0)
        waiters = Waiters()
        members = [waiter(deadline=rng.random()) for _ in range(2000)]
        for member in members:
            waiters.join(member)
        rng.shuffle(members)
        while members:
            waiters.leave(members.pop())
            earliest = min((member.deadline or 0.0 for member in members[::-1]), default=math.inf)
            if len(members) % 50 == 0:
                assert waiters.next_deadline() == earliest

    run_virtual(main())


def test_deadlines_of_waiters_that_left_are_not_kept() -> None:
    async def main() -> None:
        waiters = Waiters()
        waiters.join(waiter(deadline=1.0))  # the earliest, at the top of the heap
        for number in range(10_000):
            member = waiter(deadline=1e6 - number)
            waiters.join(member)
            waiters.leave(member)
        assert len(waiters._deadlines) < 200
        assert len(waiters._lanes[False, GATES]) < 200
        assert waiters.next_deadline() == 1.0

    run_virtual(main())


def test_lanes_of_different_gates_are_served_in_the_order_of_joining_and_retries_first() -> None:
    async def main() -> None:
        waiters = Waiters()
        one, both = GATES[:1], GATES
        joined = [
            waiter(gates=gates, front=front)
            for gates, front in ((one, False), (both, False), (one, True), (both, True), (one, False))
        ]
        for each in joined:
            waiters.join(each)
        served = []
        while (first := waiters.first()) is not None:
            served.append(joined.index(first))
            waiters.leave(first)
        assert served == [2, 3, 0, 1, 4]
        assert not waiters._lanes

    run_virtual(main())


def test_a_lane_whose_gates_are_all_claimed_is_passed_over() -> None:
    async def main() -> None:
        waiters = Waiters()
        one, both = waiter(gates=GATES[:1]), waiter(gates=GATES)
        waiters.join(one)
        waiters.join(both)
        assert waiters.first() is one
        assert waiters.first({GATES[0]}) is both
        assert waiters.first(set(GATES)) is None

    run_virtual(main())
