"""What is kept, and for how long; when silence is counted anew. On a virtual clock, without sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from callgate.errors import APIConnectionError, APITimeoutError
from callgate.testing import VirtualClock, run_virtual
from callgate.transport.call import Call, Limits
from callgate.transport.connection import Connection
from callgate.transport.http import _OpenStream
from callgate.transport.pool import Pool

HI = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
URL = "http://h.example/"


class Socket:
    """Stands where the event loop's transport stands; tells its connection that it is lost as that does."""

    def __init__(self, protocol: asyncio.Protocol, asked: Callable[[Socket], None]) -> None:
        self.protocol = protocol
        self.asked = asked
        self.closed = False
        protocol.connection_made(self)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        self.asked(self)

    def say(self, data: bytes) -> None:
        if not self.closed:
            self.protocol.data_received(data)

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return self

    def fileno(self) -> int:
        return 0


class Network:
    """Opens sockets for a pool. `seconds` pass before each is open; `asked` hears every request."""

    def __init__(self, asked: Callable[[Socket], None], seconds: float = 0.0) -> None:
        self.sockets: list[Socket] = []
        self.asked = asked
        self.seconds = seconds
        loop: Any = asyncio.get_running_loop()
        loop.create_connection = self._connect
        self.pool = Pool(loop, ssl.create_default_context, None, lambda pool: None)

    async def _connect(
        self, make: Callable[[], Connection], host: str, port: int
    ) -> tuple[Socket, Connection]:
        await asyncio.sleep(self.seconds)
        connection = make()
        self.sockets.append(Socket(connection, self.asked))
        return self.sockets[-1], connection

    @property
    def open(self) -> int:
        return sum(not socket.closed for socket in self.sockets)

    async def ask(
        self,
        url: str = URL,
        method: str = "POST",
        read_timeout: float | None = None,
        timeout: float | None = None,
    ) -> bytes:
        call = Call(self.pool, Limits(10.0, read_timeout, 1000), method, url, {}, None, timeout)
        answer = await call.run()
        return answer.body


def later(seconds: float, said: bytes) -> Callable[[Socket], None]:
    """Answers each request after so many seconds."""

    def hear(socket: Socket) -> None:
        asyncio.get_running_loop().call_later(seconds, socket.say, said)

    return hear


@pytest.fixture(autouse=True)
def no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "is_readable", lambda self: False)


def test_an_idle_connection_is_closed_by_the_timer() -> None:
    async def main() -> None:
        network = Network(later(1.0, HI))
        await asyncio.gather(*(network.ask() for _ in range(5)), network.ask("http://other.example/"))
        assert network.open == network.pool.open == 6
        await asyncio.sleep(49.9)
        assert network.open == 6
        await asyncio.sleep(0.2)
        assert network.open == network.pool.open == 0
        assert not network.pool._idle  # not even the names of those that were asked once
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_those_that_are_needed_stay_and_the_rest_of_a_burst_goes() -> None:
    async def main() -> None:
        network = Network(later(1.0, HI))
        await asyncio.gather(*(network.ask() for _ in range(20)))
        for _ in range(20):  # one is enough from here on
            await asyncio.sleep(9.0)
            assert await network.ask() == b"hi"
        assert len(network.sockets) == 20
        assert network.open == network.pool.open == 1
        await asyncio.sleep(51.0)
        assert network.open == 0

    run_virtual(main())


def test_each_has_its_own_time_and_all_have_one_timer() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        network = Network(later(49.0, HI))
        calls = []
        for _ in range(3):  # each is busy while the next one is opened, and free at 49, 69 and 89
            calls.append(asyncio.ensure_future(network.ask()))
            await asyncio.sleep(20.0)
        assert await asyncio.gather(*calls) == [b"hi"] * 3
        assert network.open == 3
        assert len([timer for timer in loop._scheduled if not timer.cancelled()]) == 1
        for moment, left in ((99.1, 2), (119.1, 1), (139.1, 0)):
            await asyncio.sleep(moment - loop.time())
            assert network.open == left

    run_virtual(main())


def test_a_busy_connection_is_used_again_without_a_system_call(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Connection] = []
    monkeypatch.setattr(Connection, "is_readable", lambda self: looked.append(self))

    async def main() -> None:
        network = Network(later(1.0, HI))
        for _ in range(5):
            await network.ask()
        assert looked == []
        await asyncio.sleep(1.0)
        await network.ask()
        assert len(looked) == len(network.sockets) == 1

    run_virtual(main())


def test_an_expired_connection_is_not_used_before_the_timer_closes_it() -> None:
    """A loop that was blocked, or a machine that slept."""

    async def main() -> None:
        network = Network(later(0.0, HI))
        await network.ask()
        network.pool.clock = lambda: 50.0
        await network.ask()
        assert [socket.closed for socket in network.sockets] == [True, False]

    run_virtual(main())


def test_one_that_is_busy_when_the_time_is_over_is_left_alone() -> None:
    async def main() -> None:
        network = Network(later(0.0, HI))
        await network.ask()
        network.sockets[0].asked = later(80.0, HI)
        await asyncio.sleep(49.0)
        assert await network.ask() == b"hi"
        assert len(network.sockets) == network.open == 1
        await asyncio.sleep(49.9)
        assert network.open == 1
        await asyncio.sleep(0.2)
        assert network.open == 0

    run_virtual(main())


