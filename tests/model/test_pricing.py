"""Usage to dollars, checked against genai-prices' own slow calculation."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot, types
from hypothesis import given, strategies as st

from callgate.errors import ConfigurationError
from callgate.model.pricing import price
from callgate.response import Cost, Usage
from tests.effort import examples

DAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
PROVIDERS = ("openai", "anthropic", "google", "aws", "groq", "deepseek", "mistral", "x-ai", "openrouter")


def _can_be_asked_for(provider: str, model: str) -> bool:
    try:
        _, found = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return False
    return found.id == model


MODELS = [
    (provider.id, model.id)
    for provider in data_snapshot.get_snapshot().providers
    for model in provider.models
    if provider.id in PROVIDERS and _can_be_asked_for(provider.id, model.id)
]


@examples(100)
@given(
    st.sampled_from(MODELS),
    st.integers(0, 300_000),
    st.integers(0, 300_000),
    st.integers(0, 300_000),
    st.integers(0, 50_000),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_it_agrees_with_genai_prices_on_every_model_tier_and_hour(
    which: tuple[str, str], plain: int, read: int, written: int, output: int, at: datetime
) -> None:
    provider, model = which
    ours = price(provider, model, Usage(plain + read + written, output, 0, read, written), at=at)
    theirs = genai_prices.calc_price(
        types.Usage(
            input_tokens=plain + read + written,
            cache_read_tokens=read,
            cache_write_tokens=written,
            output_tokens=output,
        ),
        model_ref=model,
        provider_id=provider,
        genai_request_timestamp=at,
    )
    if ours is None:
        assert theirs.model_price.input_mtok is None
        assert theirs.model_price.output_mtok is None
        return
    assert ours.input == pytest.approx(float(theirs.input_price))
    assert ours.output == pytest.approx(float(theirs.output_price))


def test_plain_input_and_output() -> None:
    cost = price("openai", "gpt-4o-mini", Usage(1_000_000, 1_000_000))
    assert cost == Cost(pytest.approx(0.15), pytest.approx(0.6))


def test_cache_reads_and_writes_have_their_own_price() -> None:
    usage = Usage(1_000, 0, cache_read_tokens=600, cache_write_tokens=300)
    cost = price("anthropic", "claude-sonnet-4-5", usage)
    assert cost is not None
    assert cost.input == pytest.approx((100 * 3 + 600 * 0.3 + 300 * 3.75) / 1e6)


def test_a_long_input_is_priced_by_its_tier_all_of_it() -> None:
    below = price("google", "gemini-2.5-pro", Usage(200_000, 10))
    above = price("google", "gemini-2.5-pro", Usage(200_001, 10))
    assert below is not None
    assert above is not None
    assert above.input == pytest.approx(2 * below.input, rel=1e-4)
    assert above.output > below.output


def test_a_price_that_depends_on_the_hour() -> None:
    usage = Usage(1_000_000, 0)
    night, day = (
        price("deepseek", "deepseek-chat", usage, at=DAY.replace(hour=hour, minute=5)) for hour in (20, 12)
    )
    assert night is not None
    assert day is not None
    assert night.input < day.input
    assert price("deepseek", "deepseek-chat", usage) in (night, day), "now, unless told"


def test_reasoning_is_part_of_the_output_and_may_have_its_own_price() -> None:
    usage = Usage(0, 1_000_000, reasoning_tokens=400_000)
    assert price("openai", "gpt-5", usage) == price("openai", "gpt-5", Usage(0, 1_000_000))
    own = price(None, "mine", usage, prices={"input": 1, "output": 10, "reasoning": 5})
    assert own == Cost(0.0, pytest.approx(0.6 * 10 + 0.4 * 5))


@pytest.mark.parametrize(
    ("provider", "model", "audio_in", "audio_out"),
    [
        ("google", "gemini-2.5-flash", 60_000, 0),
        ("openai", "gpt-4o-mini-realtime-preview", 60_000, 3_000),
        ("openai", "gpt-4o-mini", 60_000, 3_000),  # which has no price of its own for sound
    ],
)
def test_sound_has_its_own_price_where_there_is_one(
    provider: str, model: str, audio_in: int, audio_out: int
) -> None:
    usage = Usage(100_000, 5_000, input_audio_tokens=audio_in, output_audio_tokens=audio_out)
    theirs = genai_prices.calc_price(
        types.Usage(
            input_tokens=100_000,
            output_tokens=5_000,
            input_audio_tokens=audio_in,
            output_audio_tokens=audio_out,
        ),
        model_ref=model,
        provider_id=provider,
    )
    ours = price(provider, model, usage)
    assert ours is not None
    assert ours.input == pytest.approx(float(theirs.input_price))
    assert ours.output == pytest.approx(float(theirs.output_price))
    text = price(provider, model, Usage(100_000, 5_000))
    assert text is not None
    assert (ours.total > text.total) == (model != "gpt-4o-mini")


def test_sound_that_was_cached_is_priced_once() -> None:
    usage = Usage(1_000, 0, cache_read_tokens=900, input_audio_tokens=1_000)
    prices = price("google", "gemini-2.5-flash", usage)
    assert prices is not None
    assert prices.input == pytest.approx((100 * 1.0 + 900 * 0.03) / 1e6)


def test_an_unknown_model_costs_none_never_0_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "callgate"):
        for _ in range(3):
            assert price("openai", "no-such-model-7", Usage(10, 10)) is None
    assert [record.getMessage() for record in caplog.records] == [
        "no price is known for the model no-such-model-7; its cost is not counted"
    ]


def test_a_model_that_is_not_priced_by_tokens_costs_none() -> None:
    assert price("openai", "whisper-1", Usage(10, 10)) is None


def test_the_provider_narrows_the_lookup() -> None:
    usage = Usage(1_000_000, 0)
    assert price("x-ai", "gpt-4o-mini", usage) is None
    assert price(None, "gpt-4o-mini", usage) == price("openai", "gpt-4o-mini", usage)


def test_a_name_with_its_publisher_is_found() -> None:
    usage = Usage(1_000_000, 0)
    assert price("google", "google/gemini-2.5-flash", usage) == price("google", "gemini-2.5-flash", usage)


class TestPricesOfOnesOwn:
    def test_what_has_no_price_is_priced_as_what_it_is_part_of(self) -> None:
        usage = Usage(100, 10, cache_read_tokens=40, cache_write_tokens=10, reasoning_tokens=5)
        assert price(None, "mine", usage, prices={"input": 1, "output": 2}) == Cost(
            pytest.approx(100e-6), pytest.approx(20e-6)
        )
        cost = price(
            None, "mine", usage, prices={"input": 1, "output": 2, "cache_read": 0.5, "cache_write": 3}
        )
        assert cost is not None
        assert cost.input == pytest.approx((50 + 20 + 30) / 1e6)

    def test_they_win_over_known_ones(self) -> None:
        cost = price("openai", "gpt-4o-mini", Usage(1_000_000, 0), prices={"input": 7, "output": 7})
        assert cost == Cost(pytest.approx(7.0), 0.0)

    @pytest.mark.parametrize(
        ("prices", "said"),
        [
            ({"input": 1}, "not only input"),
            ({}, "not only nothing"),
            ({"input": 1, "outptu": 2}, "not 'outptu'"),
        ],
    )
    def test_what_is_missing_or_misspelt(self, prices: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            price(None, "mine", Usage(), prices=prices)

    def test_counts_that_do_not_add_up_never_give_money_back(self) -> None:
        usage = Usage(10, 5, cache_read_tokens=100, reasoning_tokens=50)
        cost = price(None, "mine", usage, prices={"input": 1, "output": 1})
        assert cost == Cost(pytest.approx(100e-6), pytest.approx(50e-6))


def test_prices_are_not_loaded_before_they_are_asked_for() -> None:
    program = "import sys, callgate.model.pricing; sys.exit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
