"""A process without file descriptors queues its calls for the connections that it has."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callgate.errors import APIConnectionError, APITimeoutError
from callgate.testing import run_virtual
from tests.transport.test_pool import HI, Network, later


class Scarce(Network):
    """A network in which at most `limit` sockets can be open at once."""

    def __init__(self, limit: int) -> None:
        super().__init__(later(1.0, HI))
        self.limit = limit
        self.most = 0
        self.refused = 0
        self.opening = 0

    async def _connect(self, *args: Any, **where: Any) -> Any:
        if self.open + self.opening >= self.limit:
            self.refused += 1
            raise OSError(errno.EMFILE, "Too many open files")
        self.opening += 1
        try:
            made = await super()._connect(*args, **where)
        finally:
            self.opening -= 1
        self.most = max(self.most, self.open)
        return made


def on(limit: int, scenario: Callable[[Scarce], Awaitable[None]]) -> None:
    async def main() -> None:
        network = Scarce(limit)
        await scenario(network)
        await network.pool.close()

    run_virtual(main())


def test_more_calls_than_descriptors_are_all_answered() -> None:
    async def scenario(network: Scarce) -> None:
        bodies = await asyncio.gather(*(network.ask() for _ in range(100)))
        assert bodies == [b"hi"] * 100
        assert network.most <= 20

    on(20, scenario)


def test_a_reserve_is_left_to_the_rest_of_the_process() -> None:
    async def scenario(network: Scarce) -> None:
        calls = [asyncio.ensure_future(network.ask()) for _ in range(100)]
        await asyncio.sleep(3.5)
        assert network.open <= 20 - 8
        refused = network.refused
        await asyncio.gather(*calls)
        assert network.refused == refused, "the limit is not run into again and again"

    on(20, scenario)


def test_calls_of_several_origins_share_what_there_is_in_order() -> None:
    async def scenario(network: Scarce) -> None:
        order: list[int] = []

        async def ask(number: int) -> None:
            await network.ask(f"http://h{number % 3}.example/")
            order.append(number)

        await asyncio.gather(*(ask(number) for number in range(30)))
        assert sorted(order) == list(range(30))
        assert order[-3:] == [27, 28, 29]

    on(10, scenario)


def test_idle_connections_of_another_origin_are_closed_for_a_new_one() -> None:
    async def scenario(network: Scarce) -> None:
        await asyncio.gather(*(network.ask("http://a.example/") for _ in range(5)))
        assert network.open == 5
        assert await network.ask("http://b.example/") == b"hi"

    on(5, scenario)


def test_with_no_connection_to_wait_for_it_is_an_error() -> None:
    async def scenario(network: Scarce) -> None:
        with pytest.raises(APIConnectionError, match="Too many open files") as caught:
            await network.ask()
        assert caught.value.surely_unsent
        assert caught.value.retryable

    on(0, scenario)


def test_a_wait_ends_with_the_time_of_its_call() -> None:
    async def scenario(network: Scarce) -> None:
        first = asyncio.ensure_future(network.ask())
        await asyncio.sleep(0)
        with pytest.raises(APITimeoutError, match="no connection") as caught:
            await network.ask(timeout=0.5)
        assert caught.value.surely_unsent
        assert await first == b"hi"
        assert await network.ask() == b"hi"

    on(1, scenario)


@pytest.mark.parametrize("after", [0.5, 1.0])
def test_a_cancelled_wait_passes_its_turn_on(after: float) -> None:
    """Also in the moment in which a connection is handed to it."""

    async def scenario(network: Scarce) -> None:
        calls = [asyncio.ensure_future(network.ask()) for _ in range(4)]
        await asyncio.sleep(after)
        calls[1].cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [outcome for outcome in outcomes if not isinstance(outcome, BaseException)] == [b"hi"] * 3
        assert await network.ask() == b"hi"

    on(1, scenario)


def test_the_bound_is_forgotten_when_demand_has_fallen() -> None:
    async def scenario(network: Scarce) -> None:
        await asyncio.gather(*(network.ask() for _ in range(40)))
        network.limit = 1000
        await asyncio.sleep(60.0)  # the idle connections are closed
        await asyncio.gather(*(network.ask() for _ in range(40)))
        assert network.most == 40

    on(20, scenario)


def test_closing_the_pool_ends_the_calls_that_wait() -> None:
    async def scenario(network: Scarce) -> None:
        calls = [asyncio.ensure_future(network.ask()) for _ in range(3)]
        await asyncio.sleep(0.5)
        await network.pool.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, APIConnectionError) for outcome in outcomes)
        assert len(network.sockets) == 1

    on(1, scenario)
