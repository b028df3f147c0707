from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import APITimeoutError, DeadlineExceededError, RateLimitError, ServerError
from callgate.pipeline import Layers, Service, pipeline
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.breaker.layer import breaker_layer
from callgate.policies.hedge.layer import Hedge
from callgate.policies.hedge.policy import HedgePolicy
from callgate.policies.limit.layer import Pushback, limit_layer
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota
from callgate.policies.retry.config import RetryBudget
from callgate.policies.timeout.attempt import timeout_layer
from callgate.policies.timeout.deadline import deadline_layer
from callgate.response import Response, Usage
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import After, Scripted, Streamed, calling, errors, hedges, now, result_of

USUAL = After(1.0, "usual")
SLOW = After(100.0, "slow")
DOWN = ServerError("down", status_code=500)


class HedgedService:
    """A hedged service that has seen ten answers of one second each, and the parts around it.

    With the usual share these pay for one attempt that is sent again.
    """

    def __init__(
        self,
        *steps: Any,
        limiter: Limiter | None = None,
        budget: RetryBudget | None = None,
        timeout: float | None = None,
        **policy: Any,
    ) -> None:
        self.backend = Scripted(*[USUAL] * 10, *steps)
        self.limiter = limiter or Limiter()
        self.hedge = Hedge(HedgePolicy(**{"share": 0.1, "min_samples": 10, **policy}), now, budget=budget)
        self.breaker = CircuitBreaker(clock=now)
        layers = Layers(
            deadline=deadline_layer(),
            hedge=self.hedge,
            limit=limit_layer(
                self.limiter, now, pushback=Pushback(random.Random(0)), dispatched=self.hedge.sent
            ),
            breaker=breaker_layer(self.breaker),
            timeout=timeout_layer(timeout),
        )
        self.service: Service = pipeline(self.backend, layers)

    async def warm(self) -> float:
        """Let the ten usual answers pass; gives the time."""
        for _ in range(10):
            await self.service(calling())
        return now()

    def nothing_is_left(self) -> None:
        assert (self.limiter.in_flight, self.limiter.waiting) == (0, 0)
        assert self.backend.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        hedge = self.hedge
        assert [*hedge._races, *hedge._waiting, *hedge._unwatched] == []


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(main())


def test_the_second_attempt_of_a_straggler_wins_and_the_first_is_cancelled() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, USUAL)
        begun = await hedged.warm()
        call = calling()
        assert (await hedged.service(call)).text == "usual"
        assert now() - begun == pytest.approx(2.01)  # patience, then the second one's second
        assert (len(call.attempts), hedges(call)) == (2, 1)
        assert hedged.backend.cancelled == 1
        assert errors(call) == []
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        hedged.nothing_is_left()

    run(main)


def test_what_takes_the_usual_time_is_sent_once() -> None:
    async def main() -> None:
        hedged = HedgedService(USUAL)
        await hedged.warm()
        call = calling()
        await hedged.service(call)
        assert (len(call.attempts), hedges(call)) == (1, 0)
        hedged.nothing_is_left()

    run(main)


def test_the_first_attempt_may_still_win() -> None:
    async def main() -> None:
        hedged = HedgedService(After(1.5, "first"), SLOW)
        begun = await hedged.warm()
        call = calling()
        assert (await hedged.service(call)).text == "first"
        assert now() - begun == 1.5
        assert (len(call.attempts), hedges(call)) == (2, 1)
        assert hedged.backend.cancelled == 1
        hedged.nothing_is_left()

    run(main)


def test_nothing_is_sent_twice_before_enough_is_known() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, min_samples=11)
        await hedged.warm()
        call = calling()
        await hedged.service(call)
        assert hedges(call) == 0

    run(main)


def test_a_stream_is_never_sent_twice() -> None:
    async def sink(_: object) -> None:
        pass

    async def main() -> None:
        hedged = HedgedService(After(50.0, Streamed(("a", "b"), "ab")))
        await hedged.warm()
        call = calling()
        call.sink = sink
        assert (await hedged.service(call)).text == "ab"
        assert len(call.attempts) == 1

    run(main)


# --- what it may cost -----------------------------------------------------------------------------------


def test_the_second_attempt_pays_the_limiter_and_the_loser_keeps_its_charge() -> None:
    async def main() -> None:
        limiter = Limiter(tokens=Quota(1000, 86400.0), requests=Quota(100, 86400.0))
        hedged = HedgedService(SLOW, USUAL, limiter=limiter)
        await hedged.warm()
        await hedged.service(calling(num_api_tokens_needed=40))
        seen = limiter.snapshot()
        assert seen.tokens is not None
        assert seen.requests is not None
        assert (seen.tokens.used, seen.requests.used) == (80, 12)
        hedged.nothing_is_left()

    run(main)


