"""Files that grow by whole lines: when `flush` returns, the operating system has the lines."""

from __future__ import annotations

import os
import shutil
import stat
import sys

from callgate.batch.output.paths import rescued_path
from callgate.errors import InputError

if sys.platform != "win32":  # pragma: no branch
    import fcntl

__all__ = ["STDOUT", "LineFile", "open_lines", "open_locked", "refuse_second_name"]

STDOUT = "-"
"""The output that is standard output."""

_APPEND = os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
_COPY = 1024 * 1024


class LineFile:
    """An append-only file of whole lines, kept safe from other programs.

    Before each write it looks whether the file still stands in its place. When it was deleted, it is written
    there again; when another file has taken its place, all lines go on in a file beside it (`rescued_path`);
    when it was cut, the next line starts on a line of its own.

    Attributes:
        fd: The open file.
        name: Its path, or what it is called in messages.
        regular: Whether it is a file that stays, not a pipe, a terminal or standard output.
        size: Its length in bytes; of what is not regular 0.
        pending: Lines that are not written yet.
        closed: Whether it is closed.
        harm: What another program did to it, in words; None: nothing, or nothing that lost a line.

    Example::

        file = open_lines("out.jsonl")
        file.pending.append(b"{}\\n")
        file.flush()
        file.close()
    """

    __slots__ = ("_id", "_lock_for", "closed", "fd", "harm", "name", "pending", "regular", "size")

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self.pending: list[bytes] = []
        self.closed = False
        self.harm: str | None = None
        self._lock_for: str | None = None
        self._take(fd)

    def _take(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.regular = stat.S_ISREG(status.st_mode) and fd != 1
        self.size = status.st_size if self.regular else 0
        self._id = status.st_dev, status.st_ino

    def lock(self, output: str) -> None:
        """Keep other runs off until it is closed.

        Args:
            output: What it belongs to, for the error.

        Raises:
            InputError: when another run has it.
        """
        _lock(self.fd, output)
        self._lock_for = output

    @property
    def in_place(self) -> bool:
        """Whether its path still leads to it."""
        try:
            status = os.stat(self.name)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._id

    def cut(self, size: int) -> None:
        """Leave no more than the first `size` bytes."""
        os.ftruncate(self.fd, size)
        self.size = size

    def cut_torn(self) -> None:
        """Cut off a last line without its end, which a kill tore."""
        with open(self.fd, "rb", closefd=False) as file:
            end = self.size
            while end:
                start = max(0, end - _COPY)
                file.seek(start)
                whole = file.read(end - start).rfind(b"\n") + 1
                if whole:
                    end = start + whole
                    break
                end = start
        if end < self.size:
            self.cut(end)

    def flush(self) -> None:
        """Write what is pending; on failure whole lines are left, and the rest stays pending.

        Raises:
            InputError: when it cannot be written.
        """
        if not self.pending:
            return
        self.secure()
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

    def secure(self) -> None:
        """See to it that the next line, and all that were written, stand where they are looked for.

        Raises:
            InputError: when another program has taken its place and it cannot be written anywhere else.
        """
        if not self.regular:
            return
        try:
            status = os.stat(self.name)
        except FileNotFoundError:
            if not self._move(self.name):
                self._rescue()
            return
        if (status.st_dev, status.st_ino) != self._id:
            self._rescue()
        elif status.st_size != self.size:
            if status.st_size < self.size:
                self.harm = (
                    f"another program cut this file from {self.size:,} to {status.st_size:,} bytes during the"
                    " run; the rows whose answers it cut off will be asked again"
                )
                self.size = status.st_size
                self.cut_torn()
            else:
                self.size = status.st_size
                self._end_line()

    def _end_line(self) -> None:
        """Begin the next line on a line of its own, behind what another program has added."""
        with open(self.fd, "rb", closefd=False) as file:
            file.seek(self.size - 1)
            if file.read() != b"\n":
                self.pending.insert(0, b"\n")

    def _rescue(self) -> None:
        path = self.name
        if not self._move(rescued_path(path)):
            raise InputError(
                f"another program has taken its place, and {rescued_path(path)} is there already", source=path
            )
        self.harm = (
            f"another program put a different file in the place of {path} during the run; all that the run"
            " wrote is in this file: put it back there before the next run"
        )

    def _move(self, path: str) -> bool:
        """Go on in a new file, with all that was written; False when there is a file of that name."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_EXCL | _APPEND, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=path) from None
        try:
            if self._lock_for is not None:
                _lock(fd, self._lock_for)
            with open(self.fd, "rb", closefd=False) as old, open(fd, "wb", closefd=False) as new:
                old.seek(0)
                shutil.copyfileobj(old, new, _COPY)
        except BaseException as error:
            os.close(fd)
            os.unlink(path)
            if not isinstance(error, OSError):
                raise
            raise InputError(f"cannot be written: {error.strerror}", source=path) from None
        os.close(self.fd)
        self.name = path
        self._take(fd)
        return True

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


def open_lines(path: str, *, beside: bool = True) -> LineFile:
    """Open for appending; it is made when it is not there.

    Args:
        path: The file, or "-" for standard output.
        beside: Whether it is a file that callgate keeps beside an output. Such a file must be one of its own:
            no link, no pipe.

    Raises:
        InputError: when it cannot be written, or is also known by another name.
    """
    if path == STDOUT:
        return LineFile(1, "standard output")
    try:
        fd = os.open(path, _mode_for(path, beside=beside), 0o644)
    except IsADirectoryError:
        raise InputError("is a directory; name a file", source=path) from None
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        raise InputError(f"there is no folder {folder}; make it first", source=path) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=path) from None
    file = LineFile(fd, path)
    try:
        refuse_second_name(path, os.fstat(fd))
    except InputError:
        file.close()
        raise
    return file


def refuse_second_name(path: str, status: os.stat_result) -> None:
    """Refuse a file with two names (a hard link): what belongs to it can stand beside one of them only.

    Args:
        path: The file.
        status: What `os.stat` says of it.

    Raises:
        InputError: when it has more than one name.
    """
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise InputError(
            "has more than one name (a hard link), and what belongs to it stands beside one of them; make a"
            " copy (cp) and use that, or choose another -o",
            source=path,
        )


def _mode_for(path: str, *, beside: bool) -> int:
    """How to open it: regular files also for reading, as they may have to be copied; a pipe that were open
    for reading here would never be found broken."""
    try:
        status = os.lstat(path) if beside else os.stat(path)
    except OSError:
        regular = True  # it is made, or opening reports what is wrong
    else:
        regular = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        if beside and not regular:
            raise InputError(
                "is not a file of callgate's own but a link or a device; remove it, or choose another -o",
                source=path,
            )
    nofollow = getattr(os, "O_NOFOLLOW", 0) if beside else 0
    return _APPEND | nofollow | (os.O_RDWR if regular else os.O_WRONLY)


def open_locked(path: str, output: str, *, beside: bool = True) -> LineFile:
    """Open for appending, with a lock that keeps other runs off.

    Args:
        path: The file.
        output: What it belongs to, for the error.
        beside: As for `open_lines`.

    Raises:
        InputError: when it cannot be written, or another run has it.
    """
    while True:
        file = open_lines(path, beside=beside)
        if not file.regular:
            return file
        try:
            file.lock(output)
            if file.in_place:
                return file
        except BaseException:
            file.close()
            raise
        # Between opening and locking, the run that had it ended and removed it: open it again.
        file.close()


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
