"""The sync twins: the same calls for scripts and notebooks."""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from callgate import Calling, ServerError, iModel
from callgate.model.sync import Portal
from callgate.response import Delta, Response
from callgate.testing import Answer, Simulator

HELLO = {"messages": [{"role": "user", "content": "Hello!"}]}


class Counting:
    """A backend that streams numbers until it is cancelled, or up to a limit."""

    name = "counting"

    def __init__(self, limit: int = 3) -> None:
        self.limit = limit
        self.cancelled = threading.Event()

    async def call(self, calling: Calling) -> Response:
        try:
            for number in range(self.limit):
                await calling.emit(Delta(text=str(number)))
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Response(text="".join(map(str, range(self.limit))))


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("callgate")]


def test_a_script_calls_and_streams_without_a_loop_of_its_own() -> None:
    with Simulator(answers=["Hello.", "One two."]) as sim:
        model = iModel(provider="openai", base_url=sim.base_url, api_key="k", model="m")
        assert model.invoke_sync(**HELLO).response.text == "Hello."
        chunks = list(model.stream_sync(**HELLO))
        model.close_sync()
    assert "".join(map(str, chunks)) == "One two."
    assert chunks[-1].response is not None
    assert our_threads() == []


@pytest.mark.parametrize("name", ["invoke", "ask"])
def test_a_twin_shows_the_parameters_and_the_documentation_of_its_method(name: str) -> None:
    method, twin = getattr(iModel, name), getattr(iModel, f"{name}_sync")
    assert inspect.signature(twin) == inspect.signature(method)
    assert twin.__doc__ == method.__doc__
    assert twin.__name__ == f"{name}_sync"
    assert not inspect.iscoroutinefunction(twin)


def test_a_twin_calls_the_method_of_a_subclass() -> None:
    class Asking(iModel):
        async def ask(self, prompt: Any, **request: Any) -> Response:
            return Response(text=f"{prompt} {request}")

    model = Asking(backend=Counting())
    assert model.ask_sync("Hi", seed=7).text == "Hi {'seed': 7}"
    model.close_sync()


def test_awaiting_after_a_sync_call_is_refused_with_what_to_do() -> None:
    model = iModel(backend=Counting())
    assert model.ask_sync("Hi").text == "012"
    with pytest.raises(RuntimeError, match="in use on another event loop.*use one kind of call, or make a"):
        asyncio.run(model.ask("Hi"))
    model.close_sync()


def test_it_works_where_a_loop_is_running_as_in_a_notebook() -> None:
    async def cell() -> tuple[str, str]:
        model = iModel(backend=Counting())
        try:
            called = model.invoke_sync().response.text
            return called, "".join(map(str, model.stream_sync()))
        finally:
            model.close_sync()

    assert asyncio.run(cell()) == ("012", "012")


def test_the_same_model_goes_on_call_after_call() -> None:
    model = iModel(backend=Counting())
    threads = set()
    for _ in range(5):
        assert model.invoke_sync().response.text == "012"
        threads.add(tuple(our_threads()))
    model.close_sync()
    assert len(threads) == 1, "on one thread"


def test_many_threads_share_one_model() -> None:
    model = iModel(backend=Counting())
    model.invoke_sync()
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(model.invoke_sync().response.text)) for _ in "12345"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(our_threads()) == 1
    model.close_sync()
    assert texts == ["012"] * 5


def test_a_failed_call_is_not_raised_before_it_is_read_and_a_failed_stream_is() -> None:
    with Simulator(answers=lambda _: Answer(status=500)) as sim:
        model = iModel(provider="openai", base_url=sim.base_url, api_key="k", model="m", retry_config=None)
        calling = model.invoke_sync(**HELLO)
        with pytest.raises(ServerError):
            _ = calling.response
        with pytest.raises(ServerError):
            list(model.stream_sync(**HELLO))
        model.close_sync()


def test_leaving_a_stream_early_cancels_the_call() -> None:
    backend = Counting(limit=10**9)
    model = iModel(backend=backend)
    stream = model.stream_sync()
    assert str(next(stream)) == "0"
    stream.close()  # as leaving the loop does
    assert backend.cancelled.wait(10)
    model.close_sync()