def test_a_connection_that_says_more_than_it_was_asked_is_closed_and_counted_out() -> None:
    async def main() -> None:
        network = Network(later(0.0, HI + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"))
        for _ in range(5):
            assert await network.ask() == b"hi"
        await asyncio.sleep(0)
        assert len(network.sockets) == 5
        assert network.open == network.pool.open == 0

    run_virtual(main())


def test_a_closed_pool_leaves_no_timer() -> None:
    async def main() -> float:
        network = Network(later(0.0, HI))
        await network.ask()
        await network.pool.close()
        assert network.open == 0
        loop: Any = asyncio.get_running_loop()
        assert all(timer.cancelled() for timer in loop._scheduled)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) < 1.0


@pytest.mark.parametrize(
    ("connecting", "silence", "limits", "at", "unsent"),
    [
        (5.0, 1.0, {"timeout": 3.0}, 3.0, True),
        (20.0, 1.0, {"timeout": 30.0}, 10.0, True),
        (5.0, 9.0, {"read_timeout": 2.0, "timeout": 20.0}, 7.0, False),
        (5.0, 9.0, {"read_timeout": 8.0, "timeout": 11.0}, 11.0, False),
    ],
    ids=["whole while connecting", "connecting", "silence", "whole"],
)
def test_of_several_limits_the_first_to_pass_ends_the_call(
    connecting: float, silence: float, limits: dict[str, float], at: float, unsent: bool
) -> None:
    async def main() -> None:
        network = Network(later(silence, HI), connecting)
        with pytest.raises(APITimeoutError) as caught:
            await network.ask(**limits)  # type: ignore[arg-type]
        assert asyncio.get_running_loop().time() == pytest.approx(at)
        assert caught.value.surely_unsent == unsent
        await asyncio.sleep(0)
        assert network.open == network.pool.open == 0

    run_virtual(main())


@pytest.mark.parametrize("limits", [{"timeout": 3.0}, {"read_timeout": 3.0}], ids=["whole", "silence"])
@pytest.mark.parametrize("silence", [9.01, 20.0])
def test_what_arrived_while_the_process_was_stopped_is_read_before_a_limit_ends_the_call(
    limits: dict[str, float], silence: float
) -> None:
    clock = VirtualClock()

    async def main() -> None:
        network = Network(later(silence, HI))
        task = asyncio.create_task(network.ask(**limits))  # type: ignore[arg-type]
        await asyncio.sleep(1.0)
        clock._advance_to(9.0)  # it goes on; sockets are read after the timers
        if silence < 10.0:
            assert await task == b"hi"
            return
        with pytest.raises(APITimeoutError):
            await task
        assert clock.time() == pytest.approx(10.0)

    clock.run(main())


def test_a_connection_that_is_lost_as_it_opens_is_surely_unsent() -> None:
    async def main() -> None:
        network = Network(later(0.0, HI))
        connect = network._connect

        async def lose(*args: Any, **where: Any) -> tuple[Socket, Connection]:
            socket, connection = await connect(*args, **where)
            connection.connection_lost(None)
            return socket, connection

        loop: Any = asyncio.get_running_loop()
        loop.create_connection = lose
        with pytest.raises(APIConnectionError) as caught:
            await network.ask()
        assert caught.value.surely_unsent
        assert network.pool.open == 0

    run_virtual(main())


def crossed(silence: float) -> Callable[[Socket], None]:
    """The first connection answers once, and is lost `silence` after the next request; others answer then."""
    asked = 0

    def hear(socket: Socket) -> None:
        nonlocal asked
        asked += 1
        loop = asyncio.get_running_loop()
        if asked == 1:
            loop.call_soon(socket.say, HI)
        elif asked == 2:
            loop.call_later(silence, socket.abort)
        else:
            loop.call_later(silence, socket.say, HI)

    return hear


def test_a_slow_reader_is_not_the_other_side_s_silence() -> None:
    async def main() -> None:
        def hear(socket: Socket) -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(0.5, socket.say, HI[:-1])
            loop.call_later(9.5, socket.say, HI[-1:])

        network = Network(hear)
        call = Call(network.pool, Limits(10.0, 1.0, 1000), "GET", URL, {}, None, None, streaming=True)
        async with _OpenStream(call) as stream:
            await asyncio.sleep(10.0)
            assert await stream.read() == b"hi"

    run_virtual(main())


def test_a_stream_that_falls_silent_is_given_up_once_all_of_it_has_been_read() -> None:
    async def main() -> None:
        network = Network(later(0.5, HI[:-1]))
        call = Call(network.pool, Limits(10.0, 1.0, 1000), "GET", URL, {}, None, None, streaming=True)
        async with _OpenStream(call) as stream:
            assert await anext(stream) == b"h"
            with pytest.raises(APITimeoutError, match="within 1 s"):
                await anext(stream)
            assert asyncio.get_running_loop().time() == pytest.approx(1.5)
        await asyncio.sleep(0)
        assert network.open == 0

    run_virtual(main())


@pytest.mark.parametrize("connecting", [0.0, 5.0])
def test_silence_is_counted_anew_for_a_get_that_is_sent_again(connecting: float) -> None:
    async def main() -> None:
        network = Network(crossed(0.8), connecting)
        assert await network.ask() == b"hi"
        assert await network.ask(method="GET", read_timeout=1.0) == b"hi"
        assert len(network.sockets) == 2

    run_virtual(main())


def test_a_get_that_is_sent_again_is_not_waited_for_longer_either() -> None:
    async def main() -> float:
        network = Network(crossed(0.8))
        await network.ask()
        network.asked = lambda socket: None  # the second connection says nothing at all
        with pytest.raises(APITimeoutError):
            await network.ask(method="GET", read_timeout=1.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(1.8)
