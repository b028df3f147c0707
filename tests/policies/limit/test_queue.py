"""The line in front of a limiter, by itself."""

from __future__ import annotations

import asyncio
import math
import random

from callgate.policies.limit.queue import Line, Waiter
from callgate.testing.clock import run_virtual


def waiter(tokens: float = 0.0, *, front: bool = False, deadline: float | None = None) -> Waiter:
    return Waiter(asyncio.get_running_loop().create_future(), tokens, front, deadline, None)


def test_a_newcomer_knows_what_stands_before_it() -> None:
    async def main() -> None:
        line = Line()
        for tokens, front in ((5, False), (7, True), (11, False), (13, True)):
            line.join(waiter(tokens, front=front))
        assert line.ahead(front=False) == (4, 36)
        assert line.ahead(front=True) == (2, 20)
        head = line.head()
        assert head is not None
        assert head.tokens == 7
        line.leave(head)
        line.leave(head)  # counts once
        assert line.ahead(front=True) == (1, 13)
        assert line.ahead(front=False) == (3, 29)

    run_virtual(main())


def test_an_empty_line_asks_for_nothing_whatever_floats_have_lost() -> None:
    async def main() -> None:
        line = Line()
        members = [waiter(0.1 * number) for number in range(1, 50)]
        for member in members:
            line.join(member)
        for member in members:
            line.leave(member)
        assert line.ahead(front=False) == (0, 0.0)
        assert line.head() is None

    run_virtual(main())


def test_the_earliest_deadline_of_those_who_still_wait() -> None:
    async def main() -> None:
        line = Line()
        assert line.next_deadline() == math.inf
        late, early, none = waiter(deadline=9.0), waiter(deadline=3.0), waiter()
        for member in (late, early, none):
            line.join(member)
        assert line.next_deadline() == 3.0
        assert line.overdue(2.9) is None
        assert line.overdue(3.0) is early
        line.leave(early)
        assert line.next_deadline() == 9.0
        line.leave(late)
        assert line.next_deadline() == math.inf

    run_virtual(main())


def test_deadlines_stay_in_order_when_the_line_is_tidied_up() -> None:
    async def main() -> None:
        rng = random.Random(0)
        line = Line()
        members = [waiter(deadline=rng.random()) for _ in range(2000)]
        for member in members:
            line.join(member)
        rng.shuffle(members)
        while members:
            line.leave(members.pop())
            earliest = min((member.deadline or 0.0 for member in members[::-1]), default=math.inf)
            if len(members) % 50 == 0:
                assert line.next_deadline() == earliest

    run_virtual(main())


def test_deadlines_of_those_who_went_are_not_kept() -> None:
    async def main() -> None:
        line = Line()
        line.join(waiter(deadline=1.0))  # the earliest, at the top of the heap
        for number in range(10_000):
            member = waiter(deadline=1e6 - number)
            line.join(member)
            line.leave(member)
        assert len(line._deadlines) < 200
        assert len(line._fresh) < 200
        assert line.next_deadline() == 1.0

    run_virtual(main())
