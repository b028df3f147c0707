"""A cache on disk: one SQLite file that any number of processes may share.

`get` is one indexed read on the caller's thread, which is faster than passing it to another one. A single
thread writes, with all waiting responses in one transaction; `put` returns when it is committed. While one
process requests a response, others that need it wait for it (`locks.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw
import orjson

from callgate.errors import ConfigurationError
from callgate.policies.cache.codec import decode_response, encode_response
from callgate.policies.cache.explain import Explanation, explain
from callgate.policies.cache.key import CacheKey
from callgate.policies.cache.locks import ProcessLocks
from callgate.policies.cache.sqlite_file import file_of, open_connections
from callgate.reprs import live_repr
from callgate.response import Response

__all__ = ["CacheStats", "SqliteCache"]

_log = logging.getLogger("callgate")

_READ = "SELECT request, response, written FROM entries WHERE key = ?"
# A group is written by one statement, from one JSON text [[key, written, request, response], ...]: with a
# statement for each row the thread would wait for the GIL (5 ms while the loop is busy) after each.
_WRITE = """
    INSERT OR REPLACE INTO entries
    SELECT unhex(value ->> 0), value ->> 1, value ->> 2 ->> '$.origin', value ->> 2 ->> '$.request.model',
        CAST(value ->> 2 AS BLOB), CAST(value ->> 3 AS BLOB)
    FROM json_each(?)
"""
_LOOK_AT = 20_000


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds.

    Attributes:
        path: The file.
        entries: The number of responses.
        bytes_on_disk: The size of the file and its write-ahead log.
        oldest, newest: When the first and the last response were written (UTC); None when the cache is empty.
        models: (origin, model, number of responses), the largest number first.
    """

    path: Path
    entries: int
    bytes_on_disk: int
    oldest: datetime | None
    newest: datetime | None
    models: tuple[tuple[str | None, str | None, int], ...]


