"""The runs that were logged beside an output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from callgate.batch.report.run_records import endpoints_of, read_run_records


def counts(at: float, **more: Any) -> dict[str, Any]:
    endpoint = {
        "name": "m #1", "calls": 5, "answered": 4, "cost_usd": 0.5,
        "faults": {"429": 1}, "latency_s": [1.0, 2.0],
    }  # fmt: skip
    return {
        "at": at, "retries": 1, "moves": 0, "hedges": 0, "rate_limited": 1, "waiting_for": "provider",
        "requests": [30.0, 60.0, 60.0], "tokens": None, "endpoints": [endpoint], **more,
    }  # fmt: skip


def write_log(output: Path, *lines: dict[str, Any], torn: bytes = b"") -> None:
    path = Path(f"{output}.runs.jsonl")
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines) + torn)


def test_a_run_has_its_settings_its_last_counts_and_its_quotas_over_time(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    write_log(
        output,
        {"began_at": 100.0, "version": "0.1.0", "models": ["m"], "settings": {"rpm": 60}},
        counts(102.0, waiting_for="requests per minute"),
        counts(110.0, rate_limited=7, ending="done", waiting_for="retries (2 backing off)"),
    )
    [record] = read_run_records(str(output))
    assert (record.began, record.ended, record.ending, record.rate_limited) == (100.0, 110.0, "done", 7)
    assert (record.version, record.settings) == ("0.1.0", {"rpm": 60})
    assert [(use.at, use.requests, use.tokens) for use in record.uses] == [(102, 50, None), (110, 50, None)]
    assert record.waits == {"requests per minute": 2.0, "retries": 8.0}


def test_a_killed_run_has_no_ending_and_endpoints_add_up(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    write_log(output, {"began_at": 100.0}, counts(102.0), {"began_at": 900.0}, counts(905.0, ending="done"))
    first, second = read_run_records(str(output))
    assert (first.ending, second.ending) == (None, "done")
    [endpoint] = endpoints_of([first, second])
    assert (endpoint.calls, endpoint.answered, endpoint.cost, endpoint.faults) == (10, 8, 1.0, {"429": 2})
    assert endpoint.to_dict()["latency_s"] == {"p50": 1.0, "p95": 2.0}


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert read_run_records(str(output)) == []
    write_log(output, counts(99.0), {"began_at": 100.0}, {"at": 101.0}, counts(102.0), torn=b'{"at": 1')
    [record] = read_run_records(str(output))
    assert record.ended == 102.0