def test_without_quota_left_the_second_attempt_waits_in_line_and_is_never_sent() -> None:
    async def main() -> None:
        hedged = HedgedService(After(30.0, "first"), limiter=Limiter(requests=Quota(11, 86400.0)))
        await hedged.warm()
        call = calling()
        task = asyncio.ensure_future(hedged.service(call))
        await asyncio.sleep(10.0)
        assert hedged.limiter.waiting == 1
        assert (await task).text == "first"
        assert (len(call.attempts), hedges(call)) == (1, 0)
        hedged.nothing_is_left()

    run(main)


def test_an_empty_retry_budget_allows_none() -> None:
    async def main() -> None:
        hedged = HedgedService(After(30.0, "first"), budget=RetryBudget(0.0, 0.0, now))
        await hedged.warm()
        call = calling()
        assert (await hedged.service(call)).text == "first"
        assert len(call.attempts) == 1

    run(main)


def test_a_second_attempt_is_taken_from_the_retry_budget() -> None:
    async def main() -> None:
        budget = RetryBudget(0.0, 0.1, now)  # one in ten seconds
        hedged = HedgedService(SLOW, USUAL, budget=budget)
        await hedged.warm()
        await hedged.service(calling())
        assert budget.balance == 0.0

    run(main)


def test_when_all_is_slow_only_the_share_is_sent_twice() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, share=0.1)
        await hedged.warm()
        calls = [calling() for _ in range(90)]
        await asyncio.gather(*(hedged.service(call) for call in calls))
        assert sum(hedges(call) for call in calls) == 10
        hedged.nothing_is_left()

    run(main)


# --- who could not be afforded at once -------------------------------------------------------------------


def test_a_straggler_that_the_share_does_not_pay_for_is_sent_again_when_calls_have_paid_in() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, SLOW, USUAL)
        await hedged.warm()
        older, younger = calling(), calling()
        tasks = [asyncio.ensure_future(hedged.service(call)) for call in (older, younger)]
        await asyncio.sleep(5.0)
        assert [task.done() for task in tasks] == [True, False]
        for begun in range(1, 9):  # the two of them had paid in 0.2 already
            await hedged.service(calling())
            assert len(hedged.backend.at) == 13 + begun + (begun == 8)
        assert (await tasks[1]).text == "usual"
        assert (hedges(older), hedges(younger)) == (1, 1)
        hedged.nothing_is_left()

    run(main)


def test_late_attempts_are_hedged_oldest_first_and_leave_the_queue_when_answered() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, After(2.5, "late"), SLOW, SLOW, USUAL)
        begun = await hedged.warm()
        calls = [calling() for _ in range(4)]
        tasks = []
        for call in calls:
            tasks.append(asyncio.ensure_future(hedged.service(call)))
            await asyncio.sleep(0.1)
        await asyncio.sleep(4.0)
        assert [len(call.attempts) for call in calls] == [2, 1, 1, 1]
        assert tasks[1].done()
        for _ in range(6):
            await hedged.service(calling())
        await tasks[2]
        assert now() - begun < 20.0
        assert [task.done() for task in tasks] == [True, True, True, False]
        assert (await tasks[3]).text == "slow"
        hedged.nothing_is_left()

    run(main)


def test_a_late_attempt_near_its_deadline_does_not_block_the_queue() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, SLOW, SLOW, USUAL)
        begun = await hedged.warm()
        calls = [calling(), calling(deadline=begun + 5.0), calling()]
        tasks = [asyncio.ensure_future(result_of(hedged.service, call)) for call in calls]
        await asyncio.sleep(4.5)
        await asyncio.gather(*(hedged.service(calling()) for _ in range(8)))
        assert [len(call.attempts) for call in calls] == [2, 1, 2]
        outcomes = await asyncio.gather(*tasks)
        assert isinstance(outcomes[1], DeadlineExceededError)
        hedged.nothing_is_left()

    run(main)


def test_what_was_sent_before_the_usual_time_was_known_is_sent_again_once_it_is() -> None:
    async def main() -> None:
        hedged = HedgedService(min_samples=10)
        hedged.backend._steps[:] = [SLOW, After(3.0, "in time"), *[USUAL] * 10]
        calls = [calling() for _ in range(2)]
        tasks = [asyncio.ensure_future(hedged.service(call)) for call in calls]
        await asyncio.sleep(0.0)
        for _ in range(9):
            await hedged.service(calling())
        assert (await tasks[0]).text == "usual"
        assert now() == 10.0  # the ninth of them was the tenth answer
        assert [hedges(call) for call in calls] == [1, 0]
        hedged.nothing_is_left()

    run(main)


