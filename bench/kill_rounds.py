"""SIGKILL a batch again and again, and count on the other side what was paid for.

    python bench/kill_rounds.py [--rounds 20] [--rows 5000] [--kills 3] [--seed 1]

Each round runs one file through `callgate run` against the simulator, kills the process with SIGKILL at
random moments, starts it again until it ends by itself, and then holds the output against the input and
against the simulator's own count: no row lost, none twice, and no more paid again than was in flight at the
kills.
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
from pathlib import Path

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


def main() -> None:
    """Run the rounds and print what each found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, options.rounds + 1):
            print(round_of(number, options.rows, options.kills, rng, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
