"""A file that is written anew: the old one stays until the new one is whole and on the disk."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """Write a file so that nobody ever sees half of it, not even after a power cut.

    It is written beside its place and put there at the end; when the body raises, what was there before
    stays. Only one at a time may write to a path: a kill leaves `PATH.writing`, which the next one replaces.

    Raises:
        OSError: when it cannot be written.

    Example::

        with whole_file("answers.csv") as file:
            file.write(b"id,text\\n")
    """
    path = os.path.realpath(path)  # a link stays a link
    beside = path + ".writing"
    try:
        with open(beside, "wb", opener=_make) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, beside)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    _sync_folder(os.path.dirname(path))


def _make(path: str, flags: int) -> int:
    """Make a file anew: what stands there is removed first, so that a planted link is never followed."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(path, flags | os.O_EXCL, 0o666)


def _sync_folder(folder: str) -> None:
    """Bring a new name to the disk, as `fsync` of the file alone does not."""
    if sys.platform == "win32":  # pragma: no cover  (folders cannot be opened there)
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
