"""What callgate costs on top of the bare HTTP client, measured side by side: `make bench`.

Two comparisons, each alternating with the floor in one session, medians of three, client on one core:

- the price of a call: `iModel.invoke` with executor, limits, retry and breaker against `floor.py`; at most
  2.5 times the CPU;
- the price of a row: `callgate run` from file to file, journal and progress on; at most 4 times.

Prints ratios, for these machines are noisy and only ratios mean anything. Exits with 1 when one is missed.
"""

import json
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS = 3
CALLS = 20_000
ROWS = 10_000
CALL_BOUND, ROW_BOUND = 2.5, 4.0


def pinned(core: int, command: list[str]) -> list[str]:
    """The command bound to one core, where that can be done."""
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") else command


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"the server on port {port} did not start")


def cpu_of(script: str, port: int) -> float:
    """CPU microseconds per request, as the script prints it."""
    command = pinned(1, [sys.executable, str(HERE / script), str(port), str(CALLS)])
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"  {script:10} {printed.strip()}")
    found = re.search(r"([\d.]+) us CPU", printed)
    assert found is not None, printed
    return float(found[1])


def cpu_of_run(port: int, folder: Path, rows: int) -> float:
    """CPU seconds of a whole `callgate run` of that many rows."""
    output = folder / "output.jsonl"
    output.unlink(missing_ok=True)
    callgate = Path(sys.executable).with_name("callgate")
    command = [str(callgate), "run", str(folder / f"{rows}.jsonl"), "-m", "vllm/m", "-o", str(output),
               "--base-url", f"http://127.0.0.1:{port}/v1", "--concurrency", "64", "--no-cache",
               "--rpm", "100000000", "--tpm", "100000000000"]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(pinned(1, command), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    written = sum(1 for _ in output.open("rb"))
    assert written == rows, f"{written} lines for {rows} rows"
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_rows(folder: Path, rows: int) -> None:
    with (folder / f"{rows}.jsonl").open("w") as file:
        for number in range(rows):
            content = f"{number} " + "hello " * 40
            file.write(json.dumps({"messages": [{"role": "user", "content": content}]}) + "\n")


def main() -> int:
    port = free_port()
    server = subprocess.Popen(pinned(0, [sys.executable, str(HERE / "server.py"), str(port)]))
    try:
        wait_for(port)
        floors, invokes = [], []
        print("the price of a call")
        for _ in range(ROUNDS):
            floors.append(cpu_of("floor.py", port))
            invokes.append(cpu_of("invoke.py", port))
        floor = statistics.median(floors)
        call = statistics.median(invokes) / floor
        print(f"  iModel.invoke / floor: {call:.2f} (at most {CALL_BOUND})")

        print("the price of a row (start-up taken off by a run of 1,000 rows)")
        ratios = []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for rows in (1_000, 1_000 + ROWS):
                write_rows(folder, rows)
            for _ in range(ROUNDS):
                beside = cpu_of("floor.py", port)
                start_up = cpu_of_run(port, folder, 1_000)
                each = (cpu_of_run(port, folder, 1_000 + ROWS) - start_up) / ROWS * 1e6
                print(f"  callgate run: {each:.1f} us CPU a row, {each / beside:.2f} x the floor")
                ratios.append(each / beside)
        row = statistics.median(ratios)
        print(f"  callgate run / floor: {row:.2f} (at most {ROW_BOUND})")
    finally:
        server.terminate()
        server.wait()
    return 0 if call <= CALL_BOUND and row <= ROW_BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
