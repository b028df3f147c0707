"""Hold what is promised of batches against the simulator's own books, at full size.

    python bench/batch.py duplicates    100,000 rows, half duplicates, half of the rest cached: 25,000 calls
    python bench/batch.py cached        100,000 rows that are all in the cache; 20,000 a second are aimed at
    python bench/batch.py finished      1,000,000 rows that are all answered: skimmed at 100,000 a second
    python bench/batch.py forecast      `--dry-run` against the real run: tokens, cost and time within 15 %
    python bench/batch.py budget        a bill of at most $1.00 with faults at 10 %, and on with more
    python bench/batch.py million       1,000,000 rows called for, and the most memory that took
    python bench/batch.py python        100,000 rows through `callgate.run`: at most 1.1 x the command's CPU
    python bench/batch.py all           one after another, about a quarter of an hour

`--rows N` takes another size, `--folder DIR` keeps the files. The command runs in a process of its own, the
simulator in this one. Every line says what was found, and the exit code is 1 when a promise is broken. Speeds
are told by the clock and by processor time, which a busy machine lengthens less: that one is held to what is
promised (an aim is none). The times of `forecast` want a machine that is not overloaded.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from callgate import Conversation, Engine, iModel
from callgate.batch.input.fingerprint import Defaults, Fingerprints
from callgate.batch.input.sources import Source
from callgate.batch.output.results import RowResult, encode_result
from callgate.call.calling import Calling
from callgate.response import Response, Usage
from callgate.testing import Simulator

MOST_MEMORY_FROM_PYTHON = 250.0
MOST_OF_THE_COMMAND = 1.1
MOST_MEMORY = 120.0
"""Megabytes of a run of any length: the interpreter, the engine, and nothing that grows with the rows."""
FAULTS = {"500": 0.03, "529": 0.02, "truncated": 0.02, "garbage": 0.02, "reset": 0.01}

broken: list[str] = []


def found(what: str, *, kept: bool) -> None:
    """Print one finding, and remember when it breaks a promise."""
    print(what if kept else f"{what}: BROKEN", flush=True)
    if not kept:
        broken.append(what)


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code.
        told: What it said as JSON.
        seconds: From its start to its end.
        processor: Seconds of processor time in these, which a busy machine does not lengthen.
        memory: The most it held, in megabytes.
    """

    code: int
    told: dict[str, Any]
    seconds: float
    processor: float
    memory: float


def callgate(*arguments: object) -> Ended:
    """`callgate run ... --json` in a process of its own."""
    return ended([sys.executable, "-m", "callgate", "run", *map(str, arguments), "--json"])


def ended(command: list[str]) -> Ended:
    """A command in a process of its own, which prints JSON."""
    environment = {**os.environ, "OPENAI_API_KEY": "none", "CALLGATE_CACHE": ""}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0)
        text = out.read()
        if not text:
            err.seek(0)
            raise SystemExit(f"{' '.join(command)} said nothing but: {err.read().decode()}")
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    processor = usage.ru_utime + usage.ru_stime
    return Ended(process.returncode, orjson.loads(text), seconds, processor, usage.ru_maxrss / unit)


def write_rows(path: Path, prompts: Iterable[str]) -> None:
    with path.open("wb") as file:
        file.writelines(orjson.dumps({"prompt": prompt}) + b"\n" for prompt in prompts)


def count_lines(path: Path) -> tuple[int, int]:
    """How many answers a file holds, and of how many different rows."""
    with path.open("rb") as file:
        rows = [orjson.loads(line)["line"] for line in file]
    return len(rows), len(set(rows))


# -- the seven -----------------------------------------------------------------------------------------


