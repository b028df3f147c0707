"""What a dry run learns, and what it makes of limits and prices; that it comes true is in tests/issues/."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.cost.forecast import Forecast, Sample, forecast, read_sample
from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.sources import Source
from callgate.batch.output.completed_keys import CompletedKeys
from callgate.errors import InputError
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.policies.limit.quota import Quota
from callgate.providers.canonical.size import count_characters
from callgate.response import Usage

ROWS = [{"prompt": f"How much is {i} and {i}?", "max_tokens": 100} for i in range(100, 200)]
CHARACTERS = 100 * count_characters({"messages": [{"role": "user", "content": ROWS[0]["prompt"]}]})
NOTHING = {"rows": 0, "input_tokens": 0, "output_tokens": 0, "output_tokens_most": 0, "cost_usd": 0.0}


def model(price: float = 1.0, **settings: Any) -> iModel:
    """Answers at so many dollars per million tokens of input, and four times as much for output."""
    prices = {"input": price, "output": 4 * price}
    return iModel(**{"provider": "openai", "model": "m", "api_key": "k", "prices": prices, **settings})


def source(folder: Path, rows: list[Any]) -> Source:
    path = folder / "in.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return Source(str(path))


def told(
    folder: Path, one: Caller, sample: Sample | None = None, *, rows: list[Any] = ROWS, **settings: Any
) -> Forecast:
    async def main() -> Forecast:
        async with one:
            return await forecast(one, source(folder, rows), sample or Sample(CompletedKeys()), **settings)

    return asyncio.run(main())


def answers(folder: Path, *records: Mapping[str, Any] | bytes) -> Sample:
    """What is learned from an output of these lines."""
    path = folder / "out.jsonl"
    path.write_bytes(b"".join(r if isinstance(r, bytes) else orjson.dumps(r) + b"\n" for r in records))
    return read_sample(str(path))


def answer(row: Any, tokens: int = 50, written: int = 20, **more: Any) -> dict[str, Any]:
    """The output line of an answered row."""
    key = RequestBuilder().build(row, 0, 1).key
    usage = Usage(tokens, written, **more.pop("usage", {})).to_dict()
    line = {"id": "c", "response": {}, "error": None, "usage": usage, "latency_s": 2.0, **more}
    return {**line, "key": f"{key:016x}"}


# -- what is learned -------------------------------------------------------------------------------------


def test_without_any_answer_it_is_a_range(tmp_path: Path) -> None:
    found = told(tmp_path, model())
    assert (found.rows, found.answered_before, found.learned_from) == (100, 0, 0)
    assert found.input_tokens == CHARACTERS // 4
    assert (found.output_tokens, found.output_tokens_most) == (5_000, 10_000)
    read = found.input_tokens / 1e6
    assert found.cost_least_usd == pytest.approx(read)
    assert found.cost_usd == pytest.approx(read + 0.02)
    assert found.cost_most_usd == pytest.approx(read + 0.04)
    assert found.seconds is None
    assert found.bottleneck == "not known: no limits are given"


def test_answers_tell_their_length_their_time_and_the_tokens_of_a_character(tmp_path: Path) -> None:
    sample = answers(tmp_path, *(answer(row, tokens=24, written=30) for row in ROWS[:10]))
    assert (sample.answers, sample.latency) == (10, 2.0)
    found = told(tmp_path, model(), sample, concurrency=9)
    assert (found.rows, found.answered_before, found.learned_from) == (90, 10, 10)
    assert (found.input_tokens, found.output_tokens) == (90 * 24, 90 * 30)
    # The first few go ahead alone, then nine at once.
    assert (found.seconds, found.bottleneck) == (pytest.approx(2 + 10 * 2), "concurrency, 9 at once")


def test_answers_to_other_rows_tell_nothing_of_characters(tmp_path: Path) -> None:
    strange = answer({"prompt": "Another file's"}, tokens=9_999, written=30)
    found = told(tmp_path, model(), answers(tmp_path, strange, answer(ROWS[0], tokens=24)))
    assert (found.input_tokens, found.output_tokens) == (99 * 24, 99 * 25)


def test_answers_from_a_cache_give_tokens_but_no_latency(tmp_path: Path) -> None:
    cached = [answer(row, tokens=24, written=30, cached=True) for row in ROWS[:10]]
    sample = answers(tmp_path, *cached)
    assert (sample.answers, sample.timed, sample.latency) == (10, 0, 0.0)
    found = told(tmp_path, model(), sample, concurrency=9)
    assert (found.input_tokens, found.output_tokens) == (90 * 24, 90 * 30)
    assert (found.seconds, found.bottleneck) == (None, "not known: no latency has been measured")


def test_answers_are_never_foretold_longer_than_they_may_be(tmp_path: Path) -> None:
    sample = answers(tmp_path, answer({"prompt": "Another file's"}, written=500))
    assert told(tmp_path, model(), sample).output_tokens == 10_000


def test_lines_that_teach_nothing(tmp_path: Path) -> None:
    line = answer(ROWS[0])
    failed = {**answer(ROWS[1]), "error": {"code": "x"}}
    silent = {**answer(ROWS[2]), "usage": None}
    batch_line = {**answer(ROWS[3]), "custom_id": "a"}
    del batch_line["key"]
    sample = answers(tmp_path, line, failed, silent, batch_line, b"\n", b'{"id":"torn')
    assert (sample.answers, len(sample.inputs), len(sample.completed)) == (2, 1, 3)


def test_an_output_that_is_not_there_teaches_nothing_and_another_file_is_refused(tmp_path: Path) -> None:
    assert read_sample(str(tmp_path / "none.jsonl")).answers == 0
    with pytest.raises(InputError, match="is no output of callgate"):
        answers(tmp_path, {"something": "else"})


def test_the_memory_of_inputs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate.batch.cost.forecast._COMPARED_ROWS", 3)
    sample = answers(tmp_path, *(answer(row) for row in ROWS[:10]))
    assert (sample.answers, len(sample.inputs)) == (10, 3)
    assert told(tmp_path, model(), sample).input_tokens == 90 * 50


# -- tokens and money ------------------------------------------------------------------------------------


def test_no_rows_cost_nothing(tmp_path: Path) -> None:
    for rows, sample in (([], None), (ROWS[:1], answers(tmp_path, answer(ROWS[0])))):
        found = told(tmp_path, model(limit_requests=1), sample, rows=rows).to_dict()
        assert {name: found[name] for name in NOTHING} == NOTHING
        assert (found["seconds"], found["bottleneck"]) == (0.0, "nothing")


def test_one_answer_without_a_bound_unbounds_all(tmp_path: Path) -> None:
    found = told(tmp_path, model(), rows=[*ROWS, {"prompt": "How much?"}])
    assert found.output_tokens == 5_000 + 256
    assert (found.output_tokens_most, found.cost_most_usd) == (None, None)
    assert found.cost_usd is not None


def test_a_bound_of_the_model_s_own_counts_for_rows_without_one(tmp_path: Path) -> None:
    found = told(tmp_path, model(max_tokens=40), rows=[*ROWS, {"prompt": "How much?"}])
    assert found.output_tokens_most == 10_040


def test_every_choice_is_written(tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "How much?"}], "max_tokens": 10, "n": 3}
    assert told(tmp_path, model(), rows=[{"body": body}]).output_tokens_most == 30
    # What is no number may be any: some servers read it as one.
    strange = {**body, "n": "3", "model": ["x"]}
    assert told(tmp_path, model(), rows=[{"body": strange}]).output_tokens_most is None


def test_each_row_is_priced_by_the_model_it_names(tmp_path: Path) -> None:
    dear, cheap = ({"model": name, **ROWS[0]} for name in ("gpt-4o", "gpt-4o-mini"))
    own = iModel(provider="openai", api_key="k")
    found = told(tmp_path, own, rows=[dear, cheap, cheap])
    tokens = found.input_tokens / 3
    assert found.cost_least_usd == pytest.approx(tokens * (2.5 + 2 * 0.15) / 1e6, rel=0.02)


def test_what_is_read_from_a_cache_or_thought_is_priced_as_such(tmp_path: Path) -> None:
    used = {"cache_read_tokens": 40, "cache_write_tokens": 10, "reasoning_tokens": 15}
    sample = answers(tmp_path, answer(ROWS[0], tokens=100, written=20, usage=used))
    prices = {"input": 1.0, "output": 1.0, "cache_read": 0.0, "cache_write": 5.0, "reasoning": 9.0}
    found = told(tmp_path, model(prices=prices), sample)
    assert found.cost_usd == pytest.approx(99 * (50 * 1 + 10 * 5 + 5 * 1 + 15 * 9) / 1e6)


def test_a_price_that_is_not_known_is_said(tmp_path: Path) -> None:
    found = told(tmp_path, model(prices=None))
    assert (found.cost_least_usd, found.cost_usd, found.cost_most_usd) == (None, None, None)
    assert found.input_tokens > 0


# -- time ------------------------------------------------------------------------------------------------


def test_a_quota_begins_with_its_burst(tmp_path: Path) -> None:
    assert told(tmp_path, model(limit_requests=60)).seconds == pytest.approx(90.0)
    own = model(limit_requests=60)
    own.limiter.set_quota("requests", Quota(60, 60.0, capacity=30))
    assert told(tmp_path, own).seconds == pytest.approx(70.0)
    assert told(tmp_path, model(limit_requests=6_000)).seconds == 0.0


def test_a_stock_for_a_day_may_be_spent_at_once(tmp_path: Path) -> None:
    day = {"capacity_refresh_time": 86_400.0}
    assert told(tmp_path, model(limit_requests=100, **day)).seconds == 0.0
    found = told(tmp_path, model(limit_requests=50, **day))
    assert (found.seconds, found.bottleneck) == (86_400.0, "requests per 86400 s")


def test_what_takes_longest_is_the_bottleneck(tmp_path: Path) -> None:
    rows = told(tmp_path, model(limit_requests=10, limit_tokens=1e9))
    assert rows.bottleneck == "requests per minute"
    tokens = told(tmp_path, model(limit_requests=1e6, limit_tokens=1_000))
    assert tokens.bottleneck == "tokens per minute"
    assert tokens.seconds == pytest.approx((10_000 + CHARACTERS // 4) / 1_000 * 60 - 5)


def test_a_provider_that_counts_what_is_written_lets_more_through(tmp_path: Path) -> None:
    sample = answers(tmp_path, answer({"prompt": "Another file's"}, written=20))
    keeps = told(tmp_path, model(limit_tokens=1_000), sample)
    counts = told(tmp_path, model(provider="anthropic", limit_tokens=1_000), sample)
    assert keeps.seconds == pytest.approx((CHARACTERS / 4 + 10_000) * 0.06 - 5 + 2 * 2.0)
    assert counts.seconds == pytest.approx((CHARACTERS / 4 + 2_000) * 0.06 - 5 + 2 * 2.0)
    # What has no bound cannot be kept; then it is what is probably written.
    free = told(tmp_path, model(limit_tokens=1_000), sample, rows=[{"prompt": ROWS[0]["prompt"]}] * 100)
    assert free.seconds == counts.seconds


# -- several models --------------------------------------------------------------------------------------


def test_of_several_the_cost_lies_between_the_cheapest_and_the_dearest(tmp_path: Path) -> None:
    cheap, dear = told(tmp_path, model(1.0)), told(tmp_path, model(10.0))
    both = told(tmp_path, Spread([model(1.0), Spread([model(10.0)])]))
    assert (both.cost_least_usd, both.cost_most_usd) == (cheap.cost_least_usd, dear.cost_most_usd)
    assert cheap.cost_usd is not None
    # Without limits both take as many.
    assert both.cost_usd == pytest.approx(5.5 * cheap.cost_usd)
    assert (both.input_tokens, both.output_tokens) == (cheap.input_tokens, cheap.output_tokens)


def test_one_without_a_price_leaves_the_cost_unknown(tmp_path: Path) -> None:
    for members in ([model(1.0), model(prices=None)], [model(prices=None), model(1.0)]):
        found = told(tmp_path, Spread(members))
        assert (found.cost_least_usd, found.cost_usd, found.cost_most_usd) == (None, None, None)


def test_rows_are_shared_by_the_quotas(tmp_path: Path) -> None:
    found = told(tmp_path, Spread([model(1.0, limit_requests=10), model(10.0, limit_requests=30)]))
    alone = told(tmp_path, model(1.0)).cost_usd
    assert alone is not None
    assert found.cost_usd == pytest.approx(alone * (1 * 0.25 + 10 * 0.75))
    assert found.seconds == pytest.approx(75 * 2 - 20)  # 30 a minute, ten of them at once
    assert found.bottleneck == "requests per minute"


def test_each_provider_s_way_of_counting_decides_its_share(tmp_path: Path) -> None:
    sample = answers(tmp_path, answer({"prompt": "Another file's"}, written=20))
    keeps = model(1.0, limit_tokens=1_000)
    counts = model(10.0, provider="anthropic", limit_tokens=1_000)
    found = told(tmp_path, Spread([keeps, counts]), sample)
    read = CHARACTERS / 4 / 100
    slow, quick = read + 100, read + 20
    share = (1 / slow) / (1 / slow + 1 / quick)
    alone = told(tmp_path, model(1.0), sample).cost_usd
    assert alone is not None
    assert found.cost_usd == pytest.approx(alone * (share + 10 * (1 - share)), rel=0.001)
    assert found.seconds == pytest.approx(share * 100 * slow * 0.06 - 5 + 2 * 2.0, rel=0.001)


def test_concurrency_is_that_of_each(tmp_path: Path) -> None:
    sample = answers(tmp_path, answer({"prompt": "Another file's"}))
    found = told(tmp_path, Spread([model(), model()]), sample, concurrency=5)
    assert found.seconds == pytest.approx(2 + 100 / 10 * 2)


def test_the_time_is_unknown_where_one_takes_any_number(tmp_path: Path) -> None:
    found = told(tmp_path, Spread([model(1.0, limit_requests=10), model(10.0)]))
    alone = told(tmp_path, model(1.0)).cost_usd
    assert alone is not None
    assert found.cost_usd == pytest.approx(5.5 * alone)
    assert (found.seconds, found.bottleneck[:9]) == (None, "not known")