class SqliteCache:
    """A store of responses on disk, shared by later runs and by other processes.

    Args:
        path: A directory (created with access for its owner only), or a file ending in .sqlite3, .sqlite or
            .db.
        ttl: Seconds for which a response is valid; None: for ever.
        patience: Seconds to wait for a response that another process is requesting, before requesting it too:
            that process may be suspended. (One that was killed is not waited for.)
        clock: Returns seconds since 1970, the time that all processes share.

    Raises:
        ConfigurationError: `path` cannot be written, is not a cache, or was written by a newer version.

    Example::

        model = iModel(provider="openai", model="gpt-4o-mini", cache=SqliteCache("cache", ttl=7 * 86400))
    """

    def __init__(
        self,
        path: str | Path,
        *,
        ttl: float | None = None,
        patience: float = 600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if (ttl is not None and ttl <= 0) or patience <= 0:
            raise ConfigurationError("ttl and patience must be positive (seconds), or ttl None")
        self.path = file_of(Path(path))
        self._ttl = ttl
        self._patience = patience
        self._clock = clock
        try:
            self._writer, self._reader = open_connections(self.path)
            self._claims = ProcessLocks(self.path.with_name(self.path.name + "-claims"))
        except (OSError, apsw.Error) as error:
            raise ConfigurationError(f"cannot keep a cache in {self.path}: {error}") from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="callgate-cache")
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pending: list[_Write] = []
        self._writing = False
        self._closed = False
        self._warned: set[str] = set()

    # -- the store ---------------------------------------------------------------------------------------

    def get(self, key: CacheKey, /) -> Response | None:
        """A new copy of the response, or None. An entry that cannot be read is a miss.

        Raises:
            RuntimeError: the cache is closed, or was opened before the process was forked.
        """
        self._check_process()
        try:
            row = self._reader.execute(_READ, (key.digest,)).fetchone()
        except apsw.Error as error:
            if self._closed:
                raise RuntimeError(f"the cache {self.path} is closed") from None
            self._warn_once("cannot be read", error)
            return None
        if row is None:
            return None
        request, response, written = row
        if request != key.request or (self._ttl is not None and self._clock() - written > self._ttl):
            return None
        try:
            return decode_response(response)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    async def put(self, key: CacheKey, response: Response, /) -> None:
        """Store a response, unless JSON cannot restore it exactly. It is on disk when this returns.

        If the disk is full or the file is damaged, a warning is logged and the call goes on.

        Raises:
            RuntimeError: the cache is closed.
        """
        self._check_process()
        encoded = encode_response(response)
        if encoded is None:
            return
        loop = asyncio.get_running_loop()
        written = loop.create_future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the cache {self.path} is closed")
            self._pending.append(_Write(key, self._clock(), encoded, loop, written))
            if not self._writing:
                self._writing = True
                loop.run_in_executor(self._thread, self._write_pending)
        await written

    def claim(self, key: CacheKey, /) -> bool | Awaitable[bool]:
        """Claim the request for this process; see `SharedStore`."""
        return self._claims.take(key) or self._claims.wait(key, self._patience)

    def release(self, key: CacheKey, /) -> None:
        """Release the claim, so that the next process can take it."""
        self._claims.release(key)

    def _check_process(self) -> None:
        # SQLite does not allow a connection in a forked child, which also lacks the writing thread.
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"the cache {self.path} was opened before the process was forked; open one in each process"
            )

    async def close(self) -> None:
        """Finish writing and close the file. Idempotent."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
        self._thread.shutdown(wait=True)
        self._claims.close()
        self._reader.close()
        self._writer.close()

    # -- the writing thread -------------------------------------------------------------------------------

    def _write_pending(self) -> None:
        """Commit all waiting responses in one transaction, until none waits."""
        while True:
            with self._lock:
                group, self._pending = self._pending, []
                if not group:
                    self._writing = False
                    return
            try:
                self._writer.execute(_WRITE, (orjson.dumps([write.to_row() for write in group]).decode(),))
            except Exception as error:  # of any kind, because the waiting calls must be woken
                self._warn_once("cannot be written", error)
            for loop in {write.loop for write in group}:
                waiting = [write.done for write in group if write.loop is loop]
                with suppress(RuntimeError):  # the loop was closed, and no call waits in it
                    loop.call_soon_threadsafe(_wake, waiting)

    def _warn_once(self, what: str, error: Exception) -> None:
        if what not in self._warned:
            self._warned.add(what)
            _log.warning("the cache %s %s (%s); calls go on without it", self.path, what, error)

    # -- inspection --------------------------------------------------------------------------------------

    def stats(self) -> CacheStats:
        """The number of responses, their age and size, and the number for each model."""
        totals: Any = self._reader.execute("SELECT count(*), min(written), max(written) FROM entries")
        count, oldest, newest = totals.get
        models: Any = self._reader.execute(
            "SELECT origin, model, count(*) FROM entries GROUP BY origin, model ORDER BY 3 DESC, 1, 2"
        )
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
        return CacheStats(self.path, count, size, _utc(oldest), _utc(newest), tuple(models))

    def clear(self, *, older_than: float | None = None, model: str | None = None) -> int:
        """Delete responses and free their space; returns the number deleted.

        Args:
            older_than: Only those older than this, in seconds.
            model: Only those of this model.
        """
        before = None if older_than is None else self._clock() - older_than
        self._writer.execute(
            "DELETE FROM entries WHERE (?1 IS NULL OR written < ?1) AND (?2 IS NULL OR model = ?2)",
            (before, model),
        )
        deleted = self._writer.changes()
        with suppress(apsw.BusyError):  # another process uses the file: later responses use the space
            self._writer.execute("VACUUM")
        return deleted

    def export(self) -> Iterator[dict[str, Any]]:
        """Every entry, oldest first, ready for JSON: `key`, `written_at`, the request and the response.

        An entry that cannot be read is left out.
        """
        rows = self._reader.execute("SELECT key, written, request, response FROM entries ORDER BY written")
        for key, written, request, response in rows:
            try:
                asked, answered = orjson.loads(request), orjson.loads(response)
                when = datetime.fromtimestamp(written, UTC).isoformat()
                yield {"key": key.hex(), "written_at": when, **asked, "response": answered}
            except (ValueError, TypeError):
                continue

    def explain(self, key: CacheKey) -> Explanation:
        """Explain why a request is a hit or a miss, with the most similar of the newest 20,000 entries."""
        if self.get(key) is not None:
            return Explanation("hit")
        row = self._reader.execute(_READ, (key.digest,)).fetchone()
        if row is not None:
            too_old = self._ttl is not None and self._clock() - row[2] > self._ttl
            return Explanation("expired" if too_old else "damaged", written_at=_utc(row[2]))
        newest = self._reader.execute(
            "SELECT request, written FROM entries ORDER BY written DESC LIMIT ?", (_LOOK_AT,)
        )
        return explain(key, ((request, _utc(written)) for request, written in newest))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @live_repr
    def __repr__(self) -> str:
        return f"<SqliteCache {self.path}{' closed' if self._closed else ''}>"


@dataclass(slots=True)
class _Write:
    """A response to be written, and the future of the call that waits for it."""

    key: CacheKey
    written: float
    response: bytes
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]

    def to_row(self) -> list[Any]:
        return [self.key.digest.hex(), self.written, self.key.request.decode(), self.response.decode()]


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for waiter in waiting:
        if not waiter.done():
            waiter.set_result(None)


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
