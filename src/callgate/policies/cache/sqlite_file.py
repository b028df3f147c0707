"""The file of a cache on disk: found, created, and migrated to the current schema."""

from __future__ import annotations

import os
import time
from pathlib import Path

import apsw

from callgate.errors import ConfigurationError

__all__ = ["WRITER_PATIENCE_MS", "file_of", "open_connections", "switch_to_wal"]

FILE_NAME = "cache.sqlite3"
_OURS = 0x63676174  # SQLite's application_id: "cgat"
# One step for each version; a released step is never changed, so that a file of any version keeps its
# responses. A step that changes what digests are computed from computes them anew from the stored requests.
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
# The writer waits in a thread. The reader, on the event loop, waits only while another process recovers the
# file after a killed one.
WRITER_PATIENCE_MS = 60_000
_READER_PATIENCE_MS = 250


def file_of(path: Path) -> Path:
    """The file of a cache: the one named, or its usual name in the directory named."""
    return path if path.suffix in (".sqlite3", ".sqlite", ".db") else path / FILE_NAME


def open_connections(file: Path) -> tuple[apsw.Connection, apsw.Connection]:
    """A connection for writing and one for reading.

    A new file and its directory are accessible to their owner only; SQLite gives its log the same mode.

    Raises:
        ConfigurationError: the file is not a cache, or was written by a newer version.
        OSError, apsw.Error: it cannot be opened or created.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    writer = _connect(file, WRITER_PATIENCE_MS)
    _bring_up_to_date(writer, file)
    return writer, _connect(file, _READER_PATIENCE_MS)


def _connect(file: Path, patience_ms: int) -> apsw.Connection:
    connection = apsw.Connection(str(file))
    connection.set_busy_timeout(patience_ms)
    # A killed process loses nothing committed; a power cut may lose the last responses, never the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _bring_up_to_date(connection: apsw.Connection, file: Path) -> None:
    if _is_up_to_date(connection):
        return
    # The switch to WAL does not wait for other processes, so it follows a transaction, which does.
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
    switch_to_wal(connection)


def _is_up_to_date(connection: apsw.Connection) -> bool:
    """Reads without a lock, because a cache is opened on the event loop while another process may write."""
    found = [connection.pragma(name) for name in ("application_id", "user_version", "journal_mode")]
    return found == [_OURS, len(_MIGRATIONS), "wal"]


def switch_to_wal(connection: apsw.Connection) -> None:
    """Set the journal mode to WAL, waiting for other processes that use the file.

    Raises:
        apsw.BusyError: after `WRITER_PATIENCE_MS`.
    """
    if connection.pragma("journal_mode") == "wal":
        return
    until = time.monotonic() + WRITER_PATIENCE_MS / 1000
    while True:
        try:
            connection.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            # The busy timeout does not apply here. Only while several processes create the file.
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
