"""A command as a transport: the request is written to its stdin, the response read from its stdout.

Commands run without a shell and with the given environment only. The whole process group ends with the call:
by SIGTERM, and by SIGKILL after a grace period. (A descendant with a session of its own is not in the group.)
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol, cast

from callgate.errors import APIClientError, ConfigurationError, InvalidRequestError, ResponseTooLargeError

__all__ = ["CommandOutput", "CommandRequest", "CommandRunner", "Runner"]

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_HIGH_WATER = 1024 * 1024
"""Unread bytes above which the pipe is not read, so that the command waits."""
_STDERR_TAIL = 8 * 1024


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A request to a command.

    Attributes:
        argv: The command and its arguments. A command without a slash is looked up on the PATH of `env`.
        stdin: The bytes written to its stdin, which is then closed.
        env: Its whole environment.
        cwd: Its working directory; None: that of this process.
        hint: How to install the command, for the error message.

    >>> CommandRequest(("echo", "hi"), env={"SECRET": "x"})
    CommandRequest(argv=('echo', 'hi'), stdin=b'', cwd=None, hint='')
    """

    argv: tuple[str, ...]
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    hint: str = ""


class CommandOutput(Protocol):
    """The output of a running command. Iterate it for the pieces of stdout, until the command has ended.

    Attributes:
        pid: The id of the process and of its process group.
        returncode: The exit status (negative: killed by that signal); None while it runs.
        stderr: The last 8 KiB of its stderr.
    """

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    @property
    def stderr(self) -> str: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Runner(Protocol):
    """The protocol of `CommandRunner`."""

    def run(self, command: CommandRequest) -> AbstractAsyncContextManager[CommandOutput]:
        """Start the command and return its output; leaving the block ends the command."""
        ...


class CommandRunner:
    """Runs commands.

    Args:
        max_output_bytes: The most bytes of stdout; more end the command and the call.
        grace: Seconds between SIGTERM and SIGKILL, and the time for which the pipes of an ended command may
            stay open.

    Example::

        runner = CommandRunner()
        async with runner.run(CommandRequest(("cat",), b"hello", env=os.environ)) as output:
            text = b"".join([piece async for piece in output])
        print(text, output.returncode)  # b'hello' 0
    """

    def __init__(self, *, max_output_bytes: int = 64 * 1024 * 1024, grace: float = 2.0) -> None:
        self._cap = max_output_bytes
        self._grace = grace

    @asynccontextmanager
    async def run(self, command: CommandRequest) -> AsyncIterator[CommandOutput]:
        """Start the command and return its output. Leaving the block ends its process group.

        Raises:
            ConfigurationError: the command is not installed or may not be run.
            InvalidRequestError: the arguments are too long, or one holds a NUL.
            ResponseTooLargeError: (during iteration) stdout exceeds `max_output_bytes`.
        """
        _check_arguments(command)
        loop = asyncio.get_running_loop()
        child = _Child(self._cap, self._grace)
        try:
            await loop.subprocess_exec(
                lambda: child,
                *command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise _cannot_start(command, error) from error
        try:
            child.write(command.stdin)
            yield child
        finally:
            await child.end()


class _Child(asyncio.SubprocessProtocol):
    """The event loop's side of one command. One reader at a time."""

    def __init__(self, cap: int, grace: float) -> None:
        self._cap = cap
        self._grace = grace
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._total = 0
        self._stderr = bytearray()
        self._paused = False
        self._exited = False
        self._stdout_ended = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    # -- called by the event loop ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            self._stderr += data
            del self._stderr[:-_STDERR_TAIL]
            return
        allowed = data[: max(self._cap - self._total, 0)]
        self._total += len(data)
        if allowed:
            self._held += len(allowed)
            self._pieces.append(allowed)
        if self._held > _HIGH_WATER or self._total > self._cap:
            self._pause(True)
        self._wake()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        # A command that ends before it has read its stdin breaks that pipe; its output has the reason.
        if fd == _STDOUT:
            self._stdout_ended = True
            self._wake()

    def process_exited(self) -> None:
        self._exited = True
        # Ends processes that it left behind, which would hold the pipes open.
        self._signal(signal.SIGKILL)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._wake()

    # -- called by the reader ----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._transport.get_pid()

    @property
    def returncode(self) -> int | None:
        return self._transport.get_returncode()

    @property
    def stderr(self) -> str:
        return self._stderr.decode("utf-8", "replace")

    def write(self, data: bytes) -> None:
        stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(_STDIN))
        if stdin.is_closing():
            return  # the command has ended; uvloop would raise here, and its output has the reason
        if data:
            stdin.write(data)
        stdin.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                if self._paused and self._held <= _HIGH_WATER // 2:
                    self._pause(False)
                yield piece
                continue
            if self._total > self._cap:
                raise ResponseTooLargeError(f"the command wrote more than {self._cap} bytes; it was ended")
            if self._exited and self._stdout_ended:
                return
            ending = self._exited or self._stdout_ended
            if not await self._changed(self._grace if ending else None):
                return

    async def end(self) -> None:
        """End the command and its process group, and close its pipes."""
        try:
            if not self._exited:
                self._signal(signal.SIGTERM)
                while not self._exited and await self._changed(self._grace):
                    pass
        finally:
            # Also when a second cancellation cuts the wait short.
            if not self._exited:
                self._signal(signal.SIGKILL)
            self._transport.close()
        while not self._closed and await self._changed(self._grace):
            pass

    # -- between event loop and reader ----------------------------------------------------------------

    async def _changed(self, timeout: float | None) -> bool:
        """Wait for the next callback of the event loop; False when `timeout` seconds passed first."""
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return waiter.done() and not waiter.cancelled()  # both, after the loop was blocked
        finally:
            self._waiter = None
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pause(self, pause: bool) -> None:
        stdout = cast(asyncio.ReadTransport | None, self._transport.get_pipe_transport(_STDOUT))
        if stdout is None or self._paused == pause or stdout.is_closing():
            return
        self._paused = pause
        if pause:
            stdout.pause_reading()
        else:
            stdout.resume_reading()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            # It is the leader of a session, so its process id is also the id of its group.
            os.killpg(self.pid, number)


def _check_arguments(command: CommandRequest) -> None:
    # uvloop would silently truncate such an argument.
    if any("\0" in text for text in (*command.argv, *command.env, *command.env.values())):
        raise InvalidRequestError(
            f"{command.argv[0]!r} cannot be given an argument with a NUL character", surely_unsent=True
        )


def _cannot_start(command: CommandRequest, error: OSError) -> Exception:
    name = command.argv[0]
    if command.cwd is not None and not os.path.isdir(command.cwd):
        return ConfigurationError(f"cannot run {name!r} in {command.cwd!r}: there is no such directory")
    if isinstance(error, FileNotFoundError):
        return ConfigurationError(f"the command {name!r} was not found. {command.hint}".rstrip())
    if isinstance(error, PermissionError):
        return ConfigurationError(f"the command {name!r} may not be run: {error.strerror}")
    if error.errno == errno.E2BIG:
        return InvalidRequestError(
            f"the arguments of {name!r} are longer than the system allows", surely_unsent=True
        )
    return APIClientError(f"{name!r} could not be started: {error}", retryable=True, surely_unsent=True)
