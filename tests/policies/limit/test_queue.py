"""One queue in front of several gates: which call passes which gate, and what holds back what."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from callgate.errors import ConfigurationError, DeadlineExceededError, QuotaTooSmallError
from callgate.policies.limit.candidate import FirstWithRoom
from callgate.policies.limit.gate import Event, Gate
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.queue import Queue
from callgate.policies.limit.quota import Quota
from callgate.testing.clock import run_virtual


def start(
    queue: Queue, gates: Sequence[Gate] | None = None, *, tokens: float = 0.0, front: bool = False
) -> asyncio.Task[Lease]:
    candidate = FirstWithRoom(queue.gates if gates is None else tuple(gates), tokens)
    return asyncio.get_running_loop().create_task(queue.acquire(candidate, front=front))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_head_takes_the_first_gate_with_room_and_then_the_next() -> None:
    async def main() -> None:
        first, second = Gate(concurrency=1), Gate(concurrency=2)
        queue = Queue([first, second])
        leases = [await queue.acquire(FirstWithRoom(queue.gates, 0.0)) for _ in range(3)]
        assert [lease.gate for lease in leases] == [first, second, second]
        waiting = start(queue)
        await settled()
        assert queue.waiting == 1
        leases[1].release()
        assert (await waiting).gate is second

    run_virtual(main())


def test_a_pause_closes_one_gate_and_not_the_queue() -> None:
    async def main() -> None:
        first, second = Gate(), Gate(requests=Quota(1, 1.0))
        queue = Queue([first, second])
        queue.bind(asyncio.get_running_loop())
        first.pause_until(60.0)
        leases = [await queue.acquire(FirstWithRoom(queue.gates, 0.0)) for _ in range(3)]
        assert {lease.gate for lease in leases} == {second}
        assert leases[-1].granted_at == pytest.approx(2 * 1.01)

    run_virtual(main())


def test_calls_go_in_the_order_they_came_whichever_gate_opens() -> None:
    async def main() -> None:
        gates = [Gate(requests=Quota(rate, 1.0, 1)) for rate in (3, 7, 2)]
        queue = Queue(gates)
        order: list[int] = []

        async def call(number: int) -> None:
            await queue.acquire(FirstWithRoom(queue.gates, 0.0))
            order.append(number)

        await asyncio.gather(*(call(number) for number in range(200)))
        assert order == list(range(200))
        assert asyncio.get_running_loop().time() == pytest.approx(200 / 12 * 1.01, rel=0.05)

    run_virtual(main())


def test_a_call_that_refuses_a_gate_does_not_hold_back_those_behind_it_from_that_gate() -> None:
    async def main() -> None:
        tried, other = Gate(concurrency=1), Gate(concurrency=1)
        queue = Queue([tried, other])
        held = [await queue.acquire(FirstWithRoom((gate,), 0.0)) for gate in queue.gates]
        retry = start(queue, [other], front=True)
        fresh = start(queue)
        await settled()
        held[0].release()
        assert (await fresh).gate is tried
        assert not retry.done()
        held[1].release()
        assert (await retry).gate is other

    run_virtual(main())


def test_a_gate_that_an_earlier_call_waits_for_is_not_offered_to_a_later_one() -> None:
    async def main() -> None:
        small, large = Gate(tokens=Quota(100, 1.0)), Gate(concurrency=1)
        queue = Queue([small, large])
        await queue.acquire(FirstWithRoom((small,), 50))
        held = await queue.acquire(FirstWithRoom((large,), 0))
        first = start(queue, [small], tokens=90)
        second = start(queue, tokens=10)
        await settled()
        assert not second.done()  # it would fit into the small gate, which the first one waits for
        held.release()
        assert (await second).gate is large
        assert (await first).gate is small

    run_virtual(main())


def test_a_retry_of_other_gates_passes_before_fresh_calls() -> None:
    async def main() -> None:
        first, second = Gate(concurrency=1), Gate(concurrency=1)
        queue = Queue([first, second])
        held = [await queue.acquire(FirstWithRoom(queue.gates, 0.0)) for _ in range(2)]
        fresh = start(queue)
        await settled()
        retry = start(queue, [second], front=True)
        await settled()
        held[1].release()
        await settled()
        assert retry.done()
        assert not fresh.done()
        held[0].release()
        assert (await fresh).gate is first

    run_virtual(main())


def test_one_timer_serves_all_gates() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        queue = Queue([Gate(requests=Quota(1, period)) for period in (1.0, 5.0, 60.0)])
        tasks = [start(queue) for _ in range(30)]
        await settled()
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert len(timers) == 1
        await asyncio.gather(*tasks)
        assert queue.waiting == 0
        assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]

    run_virtual(main())


def test_gates_have_no_listener_while_no_call_waits() -> None:
    async def main() -> None:
        gate = Gate(concurrency=1)
        queue = Queue([gate])
        lease = await queue.acquire(FirstWithRoom(queue.gates, 0.0))
        assert not gate.listeners
        waiting = start(queue)
        await settled()
        assert len(gate.listeners) == 1
        lease.release()
        await waiting
        assert not gate.listeners

    run_virtual(main())


def test_two_queues_may_share_a_gate() -> None:
    async def main() -> None:
        gate = Gate(concurrency=1)
        one, other = Queue([gate]), Queue([gate])
        lease = await one.acquire(FirstWithRoom((gate,), 0.0))
        tasks = [start(queue) for queue in (one, other, one)]
        await settled()
        for task in (tasks[0], tasks[2], tasks[1]):
            lease.release()
            lease = await task
        assert gate.in_flight == 1

    run_virtual(main())


class TestFits:
    def test_a_cost_is_refused_only_if_it_is_too_large_for_each_gate(self) -> None:
        async def main() -> None:
            small, large = Gate(tokens=Quota(10), name="small"), Gate(tokens=Quota(100), name="large")
            queue = Queue([small, large])
            assert (await queue.acquire(FirstWithRoom(queue.gates, 90))).gate is large
            with pytest.raises(QuotaTooSmallError, match="small"):
                await queue.acquire(FirstWithRoom(queue.gates, 101))

        run_virtual(main())

    def test_a_cost_that_no_gate_admits_any_more_is_refused_while_it_waits(self) -> None:
        async def main() -> None:
            gate = Gate(tokens=Quota(100, 1.0))
            queue = Queue([gate])
            await queue.acquire(FirstWithRoom((gate,), 100))
            large, small = start(queue, tokens=80), start(queue, tokens=8)
            await settled()
            gate.set_quota("tokens", Quota(10, 1.0))
            with pytest.raises(QuotaTooSmallError):
                await large
            assert (await small).granted_at == pytest.approx(1.01)

        run_virtual(main())

    @pytest.mark.parametrize("tokens", [-1.0, math.nan])
    def test_a_cost_that_is_no_amount_is_refused(self, tokens: float) -> None:
        with pytest.raises(ConfigurationError, match="must be a number from 0"):
            FirstWithRoom((Gate(),), tokens)


class TestDeadlines:
    def test_a_deadline_before_any_gate_has_room_is_refused_at_once(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            queue = Queue([Gate(requests=Quota(1, period)) for period in (10.0, 20.0)])
            for _ in range(2):
                await queue.acquire(FirstWithRoom(queue.gates, 0.0))
            with pytest.raises(DeadlineExceededError):
                await queue.acquire(FirstWithRoom(queue.gates, 0.0), deadline=9.0)
            assert loop.time() == 0.0
            lease = await queue.acquire(FirstWithRoom(queue.gates, 0.0), deadline=11.0)
            assert lease.granted_at == pytest.approx(10.04)

        run_virtual(main())


class TestCandidates:
    def test_a_candidate_may_pass_over_a_free_gate_for_one_that_is_better_soon(self) -> None:
        class Picky(FirstWithRoom):
            def admit(self, gates: Sequence[Gate], now: float) -> Lease | float:
                if fast.wait(0.0, now) > 2.0:
                    return super().admit(gates, now)
                return super().admit([gate for gate in gates if gate is fast], now)

        slow, fast = Gate(), Gate(requests=Quota(1, 10.0))
        queue = Queue([slow, fast])

        async def main() -> None:
            leases = []
            for at in (0.0, 5.0, 9.0):
                await asyncio.sleep(at - asyncio.get_running_loop().time())
                leases.append(await queue.acquire(Picky(queue.gates, 0.0)))
            assert [lease.gate for lease in leases] == [fast, slow, fast]
            assert leases[-1].granted_at == pytest.approx(10.04)

        run_virtual(main())

    def test_what_a_candidate_raises_ends_its_own_wait_and_no_other(self) -> None:
        class Ejected(FirstWithRoom):
            def admit(self, gates: Sequence[Gate], now: float) -> Lease | float:
                if gate.in_flight:
                    return math.inf
                raise LookupError("no endpoint is left")

        gate = Gate(concurrency=1)
        queue = Queue([gate])

        async def main() -> None:
            lease = await queue.acquire(FirstWithRoom((gate,), 0.0))
            ejected = asyncio.get_running_loop().create_task(queue.acquire(Ejected((gate,), 0.0)))
            await settled()
            after = start(queue)
            await settled()
            lease.release()
            with pytest.raises(LookupError):
                await ejected
            await after
            with pytest.raises(LookupError):
                gate.in_flight = 0
                await queue.acquire(Ejected((gate,), 0.0))

        run_virtual(main())

    def test_without_waiting_only_an_empty_queue_is_passed(self) -> None:
        async def main() -> None:
            gate = Gate(concurrency=1)
            queue = Queue([gate])
            events: list[Event] = []
            gate.subscribe(events.append)
            assert queue.try_acquire(FirstWithRoom((gate,), 0.0)) is not None
            assert events == ["admitted"]
            assert queue.try_acquire(FirstWithRoom((gate,), 0.0)) is None
            waiting = start(queue)
            await settled()
            gate.set_concurrency(2)
            await waiting
            blocked = start(queue)
            await settled()
            assert queue.try_acquire(FirstWithRoom((gate,), 0.0)) is None
            assert repr(queue) == "<Queue '': 1 waiting for 1 gates>"
            blocked.cancel()

        run_virtual(main())