def test_when_all_become_slower_no_attempt_is_late_by_the_old_quantile() -> None:
    async def main() -> None:
        hedged = HedgedService(
            *[After(4.0, "slower")] * 12, After(4.02, "usual by now"), share=0.5, window=10
        )
        await hedged.warm()
        first = [calling() for _ in range(10)]
        tasks = [asyncio.ensure_future(hedged.service(call)) for call in first[:2]]
        await asyncio.sleep(1.0)
        hedged.hedge.late._sorted[:] = [4.0] * 10  # as ten answers of that time would have it
        assert [(await task).text for task in tasks] == ["slower"] * 2
        assert sum(hedges(call) for call in first) == 0
        hedged.nothing_is_left()

    run(main)


def test_the_share_of_attempts_in_flight_is_kept_for_surely_late_ones() -> None:
    async def main() -> None:
        hedged = HedgedService(*[After(1.2, "a little late")] * 9, SLOW, After(1.0, "second"))
        begun = await hedged.warm()
        calls = [calling() for _ in range(10)]
        tasks = [asyncio.ensure_future(hedged.service(call)) for call in calls]
        # Two are paid for: one by those before, one by these ten.
        assert (await tasks[9]).text == "second"
        assert now() - begun == pytest.approx(4.0)  # three times the usual, and the second one's second
        assert [hedges(call) for call in calls] == [1, *[0] * 8, 1]
        hedged.nothing_is_left()

    run(main)


def test_a_second_attempt_that_never_left_the_limiters_line_is_paid_back() -> None:
    async def main() -> None:
        hedged = HedgedService(After(30.0, "first"), limiter=Limiter(requests=Quota(11, 86400.0)))
        await hedged.warm()
        task = asyncio.ensure_future(hedged.service(calling()))
        await asyncio.sleep(10.0)
        assert not hedged.hedge.late.affordable()
        await task
        assert hedged.hedge.late.affordable()

    run(main)


def test_when_the_retry_budget_has_recovered_the_next_answer_sends_late_attempts_again() -> None:
    async def main() -> None:
        budget = RetryBudget(0.0, 0.1, now)  # one in ten seconds
        hedged = HedgedService(SLOW, After(12.0, "other"), USUAL, budget=budget)
        await hedged.warm()
        assert budget.withdraw()  # somebody's retry
        late, other = calling(), calling(deadline=now() + 12.5)
        tasks = [asyncio.ensure_future(hedged.service(call)) for call in (late, other)]
        await asyncio.sleep(11.0)
        assert len(late.attempts) == 1
        await tasks[1]
        assert (await tasks[0]).text == "usual"
        assert now() == pytest.approx(23.0)
        hedged.nothing_is_left()

    run(main)


def test_a_second_attempt_that_takes_long_gets_one_beside_it_and_no_more_come() -> None:
    async def main() -> None:
        spent = Response(text="third", usage=Usage(3, 4))
        for steps, attempts, seconds in (
            ((SLOW, SLOW, After(1.0, spent)), 3, 3.02),
            ((SLOW, SLOW, SLOW, USUAL), 3, 100.0),
        ):
            hedged = HedgedService(*steps, share=0.5)
            begun = await hedged.warm()
            call = calling()
            await hedged.service(call)
            assert now() - begun == pytest.approx(seconds)
            assert (len(call.attempts), hedges(call), errors(call)) == (attempts, 2, [])
            hedged.nothing_is_left()

    run(main)


def test_the_result_of_a_third_attempt_is_on_the_call() -> None:
    answer = Response(text="second", usage=Usage(3, 4))
    third = Response(text="third", usage=Usage(5, 6))

    class Stubborn(Scripted):
        """Answers its third attempt however much it is cancelled."""

        async def _do(self, step: Any, call: Calling) -> Response:
            try:
                return await super()._do(step, call)
            except asyncio.CancelledError:
                if len(self.at) < 13 or call is not self.callings[12]:
                    raise
                return third

    async def main() -> None:
        hedged = HedgedService(SLOW, After(30.0, answer), After(1.0, DOWN), share=0.5)
        await hedged.warm()
        call = calling()
        assert await hedged.service(call) is answer
        assert errors(call) == [DOWN]
        hedged.nothing_is_left()

        hedged = HedgedService(share=0.5)
        hedged.backend = Stubborn(*[USUAL] * 10, SLOW, After(2.0, answer), SLOW)
        hedged.service = hedged.hedge(limit_layer_of(hedged, hedged.backend))
        await hedged.warm()
        call = calling()
        assert await hedged.service(call) is answer
        assert len(call.attempts) == 3

    run(main)


