"""`save_to_file`: whole or not at all, and never outside its directory."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path, PureWindowsPath
from typing import Any

from callgate.errors import InputError

__all__ = ["save_to_file"]


async def save_to_file(
    text: Any,
    directory: str | Path,
    filename: str,
    file_exist_ok: bool = False,
    *,
    dir_exist_ok: bool = True,
    encoding: str = "utf-8",
) -> Path:
    """Write a file so that others see all of it or nothing. Does not block the event loop.

    Args:
        text: Text, bytes, or an answer of `AsyncAPIClient` (of which the body is written).
        directory: Made when it is missing.
        filename: A path below the directory. It may not lead out of it: no "..", no absolute path, and no
            symbolic link among the directories on the way.
        file_exist_ok: Replace the file when there is one.
        dir_exist_ok: Permit that the directory is there already.
        encoding: Of text.

    Returns:
        Where it is.

    Raises:
        InputError: (a ValueError) the filename leads out of the directory, or there is nothing to write.
        FileExistsError: there is one, and `file_exist_ok` is not set.
        OSError: the disk does not want to.

    Example::

        path = await save_to_file("Hello!", "downloads", "greeting.txt", file_exist_ok=True)
    """
    content = _as_bytes(text, encoding)
    _check_name(filename)
    return await asyncio.to_thread(_save, content, Path(directory), filename, file_exist_ok, dir_exist_ok)


def _as_bytes(text: Any, encoding: str) -> bytes:
    if isinstance(text, str):
        return text.encode(encoding)
    content = text if isinstance(text, bytes) else getattr(text, "content", None)
    if not isinstance(content, bytes):
        raise InputError(f"save_to_file writes text, bytes or an answer, not a {type(text).__name__}")
    return content


def _check_name(filename: str) -> None:
    # Read as Windows would, which knows both slashes and drives, whatever system this is.
    path = PureWindowsPath(filename)
    if not path.name or "\0" in filename or filename.endswith(("/", "\\")):
        raise InputError(f"{filename!r} is no name of a file")
    if path.drive or path.root or ".." in path.parts:
        raise InputError(f"the file {filename!r} would not lie in the directory it is to be saved in")


def _save(content: bytes, directory: Path, filename: str, file_exist_ok: bool, dir_exist_ok: bool) -> Path:
    directory.mkdir(parents=True, exist_ok=dir_exist_ok)
    root = directory.resolve()
    target = root / filename
    _make_parents(root, target)
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if file_exist_ok:
            os.replace(temporary, target)  # of a symbolic link it replaces the link, not what it points to
        else:
            os.link(temporary, target)  # unlike a rename it fails when there is one
        _sync_directory(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return directory / filename


def _make_parents(root: Path, target: Path) -> None:
    """Make the directories between root and target, following no link out of root."""
    here = root
    for part in target.relative_to(root).parts[:-1]:
        here = here / part
        here.mkdir(exist_ok=True)
        if not here.resolve().is_relative_to(root):
            raise InputError(f"{part!r} is a link that leads out of the directory the file is to be saved in")


def _sync_directory(directory: Path) -> None:
    """Have the name on the disk, too, where the system lets a directory be synced."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
