"""The file of a cache; its schema and versions are tested through the cache in `test_sqlite.py`."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from callgate.policies.cache import sqlite_file


def test_the_switch_to_wal_waits_for_another_process_that_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "cache.sqlite3")
    ours, reader = apsw.Connection(file), apsw.Connection(file)
    reader.execute("CREATE TABLE t (x)")
    reader.execute("BEGIN")
    assert reader.execute("SELECT * FROM t").fetchall() == []
    monkeypatch.setattr(sqlite_file, "WRITER_PATIENCE_MS", 20)
    with pytest.raises(apsw.BusyError):
        sqlite_file.switch_to_wal(ours)
    monkeypatch.setattr(sqlite_file, "WRITER_PATIENCE_MS", 60_000)
    end = threading.Timer(0.05, reader.execute, ["ROLLBACK"])
    end.start()
    sqlite_file.switch_to_wal(ours)
    assert ours.pragma("journal_mode") == "wal"
    end.join()
    ours.close()
    reader.close()
