"""What callgate costs on top of the bare HTTP client, measured side by side: `make bench`.

Three comparisons, each alternating with the floor in one session, medians of five, client on one core:

- the price of a call: `iModel.invoke` with executor, limits, retry and breaker against `floor.py`; at most
  2.5 times the CPU;
- the price of a call over TLS: the same against the same;
- the price of a row: `callgate run` from file to file, journal and progress on; at most 4 times.

Prints ratios, for these machines are noisy and only ratios mean anything. Exits with 1 when one is missed.
"""

import datetime
import ipaddress
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
ROUNDS = 5
CALLS = 20_000
ROWS = 10_000
CONCURRENCY = 64
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


def cpu_of(script: str, port: int, *more: str) -> float:
    """CPU microseconds per request, as the script prints it."""
    command = pinned(1, [sys.executable, str(HERE / script), str(port), str(CALLS), *more])
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
               "--base-url", f"http://127.0.0.1:{port}/v1", "--concurrency", str(CONCURRENCY), "--no-cache",
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


@contextmanager
def serving(*more: str) -> Iterator[int]:
    """The port of a running `server.py`."""
    port = free_port()
    server = subprocess.Popen(pinned(0, [sys.executable, str(HERE / "server.py"), str(port), *more]))
    try:
        wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait()


def write_certificates(folder: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1 with its key, and that of the authority which has signed it: two files."""
    now = datetime.datetime.now(datetime.UTC)

    def sign(name: str, issuer: str, key: Any, by: Any, extension: Any) -> Any:
        builder = x509.CertificateBuilder(
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=1),
        )
        signed = builder.add_extension(extension, critical=True).sign(by, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    root = x509.BasicConstraints(ca=True, path_length=None)
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    trusted, own = folder / "authority.pem", folder / "server.pem"
    trusted.write_bytes(sign("bench authority", "bench authority", authority, authority, root))
    own.write_bytes(
        sign("bench server", "bench authority", key, authority, here)
        + key.private_bytes(serialization.Encoding.PEM, *plain)
    )
    return str(own), str(trusted)


def price_of_a_call(port: int, *more: str) -> float:
    """The CPU of `iModel.invoke` over that of the floor."""
    floors, invokes = [], []
    for _ in range(ROUNDS):
        floors.append(cpu_of("floor.py", port, *more))
        invokes.append(cpu_of("invoke.py", port, *more))
    return statistics.median(invokes) / statistics.median(floors)


def main() -> int:
    print("the price of a call over TLS")
    with tempfile.TemporaryDirectory() as name:
        certificate, authority = write_certificates(Path(name))
        with serving("0", certificate) as port:
            call = price_of_a_call(port, str(CONCURRENCY), authority)
    print(f"  iModel.invoke / floor over TLS: {call:.2f}")

    with serving() as port:
        print("the price of a call")
        call = price_of_a_call(port)
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
    return 0 if call <= CALL_BOUND and row <= ROW_BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
