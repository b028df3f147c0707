"""Rows refused for their content (filter, too long) do not count as failures of the run.

They are counted and marked apart, end the run by no measure of "all fail in the same way", and are not sent
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from callgate import Engine, iModel
from callgate.batch.input.sources import Source
from callgate.batch.output.journal import Journal
from callgate.batch.report.reader import read_report
from callgate.batch.run import BatchRun, Summary
from callgate.testing import Ask, Chunk, MemoryTransport, Options, Plan, SimulatedProvider

FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering our content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
    }
}


class FilteringProvider(SimulatedProvider):
    """Filters prompts, says so as Azure OpenAI does, and keeps what it was sent."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        super().__init__(options, clock=clock)
        self.sent: list[bytes] = []

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Plan:
        self.sent.append(body)
        if b"forbidden" not in body:
            return super().handle(method, path, headers, body)
        said = orjson.dumps(FILTERED)
        kind = ("content-type", "application/json")
        return Plan(400, [kind], [Chunk(said)], content_length=len(said))


def test_refused_rows_are_counted_apart_and_do_not_end_the_run(tmp_path: Path) -> None:
    # Thirty in a row of each: more than failures of one kind may be.
    texts = ["a good question"] * 5 + ["a forbidden one"] * 30 + ["too long " * 900] * 30 + ["a good one"] * 5
    path, output = tmp_path / "in.jsonl", str(tmp_path / "out.jsonl")
    rows = [{"custom_id": f"r{i}", "prompt": f"{text} {i}"} for i, text in enumerate(texts)]
    rows.append({"custom_id": "bad", "prompt": "fails"})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def answer(ask: Ask) -> int | None:
        return 422 if "fails" in ask.text else None

    async def main() -> tuple[Summary, list[bytes]]:
        options = Options(context_tokens=1_000, answers=answer)
        provider = FilteringProvider(options, asyncio.get_running_loop().time)
        transport = MemoryTransport(provider)
        async with iModel(
            provider="openai", model="m", api_key="k", base_url=transport.base_url, transport=transport
        ) as model:
            batch = BatchRun(Engine(model, max_inflight_requests=4), Source(str(path)))
            async with Journal(output) as journal:
                return await batch.run(journal), provider.sent

    summary, sent = asyncio.run(main())
    stats = summary.progress.stats
    assert summary.ending == "failures"
    assert (stats.done, stats.failed, stats.refused) == (10, 61, 60)
    assert len(sent) == len(set(sent)) == 71
    kinds = [(group.kind, group.count, group.retryable) for group in stats.error_groups()]
    assert sorted(kinds) == [
        ("ContentFilterError", 30, False),
        ("ContextLengthError", 30, False),
        ("InvalidRequestError", 1, False),
    ]
    failed = [orjson.loads(line) for line in Path(output + ".errors.jsonl").read_bytes().splitlines()]
    assert {line["custom_id"] for line in failed if line["error"]["refused"]} == {
        f"r{i}" for i in range(5, 65)
    }
    assert len(failed) == 61
    assert read_report(output).answered == 10
