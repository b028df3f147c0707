"""A forked child that calls again gets an error that names the fork; it does not hang."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callgate import iModel
from callgate.policies.cache.sqlite import SqliteCache
from callgate.transport.shared_work import SharedWork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")


class Echo:
    name = "echo"

    async def call(self, calling: Any) -> str:
        return "done"


def in_a_child(action: Callable[[], object]) -> str:
    """What the action raises in a forked child, or its result; "hangs" if the child has to be killed."""
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the parent has threads: that is the point
        pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            said = repr(action())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(into, said.encode())
        os._exit(0)
    os.close(into)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(out, "rb") as told:
        return "hangs" if status == -signal.SIGALRM else told.read().decode()


def test_a_sync_call_in_the_child_names_the_fork() -> None:
    model = iModel(backend=Echo())
    model.invoke_sync(prompt="one")
    assert "before the process was forked" in in_a_child(lambda: model.invoke_sync(prompt="two"))
    assert model.invoke_sync(prompt="three").response.text == "done"
    model.close_sync()


def test_a_model_that_was_not_used_before_the_fork_works_in_the_child() -> None:
    model = iModel(backend=Echo())
    assert in_a_child(lambda: model.invoke_sync(prompt="one").response.text) == "'done'"


def test_an_async_call_in_the_child_works() -> None:
    model = iModel(backend=Echo())
    asyncio.run(model.invoke(prompt="one"))
    assert in_a_child(lambda: asyncio.run(model.invoke(prompt="two")).response.text) == "'done'"


def test_a_cache_in_the_child_names_the_fork(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path)
    model = iModel(backend=Echo(), cache=cache)
    asyncio.run(model.invoke(prompt="one"))

    def again() -> object:
        return asyncio.run(model.invoke(prompt="two")).response.text

    assert "was opened before the process was forked" in in_a_child(again)
    asyncio.run(cache.close())


def test_a_token_that_was_being_fetched_at_the_fork_is_fetched_anew() -> None:
    release = threading.Event()
    work = SharedWork(lambda: None if os.getpid() != parent else release.wait() and None)
    parent = os.getpid()
    work.start()
    assert in_a_child(lambda: work.start().result(timeout=10)) == "None"
    release.set()
