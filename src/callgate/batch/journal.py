"""Writing what came of each row so that a kill loses nothing: the output itself is the journal.

Lines are appended whole, straight to the operating system: once `write` has returned, a killed process takes
nothing with it. (A buffer would save a microsecond a row, and lose a loop turn's worth of answers that are
paid for.) `sync` asks for the disk as well, against a power cut. A line that a kill tore is cut off at the
next start. One lock keeps a second run off.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from types import TracebackType

from callgate.batch.finished import Finished, read_output
from callgate.batch.results import RowResult, encode_result
from callgate.errors import InputError

if sys.platform != "win32":
    import fcntl

__all__ = ["STDOUT", "Journal", "errors_path"]

STDOUT = "-"
"""The output that is standard output."""


def errors_path(output: str) -> str:
    """Where the rows go that ended in an error.

    >>> errors_path("out.jsonl")
    'out.jsonl.errors.jsonl'
    """
    return output + ".errors.jsonl"


class Journal:
    """The output of a batch and, beside it, `OUTPUT.errors.jsonl`.

    What is not a regular file (standard output, a pipe, /dev/null) holds nothing to go on from; failed rows
    go to the same place then, told apart by their `error`.

    Args:
        output: The output's path, or "-" for standard output.
        overwrite: Start anew instead of going on.

    Raises:
        InputError: when it cannot be written, another run is writing to it, or it is something else than the
            output of a batch.

    Example::

        async with Journal("out.jsonl") as journal:
            async for result in engine.run(row for row in rows if not journal.finished.take(row.key)):
                journal.write(result)
    """

    def __init__(self, output: str, *, overwrite: bool = False) -> None:
        self.output = output
        self.errors = errors_path(output)
        self.finished = Finished()
        """What earlier runs have answered."""
        self.cut = 0
        """How many bytes of a torn last line were cut off."""
        self._answers = _open(output)
        self._failures = self._answers
        try:
            if self._answers.regular:
                self._lock()
                self._recover(overwrite)
                # Its rows are tried again, so it starts afresh; that it can be written shows now, not later.
                self._failures = _open(self.errors)
                self._failures.cut(0)
        except BaseException:
            self._answers.close()
            raise

    @property
    def resumable(self) -> bool:
        """Whether the next run can go on from this output."""
        return self._answers.regular

    # -- writing -----------------------------------------------------------------------------------------

    def write(self, result: RowResult) -> None:
        """Write one result; when this returns, the operating system has it.

        Raises:
            InputError: when it cannot be written (the disk is full, the pipe is closed). It is kept, and
                tried once more by `close`.
        """
        self.append(encode_result(result), failed=not result.ok)

    def append(self, line: bytes, *, failed: bool = False) -> None:
        """Write one encoded line, with its line end; otherwise as `write`."""
        file = self._failures if failed else self._answers
        file.pending.append(line)
        file.flush()

    def sync(self) -> None:
        """Bring what was written to the disk. May take long: call it in a thread.

        Raises:
            InputError: when the disk refuses.
        """
        self._answers.sync()
        self._failures.sync()

    def close(self) -> None:
        """Sync and close; the errors file is removed when it holds none.

        Raises:
            InputError: when something still cannot be written, saying how many rows.
        """
        if self._answers.closed:
            return
        error: InputError | None = None
        files = {self._answers.fd: self._answers, self._failures.fd: self._failures}.values()
        for file in files:
            try:
                file.flush()  # room may have been made since
                file.sync()
            except InputError as caught:
                error = caught
        lost = sum(len(file.pending) for file in files)
        if self._failures is not self._answers and self._failures.size == 0:
            os.unlink(self.errors)
        for file in files:
            file.close()
        if error is not None:
            what = f"; {lost} results are lost and will be asked for again" if lost else ""
            raise InputError(f"{error}{what}") from error

    async def __aenter__(self) -> Journal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # In a thread, as syncing may take long; shielded, as closing must not be cut off.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self.close))

    # -- starting ----------------------------------------------------------------------------------------

    def _lock(self) -> None:
        if sys.platform == "win32":  # pragma: no cover  (no advisory locks there)
            return
        try:
            # It belongs to the open file: released whichever way this process ends.
            fcntl.flock(self._answers.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("another run is writing to it; wait for its end", source=self.output) from None
        except OSError:  # pragma: no cover  (a file system without locks: better unlocked than unusable)
            return

    def _recover(self, overwrite: bool) -> None:
        file = self._answers
        if overwrite:
            file.cut(0)
            return
        try:
            with open(self.output, "rb") as stream:
                self.finished, good, lacks_end = read_output(stream, self.output)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=self.output) from None
        self.cut = file.size - good
        if self.cut:
            file.cut(good)
        if lacks_end:
            self.append(b"\n")


class _LineFile:
    """An append-only file of whole lines."""

    __slots__ = ("closed", "fd", "name", "pending", "regular", "size")

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        status = os.fstat(fd)
        self.regular = stat.S_ISREG(status.st_mode) and fd != 1
        self.size = status.st_size if self.regular else 0
        self.pending: list[bytes] = []
        self.closed = False

    def cut(self, size: int) -> None:
        os.ftruncate(self.fd, size)
        self.size = size

    def flush(self) -> None:
        """Write what is pending; on failure whole lines are left, and the rest stays pending."""
        if not self.pending:
            return
        data = self.pending[0] if len(self.pending) == 1 else b"".join(self.pending)
        written = 0
        try:
            while written < len(data):
                written += os.write(self.fd, data[written:] if written else data)
        except OSError as error:
            if self.regular:
                os.ftruncate(self.fd, self.size)
            else:
                while written >= len(self.pending[0]):
                    written -= len(self.pending.pop(0))
            raise InputError(f"cannot be written: {error.strerror}", source=self.name) from None
        self.size += written
        self.pending.clear()

    def sync(self) -> None:
        if self.regular and not self.closed:
            try:
                os.fsync(self.fd)
            except OSError as error:
                wrong = f"cannot be brought to the disk: {error.strerror}"
                raise InputError(wrong, source=self.name) from None

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self.fd != 1:
                os.close(self.fd)


def _open(path: str) -> _LineFile:
    if path == STDOUT:
        return _LineFile(1, "standard output")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except IsADirectoryError:
        raise InputError("is a directory; name a file", source=path) from None
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        raise InputError(f"there is no folder {folder}; make it first", source=path) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=path) from None
    return _LineFile(fd, path)
