"""Looking at processes, for tests that promise to leave none behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

__all__ = ["gone"]


async def gone(pid: int) -> None:
    """Wait until there is no such process (a zombie that nobody reaps counts as gone)."""
    while True:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return
        if stat.rpartition(")")[2].split()[0] in "ZX":
            return
        await asyncio.sleep(0.01)
