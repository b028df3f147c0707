"""Looking at processes, for tests that promise to leave none behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

__all__ = ["wait_group_ended", "wait_process_ended"]

_DEAD = "ZX"
"""States of a process that has ended; as a zombie it waits to be reaped, which is not its parent's haste."""


async def wait_process_ended(pid: int) -> None:
    """Wait until there is no such process."""
    while (fields := _stat(Path(f"/proc/{pid}"))) is not None and fields[0] not in _DEAD:
        await asyncio.sleep(0.01)


async def wait_group_ended(group: int) -> None:
    """Wait until there is no process in this group."""
    while _has_members(group):
        await asyncio.sleep(0.01)


def _has_members(group: int) -> bool:
    found = (_stat(path) for path in Path("/proc").iterdir() if path.name.isdecimal())
    return any(fields is not None and fields[0] not in _DEAD and fields[2] == str(group) for fields in found)


def _stat(path: Path) -> list[str] | None:
    """State, parent, group and so on of a process; None when there is none."""
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