def duplicates(rows: int, folder: Path) -> None:
    """Each of rows/2 questions twice, every second one of them cached: rows/4 have to be called for."""
    questions = [f"Question {number}" for number in range(rows // 2)]
    twice = questions * 2
    random.Random(5).shuffle(twice)

    async def ask(sim: Simulator, asked: list[str]) -> bool:
        """Whether all answers came, in the order of the questions."""
        cache = folder / "cache"
        async with iModel(
            provider="openai", model="m", base_url=sim.base_url, api_key="k", cache=cache
        ) as model:
            conversations = [Conversation.with_initial_message("user", text) for text in asked]
            engine = Engine(model, max_inflight_requests=64)
            completions = await engine.schedule_completions(conversations, 0.0, "duplicates")
        return asked == [one["response"]["choices"][0]["message"]["content"] for one in completions]

    with Simulator(echo=True) as sim:
        asyncio.run(ask(sim, questions[::2]))
        sim.reset()
        began = time.perf_counter()
        ordered = asyncio.run(ask(sim, twice))
        seconds = time.perf_counter() - began
        stats = sim.stats
        order = "in order" if ordered else "out of order"
        found(
            f"duplicates: {rows:,} rows took {stats.requests:,} calls, {rows // 4:,} expected;"
            f" {stats.paid_again} paid again; {order}; {seconds:.1f} s",
            kept=ordered and stats.requests == stats.answered == rows // 4 and not stats.paid_again,
        )


def cached(rows: int, folder: Path) -> None:
    """One run fills the cache; a second one, to another output, finds everything in it."""
    source = folder / "cached.jsonl"
    write_rows(source, (f"Question {number}: how big is it?" for number in range(rows)))
    with Simulator(quick=True) as sim:
        known = ["-m", "openai/gpt-4o-mini", "--base-url", sim.base_url, "--cache", folder / "cache"]
        callgate(source, *known, "-o", folder / "cached-1.jsonl")
        calls = sim.stats.requests
        ended = callgate(source, *known, "-o", folder / "cached-2.jsonl")
        again = sim.stats.requests - calls
        start_up = callgate(source, *known, "-o", folder / "cached-3.jsonl", "--limit", 1).processor
    told = ended.told
    speed = rows / (ended.processor - start_up)
    found(
        f"cached: {told['cached']:,} of {rows:,} rows from the cache, {again} calls; 20,000 rows/s aimed at,"
        f" {told['rows_per_second']:,.0f} by the clock, {speed:,.0f} by processor time",
        kept=ended.code == 0 and told["cached"] == rows and again == 0,
    )


def finished(rows: int, folder: Path) -> None:
    """The output of a finished run, started once more: nothing to do but to find that out."""
    source, output = folder / "finished.jsonl", folder / "finished-out.jsonl"
    write_rows(source, (f"Question {number}: how big is it?" for number in range(rows)))
    answer = {"id": "chatcmpl-1", "choices": [{"message": {"role": "assistant", "content": "word " * 40}}]}
    prints = Fingerprints([Defaults({"model": "m"})])
    with output.open("wb") as file:
        for block in Source(str(source), model="m").blocks():
            for row in block:
                calling = Calling({}, now=0.0)
                calling.complete(Response(text="word " * 40, raw=answer, usage=Usage(20, 40)), 1.0)
                result = RowResult(row, calling)
                result.fingerprint = prints.of(row)
                file.write(encode_result(result))
    size = output.stat().st_size
    ended = callgate(source, "-m", "openai/m", "-o", output, "--base-url", "http://127.0.0.1:9/v1")
    speed = rows / ended.processor
    told = ended.told
    found(
        f"finished: {told['answered_before']:,} rows ({size / 1e6:,.0f} MB) skimmed; 100,000 rows/s promised,"
        f" start-up included {rows / ended.seconds:,.0f} by the clock, {speed:,.0f} by processor time;"
        f" {ended.memory:.0f} MB at most",
        kept=ended.code == 0
        and (told["answered_before"], told["calls"]) == (rows, 0)
        and output.stat().st_size == size
        and speed >= 100_000,
    )


def forecast(rows: int, folder: Path) -> None:
    """A first sample, a dry run, the real run; once for every kind of limit."""
    source = folder / "forecast.jsonl"
    write_rows(source, (f"Question {i}: {'what follows from it? ' * (2 + i % 9)}" for i in range(rows)))
    sample = max(50, rows // 25)
    for limit in (("--rpm", rows * 2), ("--tpm", rows * 280), ("--concurrency", 16)):
        output = folder / f"forecast{limit[0]}.jsonl"
        with Simulator(latency=0.3, latency_sigma=0.4, input_price=2.0, output_price=8.0) as sim:
            run = [source, "-m", "openai/m", "-o", output, "--base-url", sim.base_url, "--price", "2,8"]
            run += ["--max-tokens", 100, *limit]
            callgate(*run, "--limit", sample)
            calls = sim.stats.requests
            told = callgate(*run, "--dry-run").told
            silent = sim.stats.requests == calls
            bill = sim.stats.bill
            real = callgate(*run).told
            bill = sim.stats.bill - bill
        ratios = {
            "input": told["input_tokens"] / real["input_tokens"],
            "output": told["output_tokens"] / real["output_tokens"],
            "cost": told["cost_usd"] / bill,
            "time": (told["seconds"] or 0.0) / real["seconds"],
        }
        said = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
        found(
            f"forecast, {' '.join(map(str, limit))}: {told['rows']:,} rows foretold from"
            f" {told['learned_from']} answers; {said} of what came ({real['seconds']:.1f} s)",
            kept=silent and all(0.85 <= ratio <= 1.15 for ratio in ratios.values()),
        )


def budget(rows: int, folder: Path) -> None:
    """A dollar, at prices of which it does not last; then enough to come to the end."""
    source, output = folder / "budget.jsonl", folder / "budget-out.jsonl"
    write_rows(source, (f"What is {number} plus {number}?" for number in range(rows)))
    # All rows together cost about four dollars.
    price = 4.0 / (rows * 30 * 4 + rows * 8) * 1e6
    with Simulator(faults=FAULTS, latency=0.002, input_price=price, output_price=4 * price) as sim:
        run = [source, "-m", "openai/m", "-o", output, "--base-url", sim.base_url, "--max-tokens", 30]
        run += ["--price", f"{price},{4 * price}", "--concurrency", 32]
        first = callgate(*run, "--budget", "1.00")
        bill, answers = sim.stats.bill, first.told["answered"]
        found(
            f"budget: $1.00 with {sum(FAULTS.values()):.0%} faults: the bill is ${bill:.4f}, {answers:,} of"
            f" {rows:,} rows are answered, exit code {first.code}",
            kept=bill <= 1.0 and first.code == 3 and 0 < answers < rows,
        )
        second = callgate(*run, "--budget", "100", "--retries", 9)
        again, total = sim.stats.paid_again, count_lines(output)
        # Answers that never arrived whole are paid again; none of those that did.
        lost = sum(sim.stats.faults[name] for name in ("truncated", "garbage", "reset"))
        found(
            f"budget: on with $100: {second.told['answered_before']:,} rows are not asked again, exit code"
            f" {second.code}, {total[1]:,} rows answered, ${sim.stats.bill:.2f} in all; {again} answers paid"
            f" again, {lost} of them never arrived",
            kept=second.code == 0
            and second.told["answered_before"] == answers
            and total == (rows, rows)
            and again <= lost,
        )


def million(rows: int, folder: Path) -> None:
    """All rows called for, from file to file."""
    source, output = folder / "million.jsonl", folder / "million-out.jsonl"
    write_rows(source, (f"Question {number}: how big is it?" for number in range(rows)))
    with Simulator(quick=True) as sim:
        ended = callgate(source, "-m", "openai/gpt-4o-mini", "-o", output, "--base-url", sim.base_url)
        requests = sim.stats.requests
    total = count_lines(output)
    found(
        f"million: {total[1]:,} of {rows:,} rows answered by {requests:,} calls in {ended.seconds:.0f} s"
        f" ({rows / ended.seconds:,.0f} rows/s); {ended.memory:.0f} MB at most, {MOST_MEMORY:.0f} allowed",
        kept=ended.code == 0 and total == (rows, rows) and requests == rows and ended.memory <= MOST_MEMORY,
    )


FROM_PYTHON = """
import json, sys, callgate
results = callgate.run(sys.argv[1], "openai/gpt-4o-mini", sys.argv[2], base_url=sys.argv[3], progress=False)
print(json.dumps({"answered": results.summary.progress.stats.done}))
"""


def python(rows: int, folder: Path) -> None:
    """The same rows through `callgate.run` and through the command, start-up included."""
    source = folder / "python.jsonl"
    write_rows(source, (f"Question {number}: how big is it?" for number in range(rows)))
    with Simulator(quick=True) as sim:
        target = ["-m", "openai/gpt-4o-mini", "--base-url", sim.base_url, "--quiet"]
        command = callgate(source, "-o", folder / "command-out.jsonl", *target)
        output = folder / "python-out.jsonl"
        ran = ended([sys.executable, "-c", FROM_PYTHON, str(source), str(output), sim.base_url])
    ratio = ran.processor / command.processor
    found(
        f"python: {ran.told['answered']:,} of {rows:,} rows answered with {ratio:.2f} x the command's CPU,"
        f" {MOST_OF_THE_COMMAND} allowed; {ran.memory:.0f} MB at most, {MOST_MEMORY_FROM_PYTHON:.0f} allowed",
        kept=ran.told["answered"] == rows
        and ratio <= MOST_OF_THE_COMMAND
        and ran.memory <= MOST_MEMORY_FROM_PYTHON,
    )


SIZES: dict[Callable[[int, Path], None], int] = {
    duplicates: 100_000,
    cached: 100_000,
    finished: 1_000_000,
    forecast: 1_500,
    budget: 2_000,
    million: 1_000_000,
    python: 100_000,
}


def main() -> int:
    """Run what was asked for; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("which", choices=[*(each.__name__ for each in SIZES), "all"])
    parser.add_argument("--rows", type=int, help="instead of its usual size")
    parser.add_argument("--folder", type=Path, help="where to leave the files; by default they are removed")
    options = parser.parse_args()
    for show, rows in SIZES.items():
        if options.which in (show.__name__, "all"):
            with tempfile.TemporaryDirectory() as name:
                folder = options.folder or Path(name)
                folder.mkdir(parents=True, exist_ok=True)
                show(options.rows or rows, folder)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