# --- failures -------------------------------------------------------------------------------------------


def test_a_second_attempt_that_fails_leaves_the_first_one_to_answer() -> None:
    async def main() -> None:
        hedged = HedgedService(After(30.0, "first"), After(1.0, DOWN))
        await hedged.warm()
        call = calling()
        assert (await hedged.service(call)).text == "first"
        assert errors(call) == [DOWN]
        assert (len(call.attempts), hedges(call)) == (2, 1)
        hedged.nothing_is_left()

    run(main)


def test_a_first_attempt_that_fails_leaves_the_second_one_to_answer() -> None:
    async def main() -> None:
        hedged = HedgedService(After(2.0, DOWN), After(10.0, "second"))
        begun = await hedged.warm()
        call = calling()
        assert (await hedged.service(call)).text == "second"
        assert now() - begun == pytest.approx(11.01)
        assert errors(call) == [DOWN]
        hedged.nothing_is_left()

    run(main)


def test_when_both_fail_the_first_error_stands_and_the_other_is_kept() -> None:
    async def main() -> None:
        other = ServerError("down, too", status_code=503)
        for steps in ((After(2.0, DOWN), After(10.0, other)), (After(20.0, DOWN), After(1.0, other))):
            hedged = HedgedService(*steps)
            await hedged.warm()
            call = calling()
            assert await result_of(hedged.service, call) is DOWN
            assert set(errors(call)) == {DOWN, other}
            hedged.nothing_is_left()

    run(main)


def test_a_429_beside_a_failure_does_not_hide_that_a_try_was_used() -> None:
    """Raised as a 429, the call would be tried again without end and billed for the other each time."""

    async def main() -> None:
        pushed, limited = (
            RateLimitError("slow down", status_code=429),
            RateLimitError("you too", status_code=429),
        )
        for first, second, raised, kept in (
            (After(2.0, pushed), After(10.0, DOWN), DOWN, pushed),
            (After(20.0, pushed), After(1.0, DOWN), DOWN, pushed),
            (After(2.0, DOWN), After(10.0, pushed), DOWN, pushed),
            (After(2.0, pushed), After(10.0, limited), pushed, limited),
        ):
            hedged = HedgedService(first, second)
            await hedged.warm()
            call = calling()
            assert await result_of(hedged.service, call) is raised
            assert set(errors(call)) == {raised, kept}
            hedged.nothing_is_left()

    run(main)


def test_a_failure_before_anybody_lost_patience_is_raised_at_once() -> None:
    async def main() -> None:
        hedged = HedgedService(After(0.5, DOWN))
        begun = await hedged.warm()
        call = calling()
        assert await result_of(hedged.service, call) is DOWN
        assert now() - begun == 0.5
        hedged.nothing_is_left()

    run(main)


def test_a_second_attempt_that_was_refused_is_no_failure() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, limiter=Limiter(requests=Quota(11, 86400.0)))
        begun = await hedged.warm()
        call = calling(deadline=begun + 200.0)
        assert (await hedged.service(call)).text == "slow"
        assert (errors(call), len(call.attempts)) == ([], 1)
        hedged.nothing_is_left()

    run(main)


def test_each_attempt_has_a_timeout_of_its_own() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, After(4.0, "second"), timeout=5.0)
        begun = await hedged.warm()
        call = calling()
        assert (await hedged.service(call)).text == "second"
        assert now() - begun == pytest.approx(5.01)  # the first was cut off at 5.0
        assert [type(error) for error in errors(call)] == [APITimeoutError]
        hedged.nothing_is_left()

    run(main)


def test_a_loser_says_nothing_about_the_service() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, USUAL)
        await hedged.warm()
        await hedged.service(calling())
        assert hedged.breaker.metrics["failure_count"] == 0

    run(main)


def test_when_both_answer_in_one_moment_the_other_answer_is_counted_as_spent() -> None:
    answer = Response(text="second", usage=Usage(3, 4))

    class Stubborn(Scripted):
        """Answers its second attempt however much it is cancelled."""

        async def _do(self, step: Any, call: Calling) -> Response:
            try:
                return await super()._do(step, call)
            except asyncio.CancelledError:
                return answer

    async def main() -> None:
        hedged = HedgedService()
        backend = Stubborn(*[USUAL] * 10, After(1.5, "first"), SLOW)
        hedged.service = hedged.hedge(limit_layer_of(hedged, backend))
        await hedged.warm()
        call = calling()
        assert (await hedged.service(call)).text == "first"
        assert [each.usage for each in call.attempts][-1] == answer.usage

    run(main)


