"""A cache on disk: one SQLite file that any number of processes may share.

Reading is one indexed read, done where it is asked for: it takes less time than a thread would. Writing is
done in one thread, everything that waits at a time in one transaction; `put` returns when it is committed.
What one process is asking for the others wait for (`claims`).
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
from callgate.reprs import live_repr
from callgate.response import Response

__all__ = ["CacheStats", "SqliteCache", "file_of"]

_log = logging.getLogger("callgate")

FILE_NAME = "cache.sqlite3"
_OURS = 0x63676174  # SQLite's application_id: "cgat"
# One step a version, never changed once released: a file of any version is brought up to date when it is
# opened, so no responses are lost with an upgrade. A step that changes what digests are computed from
# computes them anew from the stored requests.
_MIGRATIONS = (
    """
    CREATE TABLE entries (
        key BLOB PRIMARY KEY,
        written REAL NOT NULL,
        origin TEXT,
        model TEXT,
        request BLOB NOT NULL,
        response BLOB NOT NULL
    );
    CREATE INDEX entries_by_age ON entries (written);
    CREATE INDEX entries_by_model ON entries (origin, model);
    """,
)
_READ = "SELECT request, response, written FROM entries WHERE key = ?"
# A whole group in one statement, as one JSON text [[key, written, request, response], ...]: with a statement
# a row, the thread would have to wait for its turn to run Python (5 ms while the loop is busy) after each.
_WRITE = """
    INSERT OR REPLACE INTO entries
    SELECT unhex(value ->> 0), value ->> 1, value ->> 2 ->> '$.origin', value ->> 2 ->> '$.request.model',
        CAST(value ->> 2 AS BLOB), CAST(value ->> 3 AS BLOB)
    FROM json_each(?)
"""
# Writers of other processes are waited for in the thread; a reader waits only while another process, which
# came after one that was killed, recovers the file.
_WRITER_PATIENCE_MS = 60_000
_READER_PATIENCE_MS = 250
_LOOK_AT = 20_000


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds.

    Attributes:
        path: The file.
        entries: How many answers.
        bytes_on_disk: The file and its log.
        oldest, newest: When the first and the last were written (UTC); None when it is empty.
        models: (origin, model, answers), most first.
    """

    path: Path
    entries: int
    bytes_on_disk: int
    oldest: datetime | None
    newest: datetime | None
    models: tuple[tuple[str | None, str | None, int], ...]


