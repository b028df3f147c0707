"""`save_to_file`: writes a file atomically, and only inside of its directory."""

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
    """Write a file atomically: other processes see all of it or nothing. Does not block the event loop.

    Args:
        text: Text, bytes, or a response of `AsyncAPIClient`, whose body is written.
        directory: Created if it does not exist.
        filename: A path below the directory, without ".." and symbolic links that lead out of it.
        file_exist_ok: Replace an existing file.
        dir_exist_ok: Accept an existing directory.
        encoding: The encoding of text.

    Returns:
        The path of the file.

    Raises:
        InputError: (a ValueError) the filename leads out of the directory, or `text` is of another type.
        FileExistsError: the file exists and `file_exist_ok` is not set, or the directory and `dir_exist_ok`.
        OSError: the file cannot be written.

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
    # Parsed by the rules of Windows, which has both slashes and drives, on all systems.
    path = PureWindowsPath(filename)
    if not path.name or "\0" in filename or filename.endswith(("/", "\\")):
        raise InputError(f"{filename!r} is not a file name")
    if path.drive or path.root or ".." in path.parts:
        raise InputError(f"the file {filename!r} would be outside of its directory")


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
            os.replace(temporary, target)  # replaces a symbolic link, not its target
        else:
            os.link(temporary, target)  # unlike a rename, fails if the file exists
        _sync_directory(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return directory / filename


def _make_parents(root: Path, target: Path) -> None:
    """Create the directories between root and target, without following a link out of root."""
    here = root
    for part in target.relative_to(root).parts[:-1]:
        here = here / part
        here.mkdir(exist_ok=True)
        if not here.resolve().is_relative_to(root):
            raise InputError(f"{part!r} is a link that leads out of the directory of the file")


def _sync_directory(directory: Path) -> None:
    """Sync the directory entry, on systems where a directory can be synced."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