def test_a_first_attempt_that_will_not_be_cancelled_leaves_no_cancellation_behind() -> None:
    class Stubborn(Scripted):
        async def _do(self, step: Any, call: Calling) -> Response:
            try:
                return await super()._do(step, call)
            except asyncio.CancelledError:
                return Response(text="stubborn")

    async def main() -> None:
        hedged = HedgedService()
        hedged.service = hedged.hedge(limit_layer_of(hedged, Stubborn(*[USUAL] * 10, SLOW, USUAL)))
        await hedged.warm()
        call = calling()
        assert (await hedged.service(call)).text == "stubborn"
        assert call.usage is None
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main)


def limit_layer_of(hedged: HedgedService, backend: Service) -> Service:
    layer = limit_layer(
        hedged.limiter, now, pushback=Pushback(random.Random(0)), dispatched=hedged.hedge.sent
    )
    return layer(backend)


# --- time and cancellation ------------------------------------------------------------------------------


def test_no_second_attempt_when_the_usual_time_would_pass_the_deadline() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, USUAL)
        begun = await hedged.warm()
        call = calling(deadline=begun + 2.0)
        assert isinstance(await result_of(hedged.service, call), DeadlineExceededError)
        assert now() - begun == 2.0
        assert len(call.attempts) == 1
        hedged.nothing_is_left()

    run(main)


def test_the_deadline_ends_both() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, SLOW)
        begun = await hedged.warm()
        call = calling(deadline=begun + 10.0)
        assert isinstance(await result_of(hedged.service, call), DeadlineExceededError)
        assert (len(call.attempts), hedged.backend.cancelled) == (2, 2)
        hedged.nothing_is_left()

    run(main)


@pytest.mark.parametrize("moment", [0.5, 1.5, 2.0, 5.0])
def test_cancelling_the_call_cancels_both_attempts(moment: float) -> None:
    async def main() -> None:
        # From 2.0 on the first has failed and the second one's answer is waited for.
        hedged = HedgedService(After(2.0, DOWN), SLOW)
        await hedged.warm()
        task = asyncio.ensure_future(hedged.service(calling()))
        await asyncio.sleep(moment)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        hedged.nothing_is_left()

    run(main)


def test_a_cancellation_as_the_second_attempt_wins_is_kept() -> None:
    async def main() -> None:
        hedged = HedgedService(SLOW, USUAL)
        await hedged.warm()
        task = asyncio.ensure_future(hedged.service(calling()))
        asyncio.get_running_loop().call_later(2.01, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()
        hedged.nothing_is_left()

    run(main)


def test_a_cancelled_second_attempt_does_not_end_the_call() -> None:
    async def main() -> None:
        for steps in ((After(30.0, "first"), SLOW), (After(3.0, DOWN), SLOW)):
            hedged = HedgedService(*steps)
            await hedged.warm()
            call = calling()
            task = asyncio.ensure_future(result_of(hedged.service, call))
            await asyncio.sleep(2.0)
            second = hedged.hedge._races[call].second
            assert second is not None
            second.cancel()
            outcome = await task
            assert outcome is DOWN or isinstance(outcome, Response)
            hedged.nothing_is_left()

    run(main)


def test_what_was_given_up_stays_a_straggler_in_the_books() -> None:
    async def main() -> None:
        # Otherwise the quick second answers would make ever more of the usual ones look late.
        hedged = HedgedService(*[SLOW, USUAL] * 20, share=0.5)
        await hedged.warm()
        for _ in range(5):
            await hedged.service(calling())
        assert hedged.hedge.late.patience == pytest.approx(1.01)
        for _ in range(15):
            await hedged.service(calling())
        assert hedged.hedge.late.patience is not None
        assert hedged.hedge.late.patience > 2.0

    run(main)


def test_time_outside_of_attempts_makes_none_late() -> None:
    async def main() -> None:
        # No limit layer tells when an attempt goes on the wire.
        hedge = Hedge(HedgePolicy(min_samples=2), now)
        backend = Scripted(USUAL, USUAL, SLOW)
        for _ in range(3):
            await hedge(backend)(calling())
        assert hedge.late.patience is None
        assert len(backend.at) == 3

    run(main)
