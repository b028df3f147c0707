"""What the engine adds to a row's request when it is called: its images, and the schema of the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from callgate.batch.cost.budget import Budget
from callgate.batch.cost.worst_case import worst_case, worst_of_endpoints
from callgate.batch.engine import Engine
from callgate.batch.input import media
from callgate.batch.input.media import load_media
from callgate.batch.input.media_kinds import MediaKind
from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult
from callgate.call.calling import Calling
from callgate.errors import BatchStoppedError, InputError
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.testing import Answer, Simulator

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
SCHEMA = {"type": "object", "properties": {"moons": {"type": "integer"}}, "required": ["moons"]}
PRICES = {"input": 1.0, "output": 1.0}


def model_at(url: str, **settings: Any) -> iModel:
    return iModel(provider="openai", model="m", base_url=url, api_key="sk-test", **settings)


def row(folder: Path, index: int, image: str | None) -> Row:
    record = {"prompt": f"What is this? {index}", "max_tokens": 10, "image": image}
    return RequestBuilder(source="in.jsonl", folder=str(folder)).build(record, index, index + 1)


async def results(engine: Engine, rows: list[Row], budget: Budget | None = None) -> list[RowResult]:
    ended = [result async for result in engine.run(rows, budget=budget)]
    return sorted(ended, key=lambda result: result.row.index)


def test_images_are_sent_and_one_that_has_gone_fails_its_row_alone(tmp_path: Path) -> None:
    for name in ("a.png", "gone.png"):
        (tmp_path / name).write_bytes(PNG)

    async def main() -> None:
        rows = [row(tmp_path, 0, "a.png"), row(tmp_path, 1, "gone.png"), row(tmp_path, 2, None)]
        (tmp_path / "gone.png").unlink()
        async with Simulator() as sim, model_at(sim.base_url) as model:
            first, second, third = await results(Engine(model), rows)
            assert first.ok
            assert third.ok
            url = first.calling.payload["messages"][-1]["content"][1]["image_url"]["url"]
            assert url.startswith("data:image/png;base64,")
            assert isinstance(second.error, InputError)
            assert "in.jsonl:2: image" in str(second.error)
            assert sim.stats.requests == 2

    asyncio.run(main())


def test_every_answer_is_held_to_the_schema_and_asked_for_again() -> None:
    async def main() -> None:
        answers = [Answer("none"), Answer('{"moons": 2}')]
        async with Simulator(answers=answers) as sim, model_at(sim.base_url) as model:
            engine = Engine(model, response_schema=SCHEMA)
            (result,) = [each async for each in engine.run(["How many moons has Mars?"])]
            answer = result.calling.answer
            assert answer is not None
            assert answer.parsed == {"moons": 2}
            assert len(result.calling.attempts) == sim.stats.requests == 2

    asyncio.run(main())


def test_a_budget_reserves_for_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)

    async def main() -> list[float]:
        model = model_at("http://127.0.0.1:9/v1", prices=PRICES)
        spread = Spread([model, model_at("http://127.0.0.1:9/v2", prices=PRICES)])
        worst = []
        for who, image in ((model, None), (model, "a.png"), (spread, "a.png")):
            asked = row(tmp_path, 0, image)
            calling = await who.create_calling(request_payload=await load_media(asked.request))
            worst.append(worst_of_endpoints(who)(calling))
        await spread.close()
        return worst

    plain, pictured, spread_over = asyncio.run(main())
    assert pictured - plain > 50_000 / 1e6
    assert spread_over == pytest.approx(pictured, rel=0.01)


class HoldingBackend:
    """Answers the first call, and holds all others."""

    name = "holding"

    def __init__(self) -> None:
        self.defaults = {"model": "m"}
        self.begun = 0
        self.go = asyncio.Event()

    async def call(self, calling: Calling) -> str:
        self.begun += 1
        if self.begun > 1:
            await self.go.wait()
        assert "data:image/png;base64," in str(calling.payload)
        return "a cat"


def test_rows_that_wait_for_a_budget_are_few_and_so_are_the_images_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    read: list[str] = []

    def noted(kind: MediaKind, path: str) -> str:
        read.append(path)
        return _read(kind, path)

    _read = media._read
    monkeypatch.setattr(media, "_read", noted)

    async def main() -> None:
        backend = HoldingBackend()
        model = iModel(backend, prices=PRICES, limit_concurrency=None)
        rows = [row(tmp_path, number, "a.png") for number in range(200)]
        one = await model.create_calling(request_payload=rows[0].request)
        # The first one is answered without a usage, and so costs as much as an attempt can.
        budget = Budget(7.5 * worst_case(one))
        run = asyncio.create_task(results(Engine(model, None), rows, budget))
        while backend.begun < 7 and not run.done():
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert backend.begun == 7
        assert 1 <= budget.waiting <= 10  # of 190
        assert len(read) == backend.begun + budget.waiting
        backend.go.set()
        with pytest.raises(BatchStoppedError, match="budget"):
            await run

    asyncio.run(main())


def test_an_image_that_has_gone_costs_nothing_of_a_budget(tmp_path: Path) -> None:
    (tmp_path / "gone.png").write_bytes(PNG)
    asked = row(tmp_path, 0, "gone.png")
    (tmp_path / "gone.png").unlink()

    async def main() -> None:
        budget = Budget(1.0)
        (result,) = await results(Engine(iModel(HoldingBackend(), prices=PRICES)), [asked], budget)
        assert isinstance(result.error, InputError)
        assert (result.charged, budget.spent, budget.reserved) == (0.0, 0.0, 0.0)

    asyncio.run(main())
