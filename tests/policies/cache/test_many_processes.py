"""Several processes on one cache file, killed in the middle of it, and asking for the same."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import apsw
import orjson
import pytest

from callgate.policies.cache.sqlite import SqliteCache
from callgate.testing import Simulator
from tests.effort import scaled
from tests.policies.cache.write_process import answer_for, key_for

pytestmark = pytest.mark.slow

ROUNDS = scaled(2, 50)
PROCESSES = 3
ROOT = Path(__file__).parents[3]
WRITER = "tests.policies.cache.write_process"


def test_killed_writers_lose_nothing_that_they_had_reported_and_leave_a_whole_file(tmp_path: Path) -> None:
    rng = random.Random(7)
    reported: set[int] = set()
    for round_number in range(ROUNDS):
        writers = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.policies.cache.write_process",
                    str(tmp_path),
                    str(number * 10_000_000),
                ],
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            for number in range(round_number * PROCESSES, (round_number + 1) * PROCESSES)
        ]
        # Each is killed at a moment of its own, after it has reported some.
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(rng.randrange(20, 200)):
                reported.add(int(writer.stdout.readline()))  # an empty line: it ended by itself
        for writer in writers:
            writer.kill()
        for writer in writers:
            output, _ = writer.communicate()
            reported |= {int(line) for line in output.split(b"\n")[:-1]}
    assert len(reported) > 100
    with SqliteCache(tmp_path) as cache:
        for number in reported:
            assert cache.get(key_for(number)) == answer_for(number)
        assert cache.stats().entries >= len(reported)
        path = cache.path
    with apsw.Connection(str(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_processes_that_begin_at_once_make_one_cache(tmp_path: Path) -> None:
    """Making the file and switching it to WAL is done by whoever comes first; the others wait."""
    program = (
        "import asyncio, sys; from tests.policies.cache.write_process import *\n"
        "cache = SqliteCache(sys.argv[1]); number = int(sys.argv[2])\n"
        "asyncio.run(cache.put(key_for(number), answer_for(number))); asyncio.run(cache.close())"
    )
    for attempt in range(scaled(1, 20)):
        folder = tmp_path / str(attempt)
        together = [
            subprocess.Popen([sys.executable, "-c", program, str(folder), str(number)], cwd=ROOT)
            for number in range(5)
        ]
        assert [process.wait() for process in together] == [0] * 5
        with SqliteCache(folder) as cache:
            assert all(cache.get(key_for(number)) == answer_for(number) for number in range(5))


def test_processes_that_ask_for_the_same_at_the_same_time_pay_once(tmp_path: Path) -> None:
    rows = 150
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"".join(orjson.dumps({"prompt": f"row {number}"}) + b"\n" for number in range(rows)))
    with Simulator(latency=0.02, latency_sigma=0.5) as sim:
        command = [sys.executable, "-m", "callgate", "run", str(source), "-m", "openai/m", "--quiet"]
        command += ["--base-url", sim.base_url, "--concurrency", "16", "--cache", str(tmp_path / "cache")]
        environment = {**os.environ, "OPENAI_API_KEY": "none"}
        outputs = [tmp_path / f"out{number}.jsonl" for number in range(2)]
        together = [subprocess.Popen([*command, "-o", str(output)], env=environment) for output in outputs]
        assert [process.wait() for process in together] == [0] * 2
        assert sim.stats.answered == rows
    for output in outputs:
        assert len({orjson.loads(line)["line"] for line in output.read_bytes().splitlines()}) == rows
