"""Commands as a transport: no shell, only the given environment, and nothing outlives its call."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from callgate.errors import ConfigurationError, InvalidRequestError, ResponseTooLargeError
from callgate.testing import run_virtual
from callgate.transport.subprocess import CommandOutput, CommandRequest, CommandRunner, _Child
from tests.processes import wait_process_ended

ENV = {"PATH": os.environ["PATH"]}

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
if sys.platform != "win32":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end on each kind of event loop; nothing may hang for more than a minute."""

    def run_it(work: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(60):
                return await work

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(bounded())

    return run_it


def python(code: str, *args: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> CommandRequest:
    """A small Python child."""
    return CommandRequest((sys.executable, "-S", "-c", code, *args), stdin, env or ENV)


async def read_all(output: CommandOutput) -> bytes:
    return b"".join([piece async for piece in output])


def test_stdin_goes_in_and_stdout_comes_out(run: Callable[..., Any]) -> None:
    async def work() -> tuple[bytes, int | None, str]:
        child = python(
            "import sys; print(sys.stdin.read().upper()); print('hm', file=sys.stderr)", stdin=b"hi"
        )
        async with CommandRunner().run(child) as output:
            return await read_all(output), output.returncode, output.stderr

    assert run(work()) == (b"HI\n", 0, "hm\n")


def test_lines_arrive_while_the_command_still_runs(run: Callable[..., Any], tmp_path: Path) -> None:
    go_on = tmp_path / "go_on"
    os.mkfifo(go_on)

    async def work() -> None:
        child = python(
            "import sys; print('one', flush=True); open(sys.argv[1]).read(); print('two')", str(go_on)
        )
        async with CommandRunner().run(child) as output:
            pieces = aiter(output)
            assert await anext(pieces) == b"one\n"
            assert output.returncode is None
            await asyncio.to_thread(go_on.write_text, "now")
            assert await anext(pieces) == b"two\n"
            assert [piece async for piece in pieces] == []
            assert output.returncode == 0

    run(work())


def test_it_sees_the_given_environment_and_nothing_of_ours(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLGATE_CANARY", "secret")

    async def work() -> bytes:
        child = python("import os; print(sorted(os.environ))", env={"PATH": ENV["PATH"], "LC_ALL": "C"})
        async with CommandRunner().run(child) as output:
            return await read_all(output)

    assert run(work()) == b"['LC_ALL', 'PATH']\n"


def test_no_shell_reads_the_arguments(run: Callable[..., Any]) -> None:
    async def work() -> bytes:
        child = python("import sys; print(sys.argv[1:])", "$HOME; echo x", "`id`", "a b", "")
        async with CommandRunner().run(child) as output:
            return await read_all(output)

    assert run(work()) == b"['$HOME; echo x', '`id`', 'a b', '']\n"


def test_megabytes_in_and_out_at_once_do_not_block_each_other(run: Callable[..., Any]) -> None:
    data = os.urandom(1 << 16) * 80

    async def work() -> bytes:
        child = python(
            "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)", stdin=data
        )
        async with CommandRunner().run(child) as output:
            return await read_all(output)

    assert run(work()) == data


def test_a_command_that_does_not_read_its_stdin_answers_all_the_same(run: Callable[..., Any]) -> None:
    async def work() -> tuple[bytes, int | None]:
        child = python("print('done')", stdin=b"x" * 1_000_000)
        async with CommandRunner().run(child) as output:
            return await read_all(output), output.returncode

    assert run(work()) == (b"done\n", 0)


def test_a_command_that_ended_before_its_stdin_was_written_answers_all_the_same() -> None:
    class Closed:
        """A pipe as uvloop leaves it when its reader is gone."""

        def is_closing(self) -> bool:
            return True

        def write(self, data: bytes) -> None:
            raise RuntimeError("the handler is closed")

    class Ended:
        def get_pipe_transport(self, fd: int) -> Closed:
            return Closed()

    child = _Child(1000, 2.0)
    child.connection_made(Ended())  # type: ignore[arg-type]
    child.write(b"too late")  # raises nothing


def test_the_exit_status_is_reported(run: Callable[..., Any]) -> None:
    async def work() -> int | None:
        async with CommandRunner().run(python("raise SystemExit(7)")) as output:
            await read_all(output)
            return output.returncode

    assert run(work()) == 7


def test_only_the_end_of_stderr_is_kept(run: Callable[..., Any]) -> None:
    async def work() -> str:
        child = python("import sys; sys.stderr.write('x' * 100_000 + 'the end')")
        async with CommandRunner().run(child) as output:
            await read_all(output)
            return output.stderr

    stderr = run(work())
    assert stderr.endswith("the end")
    assert len(stderr) == 8192


# Starts a grandchild, tells both process ids, and waits for ever; with "deaf" both ignore SIGTERM.
FAMILY = """
import os, signal, subprocess, sys, time
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
nap = "import time; time.sleep(600)"
child = subprocess.Popen([sys.executable, "-S", "-c", nap], start_new_session="away" in sys.argv)
print(os.getpid(), child.pid, flush=True)
if "leave" not in sys.argv: time.sleep(600)
"""


async def family(output: CommandOutput) -> tuple[int, int]:
    line = await anext(aiter(output))
    parent, child = line.split()
    return int(parent), int(child)


@pytest.mark.parametrize("habit", ["", "deaf"])
def test_leaving_the_block_ends_the_whole_process_group(run: Callable[..., Any], habit: str) -> None:
    async def work() -> None:
        async with CommandRunner(grace=0.2).run(python(FAMILY, habit)) as output:
            pids = await family(output)
        for pid in pids:
            await wait_process_ended(pid)

    run(work())


@pytest.mark.parametrize("habit", ["", "deaf"])
def test_a_cancelled_call_leaves_no_process_behind(run: Callable[..., Any], habit: str) -> None:
    async def work() -> None:
        started: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()

        async def call() -> None:
            async with CommandRunner(grace=0.2).run(python(FAMILY, habit)) as output:
                started.set_result(await family(output))
                await read_all(output)

        task = asyncio.create_task(call())
        pids = await started
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for pid in pids:
            await wait_process_ended(pid)

    run(work())


def test_a_second_cancellation_kills_at_once(run: Callable[..., Any]) -> None:
    async def work() -> None:
        started: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()

        outputs: list[CommandOutput] = []

        async def call() -> None:
            async with CommandRunner(grace=3600).run(python(FAMILY, "deaf")) as output:
                outputs.append(output)
                started.set_result(await family(output))
                await read_all(output)

        task = asyncio.create_task(call())
        pids = await started
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done(), "it should still be waiting for the command to end by itself"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for pid in pids:
            await wait_process_ended(pid)
        while outputs[0].returncode is None:  # the event loop has still to hear of it
            await asyncio.sleep(0.01)

    run(work())


def test_what_a_finished_command_left_behind_neither_holds_the_call_nor_lives_on(
    run: Callable[..., Any],
) -> None:
    async def work() -> None:
        async with CommandRunner(grace=3600).run(python(FAMILY, "leave")) as output:
            _, child = await family(output)
            assert await read_all(output) == b""
            assert output.returncode == 0
        await wait_process_ended(child)

    run(work())


def test_a_daemon_that_left_the_group_holds_the_call_only_for_the_grace(run: Callable[..., Any]) -> None:
    async def work() -> int:
        async with CommandRunner(grace=0.1).run(python(FAMILY, "leave", "away")) as output:
            _, child = await family(output)
            assert await read_all(output) == b""
        return child

    os.kill(run(work()), 9)


def test_what_comes_in_the_moment_the_grace_ends_is_not_lost() -> None:
    """A loop that was held up finds both at once: the last output, and that its time is over."""

    async def main() -> list[bytes]:
        child = _Child(1000, 2.0)
        child._exited = True
        asyncio.get_running_loop().call_later(2.0, child.pipe_data_received, 1, b"late")
        return [piece async for piece in child]

    assert run_virtual(main()) == [b"late"]


def test_output_over_the_cap_ends_the_command(run: Callable[..., Any]) -> None:
    async def work() -> None:
        chatter = "import os; print(os.getpid(), flush=True)\nwhile True: print('x' * 1000)"
        async with CommandRunner(max_output_bytes=100_000, grace=0.2).run(python(chatter)) as output:
            pieces = aiter(output)
            beginning = await anext(pieces)
            with pytest.raises(ResponseTooLargeError, match="100000 bytes"):
                [piece async for piece in pieces]
        await wait_process_ended(int(beginning.split()[0]))

    run(work())


def test_a_slow_reader_makes_the_command_wait_and_loses_nothing(run: Callable[..., Any]) -> None:
    async def work() -> int:
        read = 0
        child = python("import sys\nfor _ in range(400): sys.stdout.write('x' * 10_000)")
        async with CommandRunner().run(child) as output:
            async for piece in output:
                read += len(piece)
                if read < 3_000_000:
                    await asyncio.sleep(0.002)
        return read

    assert run(work()) == 4_000_000


async def refusal(command: CommandRequest) -> Exception:
    with pytest.raises((ConfigurationError, InvalidRequestError)) as caught:
        async with CommandRunner().run(command):
            pass
    return caught.value


def test_a_command_that_is_not_installed_says_how_to_install_it(run: Callable[..., Any]) -> None:
    command = CommandRequest(("no-such-command",), env=ENV, hint="Install it with `apt install it`.")
    error = run(refusal(command))
    assert isinstance(error, ConfigurationError)
    assert str(error) == "the command 'no-such-command' was not found. Install it with `apt install it`."


def test_a_file_that_is_no_program_and_a_missing_directory_are_named(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("not a program")
    assert "may not be run" in str(run(refusal(CommandRequest((str(plain),), env=ENV))))
    lost = run(refusal(CommandRequest(("cat",), env=ENV, cwd=str(tmp_path / "lost"))))
    assert "no such directory" in str(lost)


@pytest.mark.parametrize(("argument", "why"), [("a\0b", "NUL"), ("x" * 3_000_000, "longer than")])
def test_arguments_that_no_command_can_be_given(run: Callable[..., Any], argument: str, why: str) -> None:
    error = run(refusal(CommandRequest(("cat", argument), env=ENV)))
    assert isinstance(error, InvalidRequestError)
    assert why in str(error)
    assert error.surely_unsent


def test_a_repr_does_not_show_the_environment() -> None:
    assert "sk-canary" not in repr(CommandRequest(("x",), env={"KEY": "sk-canary"}))