class SqliteCache:
    """Responses on disk, found by later runs and by other processes.

    Args:
        path: A directory (made with access for its owner only), or a file ending in .sqlite3, .sqlite or .db.
        ttl: Seconds after which an answer is asked for anew; None: never.
        patience: Seconds to wait for an answer that another process is asking for, before asking too: it may
            have been stopped. (A killed one is not waited for.)
        clock: Seconds since 1970, as processes share them.

    Raises:
        ConfigurationError: when the place cannot be written, or holds something else, or was written by a
            newer version.

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
            _make_private(self.path)
            self._writer = _connect(self.path, _WRITER_PATIENCE_MS)
            _bring_up_to_date(self._writer, self.path)
            self._reader = _connect(self.path, _READER_PATIENCE_MS)
            self._claims = ProcessLocks(self.path.with_name(self.path.name + "-claims"))
        except (OSError, apsw.Error) as error:
            raise ConfigurationError(f"cannot keep a cache in {self.path}: {error}") from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="callgate-cache")
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pending: list[_Write] = []
        self._writing = False
        self._closed = False
        self._told: set[str] = set()

    # -- the store ---------------------------------------------------------------------------------------

    def get(self, key: CacheKey, /) -> Response | None:
        """A fresh copy of the answer, or None. An entry that cannot be read is a miss.

        Raises:
            RuntimeError: when the cache is closed, or was opened before the process was forked.
        """
        self._check_process()
        try:
            row = self._reader.execute(_READ, (key.digest,)).fetchone()
        except apsw.Error as error:
            if self._closed:
                raise RuntimeError(f"the cache {self.path} is closed") from None
            self._tell_once("cannot be read", error)
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

        When the disk is full or the file damaged, that is said in the log, and the call goes on.

        Raises:
            RuntimeError: when the cache is closed.
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
        """Become the one of all processes that sends this request; see `SharedStore`."""
        return self._claims.take(key) or self._claims.wait(key, self._patience)

    def release(self, key: CacheKey, /) -> None:
        """Give the claim to the next one."""
        self._claims.release(key)

    def _check_process(self) -> None:
        # SQLite forbids the use of a connection in a forked child, which also lacks the writer's thread.
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"the cache {self.path} was opened before the process was forked; open one in each process"
            )

    async def close(self) -> None:
        """Finish writing and close the file. Closing twice changes nothing."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
        self._thread.shutdown(wait=True)
        self._claims.close()
        self._reader.close()
        self._writer.close()

    # -- the writer's thread -----------------------------------------------------------------------------

    def _write_pending(self) -> None:
        """Commit all waiting responses together, until none waits."""
        while True:
            with self._lock:
                group, self._pending = self._pending, []
                if not group:
                    self._writing = False
                    return
            try:
                self._writer.execute(_WRITE, (orjson.dumps([write.to_row() for write in group]).decode(),))
            except Exception as error:  # of any kind: the waiting calls must be woken
                self._tell_once("cannot be written", error)
            for loop in {write.loop for write in group}:
                waiting = [write.done for write in group if write.loop is loop]
                with suppress(RuntimeError):  # the loop was closed: no call waits any more
                    loop.call_soon_threadsafe(_wake, waiting)

    def _tell_once(self, what: str, error: Exception) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("the cache %s %s (%s); calls go on without it", self.path, what, error)

    # -- for people --------------------------------------------------------------------------------------

    def stats(self) -> CacheStats:
        """Counts of what the cache holds."""
        totals: Any = self._reader.execute("SELECT count(*), min(written), max(written) FROM entries")
        count, oldest, newest = totals.get
        models: Any = self._reader.execute(
            "SELECT origin, model, count(*) FROM entries GROUP BY origin, model ORDER BY 3 DESC, 1, 2"
        )
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
        return CacheStats(self.path, count, size, _utc(oldest), _utc(newest), tuple(models))

    def clear(self, *, older_than: float | None = None, model: str | None = None) -> int:
        """Delete responses and free their space; returns how many were deleted.

        Args:
            older_than: Only those written more than so many seconds ago.
            model: Only those of this model.
        """
        before = None if older_than is None else self._clock() - older_than
        self._writer.execute(
            "DELETE FROM entries WHERE (?1 IS NULL OR written < ?1) AND (?2 IS NULL OR model = ?2)",
            (before, model),
        )
        gone = self._writer.changes()
        with suppress(apsw.BusyError):  # others are using it: the space is used again by what comes next
            self._writer.execute("VACUUM")
        return gone

    def export(self) -> Iterator[dict[str, Any]]:
        """Every entry, oldest first: `key`, `written_at`, what was asked, and the answer, ready for JSON.

        An entry that cannot be read is left out.
        """
        rows = self._reader.execute("SELECT key, written, request, response FROM entries ORDER BY written")
        for key, written, request, response in rows:
            try:
                asked, answer = orjson.loads(request), orjson.loads(response)
                when = datetime.fromtimestamp(written, UTC).isoformat()
                yield {"key": key.hex(), "written_at": when, **asked, "response": answer}
            except (ValueError, TypeError):
                continue

    def explain(self, key: CacheKey) -> Explanation:
        """Why this request is a hit or a miss, with the nearest of the newest 20,000 entries."""
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
    """One response to be written, and the call that waits for it."""

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


def file_of(path: Path) -> Path:
    """The file of a cache: the one named, or its usual name in the directory named."""
    return path if path.suffix in (".sqlite3", ".sqlite", ".db") else path / FILE_NAME


def _make_private(file: Path) -> None:
    """The directory and the file, for their owner only; SQLite gives its log the file's own rights."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _connect(file: Path, patience_ms: int) -> apsw.Connection:
    connection = apsw.Connection(str(file))
    connection.set_busy_timeout(patience_ms)
    # A killed process loses nothing committed; a power cut may cost the last answers, never the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _bring_up_to_date(connection: apsw.Connection, file: Path) -> None:
    if _is_up_to_date(connection):
        return
    # The switch to WAL does not wait for others itself, so it is made behind a lock that does.
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.pragma("user_version")
        ours = connection.pragma("application_id")
        if ours != _OURS and (version or connection.execute("SELECT 1 FROM sqlite_master").fetchone()):
            raise ConfigurationError(f"{file} is an SQLite file, but not a cache of callgate")
        if version > len(_MIGRATIONS):
            raise ConfigurationError(
                f"the cache {file} was written by a newer callgate (schema {version}, this one knows"
                f" {len(_MIGRATIONS)}); upgrade callgate or use another cache"
            )
        for number, step in enumerate(_MIGRATIONS[version:], version + 1):
            connection.execute(step)
            connection.pragma("user_version", number)
            connection.pragma("application_id", _OURS)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        connection.close()
        raise
    _switch_to_wal(connection)


def _is_up_to_date(connection: apsw.Connection) -> bool:
    """Read without a lock: a cache is opened on the loop, and another process may write for long."""
    found = [connection.pragma(name) for name in ("application_id", "user_version", "journal_mode")]
    return found == [_OURS, len(_MIGRATIONS), "wal"]


def _switch_to_wal(connection: apsw.Connection) -> None:
    if connection.pragma("journal_mode") == "wal":
        return
    until = time.monotonic() + _WRITER_PATIENCE_MS / 1000
    while True:
        try:
            connection.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            # The busy timeout does not cover this one; it happens only while several processes make the file.
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
