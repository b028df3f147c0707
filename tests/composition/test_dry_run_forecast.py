"""The forecast of `--dry-run` against the run: tokens, cost and time within 15 % each.

On the virtual clock, with all that `callgate run` does but the terminal and the sockets; the simulator's own
count and bill are the judge. (`bench/batch.py forecast` does the same by the command and the wall clock.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate import Engine, Spread, iModel
from callgate.batch.cost.forecast import Forecast, forecast, read_sample
from callgate.batch.input.sources import Source
from callgate.batch.output.journal import Journal
from callgate.batch.run import BatchRun
from callgate.model.base import Caller
from callgate.testing import MemoryTransport, Options, SimulatedProvider, VirtualClock

ROWS, FIRST = 700, 60
PRICES = {"input": 2.0, "output": 8.0}


@dataclass
class Actual:
    """What a run came to by the provider's books; seconds by the clock."""

    input: int
    output: int
    bill: float
    seconds: float


class BatchSetup:
    """One file of rows and its output, before one provider."""

    def __init__(self, folder: Path, *, max_tokens: int | None = 80, **options: Any) -> None:
        self.clock = VirtualClock()
        drawn = {"latency": 0.5, "latency_sigma": 0.5, "output_tokens": 30, "output_sigma": 0.4}
        prices = {"input_price": PRICES["input"], "output_price": PRICES["output"]}
        self.sim = SimulatedProvider(Options(**{**drawn, **prices, **options}), clock=self.clock.time)
        self.output = str(folder / "out.jsonl")
        self.parameters = {} if max_tokens is None else {"max_tokens": max_tokens}
        self.input = folder / "in.jsonl"
        # Of very different lengths, so that the sample has to be read with care.
        texts = [f"Question {i}: {'what follows from it? ' * (4 + i % 40)}" for i in range(ROWS)]
        self.input.write_bytes(b"".join(orjson.dumps({"prompt": text}) + b"\n" for text in texts))

    def model(self, provider: str = "openai", key: str = "k", **settings: Any) -> iModel:
        urls = {"openai": MemoryTransport.base_url}
        transport = MemoryTransport(self.sim, latency=0.02)
        fixed = {"model": "m", "api_key": key, "transport": transport, "prices": PRICES}
        fixed["base_url"] = urls.get(provider, "https://simulator.invalid")
        return iModel(**{"provider": provider, **fixed, **settings})

    def source(self, limit: int | None = None) -> Source:
        return Source(str(self.input), parameters=self.parameters, limit=limit)

    def forecast(self, model: Caller, concurrency: int | None = None) -> Forecast:
        async def main() -> Forecast:
            async with model:
                sample = read_sample(self.output)
                return await forecast(model, self.source(), sample, concurrency=concurrency)

        requests = self.sim.stats.requests
        predicted = self.clock.run(main())
        assert self.sim.stats.requests == requests  # without a call
        return predicted

    def run(self, model: Caller, limit: int | None = None) -> Actual:
        stats, began = self.sim.stats, self.clock.time()
        before = (stats.input_tokens, stats.output_tokens, stats.bill)

        async def main() -> None:
            async with model, Journal(self.output) as journal:
                engine = Engine(model, max_inflight_requests=None)
                summary = await BatchRun(engine, self.source(limit)).run(journal)
            assert summary.ending == "done"

        self.clock.run(main())
        after = (stats.input_tokens, stats.output_tokens, stats.bill)
        spent = [then - now for now, then in zip(before, after, strict=True)]
        return Actual(int(spent[0]), int(spent[1]), spent[2], self.clock.time() - began)


def assert_within_15_percent(predicted: float | None, real: float) -> None:
    assert predicted == pytest.approx(real, rel=0.15)


def assert_comes_true(predicted: Forecast, real: Actual) -> None:
    assert_within_15_percent(predicted.input_tokens, real.input)
    assert_within_15_percent(predicted.output_tokens, real.output)
    assert_within_15_percent(predicted.cost_usd, real.bill)
    assert_within_15_percent(predicted.seconds, real.seconds)


