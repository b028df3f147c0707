"""Files that grow by whole lines: what `write` has returned from is with the operating system."""

from __future__ import annotations

import os
import stat
import sys

from callgate.errors import InputError

if sys.platform != "win32":  # pragma: no branch
    import fcntl

__all__ = ["STDOUT", "LineFile", "open_lines", "open_locked"]

STDOUT = "-"
"""The output that is standard output."""


class LineFile:
    """An append-only file of whole lines.

    Attributes:
        fd: The open file.
        name: What it is called in messages.
        regular: Whether it is a file that stays, not a pipe, a terminal or standard output.
        size: Its length in bytes; of what is not regular 0.
        pending: Lines that are not written yet.
        closed: Whether it is.

    Example::

        file = open_lines("out.jsonl")
        file.pending.append(b"{}\\n")
        file.flush()
        file.close()
    """

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
        """Leave no more than the first `size` bytes."""
        os.ftruncate(self.fd, size)
        self.size = size

    def flush(self) -> None:
        """Write what is pending; on failure whole lines are left, and the rest stays pending.

        Raises:
            InputError: when it cannot be written.
        """
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
        """Bring it to the disk. May take long.

        Raises:
            InputError: when the disk refuses.
        """
        if self.regular and not self.closed:
            try:
                os.fsync(self.fd)
            except OSError as error:
                wrong = f"cannot be brought to the disk: {error.strerror}"
                raise InputError(wrong, source=self.name) from None

    def close(self) -> None:
        """Close it, with what is still pending lost; standard output stays open."""
        if not self.closed:
            self.closed = True
            if self.fd != 1:
                os.close(self.fd)


def open_lines(path: str) -> LineFile:
    """Open for appending; it is made when it is not there.

    Raises:
        InputError: when it cannot be written.
    """
    if path == STDOUT:
        return LineFile(1, "standard output")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except IsADirectoryError:
        raise InputError("is a directory; name a file", source=path) from None
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        raise InputError(f"there is no folder {folder}; make it first", source=path) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=path) from None
    return LineFile(fd, path)


def open_locked(path: str, output: str) -> LineFile:
    """Open for appending, with a lock that keeps other runs off.

    Args:
        path: The file.
        output: What it belongs to, for the error.

    Raises:
        InputError: when it cannot be written, or another run has it.
    """
    while True:
        file = open_lines(path)
        if not file.regular:
            return file
        try:
            _lock(file.fd, output)
            if _is_at(file.fd, path):
                return file
        except BaseException:
            file.close()
            raise
        # Between opening and locking, the run that had it came to its end and took it away: once more.
        file.close()


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(fd: int, output: str) -> None:
    if sys.platform == "win32":  # pragma: no cover  (no advisory locks there)
        return
    try:
        # It belongs to the open file: released whichever way this process ends.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError("another run is writing to it; wait for its end", source=output) from None
    except OSError:  # pragma: no cover  (a file system without locks: better unlocked than unusable)
        return