def test_a_close_that_fails_ends_the_thread_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing() -> None:
        raise OSError("the disk is full")

    model = iModel(backend=Counting())
    model.invoke_sync()
    monkeypatch.setattr(model, "close", failing)
    with pytest.raises(OSError, match="full"):
        model.close_sync()
    assert our_threads() == []


def test_closing_twice_or_unused_changes_nothing() -> None:
    model = iModel(backend=Counting())
    model.close_sync()
    model.invoke_sync()
    model.close_sync()
    model.close_sync()
    with pytest.raises(RuntimeError, match="closed"):
        model.invoke_sync()
    model.close_sync()
    assert our_threads() == []


def test_a_sync_call_inside_its_own_loop_is_refused_not_waited_for_ever() -> None:
    model = iModel(backend=Counting())

    async def inside() -> Calling:
        return model.invoke_sync()

    model.invoke_sync()
    assert model._portal is not None
    with pytest.raises(RuntimeError, match="use the async one"):
        model._portal.run(inside())
    model.close_sync()


def test_awaiting_after_a_sync_call_is_refused_with_the_reason() -> None:
    model = iModel(Counting())
    model.invoke_sync()

    async def invoke() -> None:
        await model.invoke()

    async def enter() -> None:
        async with model:
            pass

    with pytest.raises(RuntimeError, match="its sync calls, such as ask_sync, have one of their own"):
        asyncio.run(invoke())
    with pytest.raises(RuntimeError, match="another event loop .the sync calls of a model have one"):
        asyncio.run(enter())
    model.close_sync()


def test_a_script_that_forgets_to_close_still_ends() -> None:
    script = """
from callgate import Tool, iModel
print(iModel(backend=Tool(lambda: 42, tool_schema={"name": "f"})).invoke_sync().response.data)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout.strip()) == (0, "42"), ended.stderr


@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_while_a_coroutine_is_handed_over_cancels_it(
    begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal = Portal()
    hand_over = portal._loop.call_soon_threadsafe
    started, ended = threading.Event(), threading.Event()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupted(callback: Any, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(portal._loop, "call_soon_threadsafe", hand_over)
        hand_over(callback, *arguments, **options)
        if begun:
            started.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(portal._loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        portal.run(forever())
    if begun:
        assert ended.wait(60)
    portal.run(asyncio.sleep(0))
    portal.stop()
    assert started.is_set() == ended.is_set()


@pytest.mark.parametrize("call", ["model.invoke_sync()", "list(model.stream_sync())"])
def test_ctrl_c_cancels_what_is_waited_for(call: str) -> None:
    script = f"""
import asyncio, signal
from callgate import iModel

# Whoever runs the tests in the background has it ignored, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Forever:
    name = "forever"

    async def call(self, calling):
        print("begun", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            print("cancelled", flush=True)

model = iModel(backend=Forever())
try:
    {call}
except KeyboardInterrupt:
    model.close_sync()
    print("interrupted")
"""
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    with program:
        try:
            assert program.stdout.readline() == "begun\n"
            program.send_signal(signal.SIGINT)
            assert program.communicate(timeout=60)[0] == "cancelled\ninterrupted\n"
        finally:
            program.kill()


def test_streams_have_the_parameters_of_ask() -> None:
    parameters = inspect.signature(iModel.ask).parameters
    for stream in (iModel.invoke_stream, iModel.stream_sync):
        assert inspect.signature(stream).parameters == parameters
    conversation = [{"role": "system", "content": "Be brief."}, *HELLO["messages"]]
    with Simulator(echo=True) as sim:
        model = iModel("openai/m", base_url=sim.base_url, api_key="k")
        assert "".join(map(str, model.stream_sync("Hi!", max_tokens=9))) == "Hi!"
        assert "".join(map(str, model.stream_sync(conversation))) == "Hello!"
        assert "".join(map(str, model.stream_sync(**HELLO))) == "Hello!"
        model.close_sync()