LIMITS = {
    "requests": ({"limit_requests": 600}, {}, None, "requests per minute"),
    "tokens that are kept": ({"limit_tokens": 60_000}, {}, None, "tokens per minute"),
    "tokens that are settled": (
        {"provider": "anthropic", "limit_tokens": 60_000},
        {"accounting": "settle"},
        None,
        "tokens per minute",
    ),
    "both": ({"limit_requests": 1_000, "limit_tokens": 60_000}, {}, None, "tokens per minute"),
    "concurrency": ({"limit_concurrency": 8}, {}, 8, "concurrency, 8 at once"),
}


@pytest.mark.parametrize("which", LIMITS)
def test_after_a_first_sample(tmp_path: Path, which: str) -> None:
    limits, options, concurrency, bottleneck = LIMITS[which]
    setup = BatchSetup(tmp_path, **options)
    setup.run(setup.model(**limits), limit=FIRST)
    predicted = setup.forecast(setup.model(**limits), concurrency)
    assert (predicted.rows, predicted.learned_from, predicted.bottleneck) == (ROWS - FIRST, FIRST, bottleneck)
    assert_comes_true(predicted, setup.run(setup.model(**limits)))


def test_after_a_first_sample_without_any_bound_on_the_answers(tmp_path: Path) -> None:
    setup = BatchSetup(tmp_path, max_tokens=None)
    setup.run(setup.model(limit_requests=600), limit=FIRST)
    predicted = setup.forecast(setup.model(limit_requests=600))
    assert (predicted.output_tokens_most, predicted.cost_most_usd) == (None, None)
    assert_comes_true(predicted, setup.run(setup.model(limit_requests=600)))


@pytest.mark.parametrize("limits", [{"limit_requests": 600}, {"limit_tokens": 60_000}], ids=["rpm", "tpm"])
def test_with_nothing_known_the_upper_end_is_what_comes_when_every_answer_is_as_long_as_it_may_be(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    setup = BatchSetup(tmp_path, max_tokens=25, output_tokens=400, output_sigma=0.0)
    predicted = setup.forecast(setup.model(**limits))
    assert predicted.learned_from == 0
    real = setup.run(setup.model(**limits))
    assert_within_15_percent(predicted.input_tokens, real.input)
    assert predicted.output_tokens_most == real.output
    assert_within_15_percent(predicted.cost_most_usd, real.bill)
    assert_within_15_percent(predicted.seconds, real.seconds)


def test_with_nothing_known_the_cost_lies_in_the_range(tmp_path: Path) -> None:
    setup = BatchSetup(tmp_path)
    predicted = setup.forecast(setup.model(limit_requests=600))
    real = setup.run(setup.model(limit_requests=600))
    assert predicted.cost_least_usd is not None
    assert predicted.cost_most_usd is not None
    assert predicted.cost_least_usd < real.bill < predicted.cost_most_usd


TWICE_AS_DEAR = {name: 2 * price for name, price in PRICES.items()}
MEMBERS: dict[str, tuple[list[dict[str, Any]], int | None]] = {
    "by requests": ([{"limit_requests": 300}, {"limit_requests": 900, "prices": TWICE_AS_DEAR}], None),
    "by tokens": ([{"limit_tokens": 20_000}, {"limit_tokens": 80_000, "prices": TWICE_AS_DEAR}], None),
    "by what is scarce for each": (
        [{"limit_tokens": 30_000}, {"limit_requests": 300, "prices": TWICE_AS_DEAR}],
        None,
    ),
    "by places": ([{"limit_concurrency": 6}, {"limit_concurrency": 6, "prices": TWICE_AS_DEAR}], 6),
}


@pytest.mark.parametrize("which", MEMBERS)
def test_over_several_endpoints(tmp_path: Path, which: str) -> None:
    members, concurrency = MEMBERS[which]
    setup = BatchSetup(tmp_path)

    def spread() -> Spread:
        return Spread([setup.model(key=f"k{number}", **member) for number, member in enumerate(members)])

    setup.run(spread(), limit=FIRST)
    predicted = setup.forecast(spread(), concurrency)
    real = setup.run(spread())
    # The simulator has one price for all keys: the bill is what each key's tokens cost at its member's.
    stats = setup.sim.stats
    shares = [stats.key(f"k{number}").bill / stats.bill for number in range(2)]
    real.bill *= shares[0] + 2 * shares[1]
    assert_comes_true(predicted, real)
