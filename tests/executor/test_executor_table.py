"""The table of docs/executor.md: what becomes of a call, its permit, its tokens and the queue, row by row.

Each row is acted out, and what is seen is said in the words of the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import QuotaTooSmallError
from callgate.executor.executor import Executor
from callgate.testing.clock import run_virtual

GUIDE = Path(__file__).parents[2] / "docs" / "executor.md"
HEADER = "| what happens | the call | its permit | its tokens | the queue |"
COST, QUOTA = 7, 100


def read_table() -> dict[str, tuple[str, ...]]:
    """The rows of the guide's table: what happens -> the other four cells."""
    lines = GUIDE.read_text(encoding="utf-8").partition(HEADER)[2].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines[: lines.index("")]]
    return {row[0]: tuple(row[1:]) for row in rows}


TABLE = read_table()


@dataclass
class Case:
    """An executor with one place, and the call that is looked at."""

    executor: Executor
    call: Calling | None = None
    ending: str = ""
    queue: str = ""

    async def submit(self, task: Callable[[], Awaitable[Any]], cost: int = COST) -> Calling:
        self.call = await self.executor.submit_task(task, num_api_tokens_needed=cost)
        return self.call

    async def busy(self) -> Calling:
        """Another call, which takes the one place for a minute."""
        return await self.executor.submit_task(taking(60))

    def describe(self) -> tuple[str, ...]:
        """The row that this case turned out to be."""
        call = self.call
        ending = [self.ending] if self.ending else []
        if call is not None:
            ending.append(call.status.value + (f", {call.error_type}" if call.error is not None else ""))
        limits = self.executor.limiter.snapshot()
        assert limits.in_flight == 0
        assert limits.tokens is not None
        permit = "never had one" if call is None or call.sent_at is None else "free again"
        tokens = {0.0: "not charged", float(COST): "charged"}[limits.tokens.used]
        return ", then ".join(ending), permit, tokens, self.queue


def taking(seconds: float, answer: Any = "ok") -> Callable[[], Awaitable[Any]]:
    async def task() -> Any:
        await asyncio.sleep(seconds)
        return answer

    return task


async def raising() -> None:
    raise LookupError("nothing there")


async def answers(case: Case) -> None:
    await (await case.submit(taking(1)))


async def answers_500(case: Case) -> None:
    await (await case.submit(taking(1, (500, {}, "sorry"))))


async def answers_429(case: Case) -> None:
    await (await case.submit(taking(1, (429, {"Retry-After": "9"}, "slow down"))))


async def raises(case: Case) -> None:
    await (await case.submit(raising))


async def cancelled_while_queued(case: Case) -> None:
    await case.busy()
    before_it = await case.executor.submit_task(taking(1))
    call = await case.submit(taking(1))
    await asyncio.sleep(1)
    assert call.status.value == "queued"
    call.cancel()
    await before_it


async def cancelled_while_next(case: Case) -> None:
    first = await case.busy()
    call = await case.submit(taking(1))
    await asyncio.sleep(1)
    assert call.status.value == "processing"
    call.cancel()
    await first


async def cancelled_on_the_wire(case: Case) -> None:
    call = await case.submit(taking(60))
    await asyncio.sleep(1)
    assert call.status.value == "calling"
    call.cancel()
    await call


async def cancelled_after_its_end(case: Case) -> None:
    call = await case.submit(taking(1))
    await call
    assert call.cancel() is False


async def costs_too_much(case: Case) -> None:
    with pytest.raises(QuotaTooSmallError):
        await case.submit(taking(1), cost=QUOTA + 1)
    case.ending = "refused at submit"


async def queue_full(case: Case) -> None:
    await case.busy()
    await case.executor.submit_task(taking(1))
    await case.executor.submit_task(taking(1))
    submitting = asyncio.ensure_future(case.submit(taking(1)))
    await asyncio.sleep(1)
    assert not submitting.done()
    case.ending = "waits to be submitted"
    await (await submitting)


async def submitter_cancelled(case: Case) -> None:
    first = await case.busy()
    await case.executor.submit_task(taking(1))
    last = await case.executor.submit_task(taking(1))
    submitting = asyncio.ensure_future(case.submit(taking(1)))
    await asyncio.sleep(1)
    submitting.cancel()
    await asyncio.wait([submitting])
    assert submitting.cancelled()
    case.ending = "never submitted"
    await first
    await last


async def stopped(case: Case, *, queued: bool, graceful: bool) -> None:
    if queued:
        await case.busy()
    call = await case.submit(taking(5))
    await asyncio.sleep(1)
    assert call.status.value == ("processing" if queued else "calling")
    await case.executor.stop(graceful=graceful)
    case.queue = "finished, then " if graceful else ""


SCENARIOS: dict[str, Callable[[Case], Awaitable[None]]] = {
    "it answers": answers,
    "it answers with a 500": answers_500,
    "it answers with a 429": answers_429,
    "it raises": raises,
    "cancelled while it is queued": cancelled_while_queued,
    "cancelled while it is next in line": cancelled_while_next,
    "cancelled on the wire": cancelled_on_the_wire,
    "cancelled after its end": cancelled_after_its_end,
    "it costs more than the quota": costs_too_much,
    "the queue is full": queue_full,
    "cancelled while waiting for room in the queue": submitter_cancelled,
    "`stop()` while it is queued": lambda case: stopped(case, queued=True, graceful=True),
    "`stop()` while it is on the wire": lambda case: stopped(case, queued=False, graceful=True),
    "`stop(graceful=False)` while it is queued": lambda case: stopped(case, queued=True, graceful=False),
    "`stop(graceful=False)` while it is on the wire": lambda case: stopped(
        case, queued=False, graceful=False
    ),
}


def test_every_row_of_the_table_is_acted_out() -> None:
    assert list(TABLE) == list(SCENARIOS)


@pytest.mark.parametrize("what", SCENARIOS)
def test_what_becomes_of_a_call(what: str) -> None:
    async def probe(case: Case) -> None:
        """Say what a call that comes now meets."""
        began = asyncio.get_running_loop().time()
        try:
            after = await (await case.executor.submit_task(taking(0)))
        except RuntimeError:
            case.queue += "refuses"
        else:
            assert after.status.value == "completed"
            case.queue += "goes on" if asyncio.get_running_loop().time() == began else "pauses"

    async def main() -> Case:
        executor = Executor(
            queue_capacity=2,
            concurrency_limit=1,
            requests_rate=None,
            api_tokens_rate=QUOTA,
            api_tokens_period=3600,
        )
        await executor.start()
        case = Case(executor)
        await SCENARIOS[what](case)
        await probe(case)
        await executor.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        seen = case.describe()
        promised = tuple(cell.replace("with the exception's name", "LookupError") for cell in TABLE[what])
        assert seen == promised
        return case

    run_virtual(main())
