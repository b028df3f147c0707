"""SIGKILL a batch again and again, and count on the other side what was paid for.

    python bench/kill_rounds.py [--rounds 20] [--rows 5000] [--kills 3] [--seed 1] [--shared-cache]

Each round runs one file through `callgate run` against the simulator, kills the process with SIGKILL at
random moments, starts it again until it ends by itself, and then holds the output against the input and
against the simulator's own count: no row lost, none twice, and no more paid again than was in flight at the
kills.

With --shared-cache two processes run the same file at the same time, each into an output of its own, on one
cache: no row may be paid by both, and the cache must be whole at the end. In flight, at a kill, is then what
had been sent and was not yet in the cache.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import apsw
import orjson

from callgate.testing import Simulator

CONCURRENCY = 64


def round_of(number: int, rows: int, kills: int, rng: random.Random, folder: Path) -> str:
    """One round; returns what it found, or raises SystemExit when a promise was broken."""
    source, output = folder / "in.jsonl", folder / "out.jsonl"
    output.unlink(missing_ok=True)
    source.write_bytes(
        b"".join(orjson.dumps({"prompt": f"round {number} row {i}"}) + b"\n" for i in range(rows))
    )
    torn = killed = 0
    with Simulator(seed=number, latency=0.01, latency_sigma=0.5) as sim:
        command = [sys.executable, "-m", "callgate", "run", str(source), "-m", "openai/m", "-o", str(output)]
        command += ["--base-url", sim.base_url, "--concurrency", str(CONCURRENCY), "--quiet"]
        environment = {**os.environ, "OPENAI_API_KEY": "none"}
        while True:
            process = subprocess.Popen(command, env=environment)
            if killed < kills:
                before, moment = sim.stats.requests, rng.randrange(rows // (kills + 1))
                while sim.stats.requests < before + moment and process.poll() is None:
                    time.sleep(0.001)
                process.kill()
            code = process.wait()
            if code >= 0:
                break
            killed += 1
            torn += output.exists() and not output.read_bytes().endswith(b"\n") and output.stat().st_size > 0
        answered = Counter(orjson.loads(line)["line"] for line in output.read_bytes().splitlines())
        again = sim.stats.requests - rows
    lost, twice = rows - len(answered), sum(count > 1 for count in answered.values())
    found = (
        f"round {number}: {killed} kills, {torn} torn lines, {again} paid again, {lost} lost, {twice} twice"
    )
    if code or lost or twice or again > killed * CONCURRENCY:
        raise SystemExit(f"{found}; exit code {code}: BROKEN")
    return found


def shared_round_of(number: int, rows: int, kills: int, rng: random.Random, folder: Path) -> str:
    """One round of two processes on one cache; as `round_of`."""
    source, cache = folder / "in.jsonl", folder / f"cache-{number}.sqlite3"
    source.write_bytes(
        b"".join(orjson.dumps({"prompt": f"round {number} row {i}"}) + b"\n" for i in range(rows))
    )
    outputs = [folder / f"out-{number}-{each}.jsonl" for each in range(2)]
    killed = in_flight = 0
    with Simulator(seed=number, latency=0.01, latency_sigma=0.5) as sim:
        command = [sys.executable, "-m", "callgate", "run", str(source), "-m", "openai/m", "--quiet"]
        command += ["--base-url", sim.base_url, "--concurrency", str(CONCURRENCY), "--cache", str(cache)]
        environment = {**os.environ, "OPENAI_API_KEY": "none"}

        def start(output: Path) -> subprocess.Popen[bytes]:
            return subprocess.Popen([*command, "-o", str(output)], env=environment)

        processes = [start(output) for output in outputs]
        for _ in range(kills):
            before, moment = sim.stats.requests, rng.randrange(1, rows // (kills + 1))
            while sim.stats.requests < before + moment and any(each.poll() is None for each in processes):
                time.sleep(0.001)
            victim = rng.randrange(2)
            if processes[victim].poll() is not None:
                continue
            processes[victim].kill()
            processes[victim].wait()
            killed += 1
            # In this order: what the other process commits in between makes the bound tighter, not looser.
            sent = sim.stats.requests - sim.stats.paid_again
            in_flight += sent - _count(cache)
            processes[victim] = start(outputs[victim])
        codes = [process.wait() for process in processes]
        again = sim.stats.requests - rows
    lost = twice = 0
    for output in outputs:
        answered = Counter(orjson.loads(line)["line"] for line in output.read_bytes().splitlines())
        lost += rows - len(answered)
        twice += sum(count > 1 for count in answered.values())
    with closing(apsw.Connection(str(cache))) as connection:
        whole = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = (
        f"round {number}: {killed} kills of two processes on one cache, {again} paid again of {in_flight} in"
        f" flight at the kills, {lost} lost, {twice} twice, the cache is {'whole' if whole else 'DAMAGED'}"
    )
    if any(codes) or lost or twice or not whole or again > in_flight:
        raise SystemExit(f"{found}; exit codes {codes}: BROKEN")
    return found


def _count(cache: Path) -> int:
    with closing(apsw.Connection(str(cache))) as connection:
        connection.set_busy_timeout(10_000)
        return int(connection.execute("SELECT count(*) FROM entries").get)


def main() -> None:
    """Run the rounds and print what each found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shared-cache", action="store_true", help="two processes on one cache")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, options.rounds + 1):
            one = shared_round_of if options.shared_cache else round_of
            print(one(number, options.rows, options.kills, rng, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
