"""The cache on disk: what it keeps, for whom, through what."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest

from callgate.errors import ConfigurationError
from callgate.policies.cache.key import CacheKey, make_key
from callgate.policies.cache.sqlite import SqliteCache
from callgate.policies.cache.store import CacheStore
from callgate.response import Response, Usage
from callgate.testing.clock import VirtualClock


def key(number: Any = 1, **more: Any) -> CacheKey:
    made = make_key("https://api.example.com", "chat", {"model": "m", "number": number, **more})
    assert made is not None
    return made


def answer(number: Any = 1) -> Response:
    return Response(text=f"answer {number}", usage=Usage(3, 4), raw={"n": number}, finish_reason="stop")


def put(cache: SqliteCache, *numbers: Any) -> None:
    async def all_at_once() -> None:
        await asyncio.gather(*(cache.put(key(number), answer(number)) for number in numbers))

    asyncio.run(all_at_once())


def execute_sql(cache: SqliteCache, statement: str, *values: Any) -> None:
    with apsw.Connection(str(cache.path)) as connection:
        connection.execute(statement, values)
    connection.close()


class TestKeeping:
    def test_an_answer_is_there_again_when_the_file_is_opened_again(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            assert cache.get(key()) is None
            put(cache, *range(100))
            assert cache.get(key(7)) == answer(7)
        with SqliteCache(tmp_path) as cache:
            assert cache.get(key(99)) == answer(99)

    def test_what_put_has_returned_for_is_seen_by_others(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as mine, SqliteCache(tmp_path) as theirs:
            put(mine, 1)
            assert theirs.get(key(1)) == answer(1)

    def test_a_later_answer_replaces_an_earlier(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            put(cache, 1)
            asyncio.run(cache.put(key(1), Response(text="better")))
            assert cache.get(key(1)) == Response(text="better")
            assert cache.stats().entries == 1

    def test_what_json_cannot_hold_is_left_out(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            asyncio.run(cache.put(key(), Response(data=object())))
            assert cache.stats().entries == 0

    def test_it_works_on_a_virtual_clock(self, tmp_path: Path) -> None:
        clock = VirtualClock()
        with SqliteCache(tmp_path, clock=clock.time) as cache:
            clock.run(cache.put(key(), answer()))
            assert cache.get(key()) == answer()
        assert clock.time() == 0

    def test_a_cancelled_put_does_not_affect_others(self, tmp_path: Path) -> None:
        async def main(cache: SqliteCache) -> None:
            task = asyncio.create_task(cache.put(key(1), answer(1)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, cache.put(key(2), answer(2)), return_exceptions=True)
            assert task.cancelled()

        with SqliteCache(tmp_path) as cache:
            asyncio.run(main(cache))
            assert cache.get(key(2)) == answer(2)

    def test_puts_from_two_loops_share_the_writer(self, tmp_path: Path) -> None:
        async def elsewhere(cache: SqliteCache) -> None:
            await asyncio.gather(
                *(asyncio.to_thread(put, cache, *range(n, n + 50)) for n in (100, 200)),
                *(cache.put(key(n), answer(n)) for n in range(50)),
            )

        with SqliteCache(tmp_path) as cache:
            asyncio.run(elsewhere(cache))
            assert cache.stats().entries == 150

    def test_a_writer_that_fails_wakes_all_waiting_puts(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main(cache: SqliteCache) -> None:
            async with asyncio.timeout(30):
                await cache.put(CacheKey(b"digest", b"\xff no text"), answer())
                await cache.put(key(), answer())

        with SqliteCache(tmp_path) as cache:
            asyncio.run(main(cache))
            assert cache.get(key()) == answer()
        assert "cannot be written" in caplog.text

    def test_a_power_cut_may_cost_the_last_answers_and_never_the_file(self, tmp_path: Path) -> None:
        normal = 1
        with SqliteCache(tmp_path) as cache:
            assert cache._writer.pragma("synchronous") == normal
            assert cache._writer.pragma("journal_mode") == "wal"

    def test_closed_it_says_so(self, tmp_path: Path) -> None:
        cache = SqliteCache(tmp_path)
        asyncio.run(cache.close())
        asyncio.run(cache.close())
        with pytest.raises(RuntimeError, match="is closed"):
            cache.get(key())
        with pytest.raises(RuntimeError, match="is closed"):
            put(cache, 1)
        assert repr(cache).endswith("closed>")

    def test_it_is_a_store(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            assert isinstance(cache, CacheStore)


class TestAge:
    def test_an_answer_older_than_the_ttl_is_a_miss_until_it_is_written_again(self, tmp_path: Path) -> None:
        now = 1_000_000.0
        with SqliteCache(tmp_path, ttl=60, clock=lambda: now) as cache:
            put(cache, 1)
            now += 60
            assert cache.get(key(1)) == answer(1)
            now += 1
            assert cache.get(key(1)) is None
            assert cache.explain(key(1)).outcome == "expired"
            put(cache, 1)
            assert cache.get(key(1)) == answer(1)

    def test_a_ttl_that_is_no_time(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="ttl"):
            SqliteCache(tmp_path, ttl=0)


class TestDamage:
    @pytest.mark.parametrize("damaged", [b"", b"{", b'{"text": 1}', "text instead of bytes", 5])
    def test_a_corrupt_row_is_a_miss_and_is_mended_by_the_next_answer(
        self, tmp_path: Path, damaged: Any
    ) -> None:
        with SqliteCache(tmp_path) as cache:
            put(cache, 1, 2)
            execute_sql(cache, "UPDATE entries SET response = ? WHERE key = ?", damaged, key(1).digest)
            assert cache.get(key(1)) is None
            assert cache.explain(key(1)).outcome == "damaged"
            assert cache.get(key(2)) == answer(2)
            put(cache, 1)
            assert cache.get(key(1)) == answer(1)

    def test_an_entry_whose_request_is_another_is_a_miss(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            put(cache, 1)
            execute_sql(cache, "UPDATE entries SET request = ?", key(2).request)
            assert cache.get(key(1)) is None

    def test_a_damaged_page_costs_an_answer_and_not_the_run(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with SqliteCache(tmp_path) as cache:
            put(cache, *range(300))
        data = bytearray(cache.path.read_bytes())
        data[4096 * 8 :] = os.urandom(len(data) - 4096 * 8)
        cache.path.write_bytes(data)
        with SqliteCache(tmp_path) as cache, caplog.at_level(logging.WARNING, "callgate"):
            found = [cache.get(key(number)) for number in range(300)]
            assert None in found
            put(cache, *range(400, 420))
        assert "calls go on without it" in caplog.text
        assert len(caplog.records) <= 2, "once for reading, once for writing"

    def test_something_else_is_not_taken_for_a_cache(self, tmp_path: Path) -> None:
        (tmp_path / "cache.sqlite3").write_text("Dear diary, " * 100)
        with pytest.raises(ConfigurationError, match=r"cache\.sqlite3: file is not a database"):
            SqliteCache(tmp_path)

    def test_another_database_is_not_taken_for_a_cache(self, tmp_path: Path) -> None:
        theirs = tmp_path / "books.db"
        with apsw.Connection(str(theirs)) as connection:
            connection.execute("CREATE TABLE books (title)")
        connection.close()
        before = theirs.read_bytes()
        with pytest.raises(ConfigurationError, match=r"books\.db is an SQLite file, but not a cache"):
            SqliteCache(theirs)
        assert theirs.read_bytes() == before

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="cannot keep a cache in"):
            SqliteCache(tmp_path / "file" / "below")


class TestVersions:
    def test_a_cache_of_the_first_version_keeps_its_answers(self, tmp_path: Path) -> None:
        """Written out by hand, as version 1 lays it out: never change this test, only add to it."""
        file = tmp_path / "cache.sqlite3"
        with apsw.Connection(str(file)) as old:
            old.execute(
                """
                CREATE TABLE entries (
                    key BLOB PRIMARY KEY, written REAL NOT NULL, origin TEXT, model TEXT,
                    request BLOB NOT NULL, response BLOB NOT NULL
                );
                CREATE INDEX entries_by_age ON entries (written);
                CREATE INDEX entries_by_model ON entries (origin, model);
                PRAGMA user_version = 1;
                PRAGMA application_id = 1667719540;
                """
            )
            request = (
                b'{"dialect":"openai_chat","origin":"https://api.openai.com/v1","path":null,'
                b'"request":{"messages":[{"content":"2+2?","role":"user"}],"model":"gpt-4o-mini"},"sample":0}'
            )
            response = (
                b'{"text":"4","finish_reason":"stop","usage":{"input_tokens":9,"output_tokens":1,'
                b'"total_tokens":10,"cache_read_tokens":0,"cache_write_tokens":0,"reasoning_tokens":0}}'
            )
            digest = bytes.fromhex("d3762fc3f531428e75356f04048d88a896f1ea69")
            old.execute(
                "INSERT INTO entries VALUES (?, 1.7e9, 'https://api.openai.com/v1', 'gpt-4o-mini', ?, ?)",
                (digest, request, response),
            )
        old.close()
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "2+2?"}]}
        today = make_key("https://api.openai.com/v1", "openai_chat", asked)
        assert today == CacheKey(digest, request), "the key of the same request is the same for ever"
        with SqliteCache(tmp_path) as cache:
            found = cache.get(today)
        assert found == Response(text="4", finish_reason="stop", usage=Usage(9, 1))

    def test_a_newer_one_is_refused_and_left_as_it_is(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            put(cache, 1)
        execute_sql(cache, "PRAGMA user_version = 99")
        with pytest.raises(ConfigurationError, match=r"newer callgate.*schema 99"):
            SqliteCache(tmp_path)
        execute_sql(cache, "PRAGMA user_version = 1")
        with SqliteCache(tmp_path) as cache:
            assert cache.get(key(1)) == answer(1)

    def test_an_empty_file_that_is_in_wal_mode_becomes_a_cache(self, tmp_path: Path) -> None:
        other = apsw.Connection(str(tmp_path / "cache.sqlite3"))
        other.pragma("journal_mode", "wal")
        other.close()
        with SqliteCache(tmp_path) as cache:
            put(cache, 1)
            assert cache.get(key(1)) == answer(1)

    def test_one_that_is_up_to_date_is_opened_while_another_process_writes(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            put(cache, 1)
        other = apsw.Connection(str(cache.path))
        other.execute("BEGIN IMMEDIATE")  # until it ends, whoever wants to write would wait for a minute
        with SqliteCache(tmp_path) as cache:
            assert cache.get(key(1)) == answer(1)
        other.close()


def test_a_forked_process_is_asked_to_open_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteCache(tmp_path) as cache:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            with pytest.raises(RuntimeError, match="opened before the process was forked; open one in each"):
                cache.get(key(1))
        assert cache.get(key(1)) is None


class TestPrivacy:
    def test_the_directory_and_the_files_are_their_owner_s_alone(self, tmp_path: Path) -> None:
        was = os.umask(0)
        try:
            with SqliteCache(tmp_path / "made" / "here") as cache:
                put(cache, 1)
                assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700
                files = list(cache.path.parent.iterdir())
                assert len(files) == 4  # the log, its index and the claims beside it
                assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        finally:
            os.umask(was)

    def test_a_file_may_be_named(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path / "mine.db") as cache:
            assert cache.path == tmp_path / "mine.db"


class TestForPeople:
    def test_stats(self, tmp_path: Path) -> None:
        now = 1_000_000.0
        with SqliteCache(tmp_path, clock=lambda: now) as cache:
            empty = cache.stats()
            assert (empty.entries, empty.oldest, empty.newest, empty.models) == (0, None, None, ())
            put(cache, 1, 2)
            now += 10
            other = make_key("https://b", "chat", {"model": "n"})
            assert other is not None
            asyncio.run(cache.put(other, answer()))
            stats = cache.stats()
        assert stats.entries == 3
        assert stats.bytes_on_disk >= 4096
        assert stats.oldest is not None
        assert stats.newest is not None
        assert (stats.newest - stats.oldest).total_seconds() == 10
        assert stats.models == (("https://api.example.com", "m", 2), ("https://b", "n", 1))

    def test_clear_all_or_the_old_or_one_model(self, tmp_path: Path) -> None:
        now = 1_000_000.0
        with SqliteCache(tmp_path, clock=lambda: now) as cache:
            put(cache, 1, 2)
            now += 100
            put(cache, 3)
            asyncio.run(cache.put(key(4, model="n"), answer(4)))
            assert cache.clear(older_than=50) == 2
            assert cache.clear(model="n") == 1
            assert cache.get(key(3)) == answer(3)
            assert cache.clear() == 1
            assert cache.stats().entries == 0

    def test_clear_gives_the_space_back(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            put(cache, *range(2000))
            cache.clear()
        assert cache.path.stat().st_size < 50_000

    def test_export_is_json_with_what_was_asked_and_answered(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path, clock=lambda: 0.0) as cache:
            put(cache, 1)
            put(cache, 2)
            execute_sql(cache, "UPDATE entries SET response = x'00' WHERE key = ?", key(2).digest)
            (entry,) = [orjson.loads(orjson.dumps(entry)) for entry in cache.export()]
        assert entry["key"] == key(1).digest.hex()
        assert entry["written_at"] == "1970-01-01T00:00:00+00:00"
        assert entry["request"] == {"model": "m", "number": 1}
        assert entry["response"]["text"] == "answer 1"
        assert (entry["origin"], entry["dialect"], entry["sample"]) == ("https://api.example.com", "chat", 0)

    def test_explain_a_hit_a_miss_and_an_empty_cache(self, tmp_path: Path) -> None:
        with SqliteCache(tmp_path) as cache:
            assert cache.explain(key(1)).nearest is None
            put(cache, 1)
            assert cache.explain(key(1)).outcome == "hit"
            missed = cache.explain(key(1, temperature=0.2))
        assert missed.outcome == "miss"
        assert missed.nearest["request"] == {"model": "m", "number": 1}
        assert missed.written_at is not None
        assert [(d.where, d.asked, d.kept) for d in missed.differences] == [
            ("request.temperature", 0.2, None)
        ]
