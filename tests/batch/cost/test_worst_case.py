"""No attempt can cost more than its worst case; what nothing bounds has none, and is refused."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from callgate.backends.config import SdkTransportConfig, ServiceEndpointConfig
from callgate.backends.endpoint import Endpoint
from callgate.batch.cost.worst_case import longest_answer, worst_of_endpoints
from callgate.call.calling import Calling
from callgate.errors import InputError, InvalidRequestError
from callgate.messages import Conversation
from callgate.model.model import iModel
from callgate.model.spread import Spread


def worst(model: Any, /, schema: Any = None, **more: Any) -> float:
    request = {"messages": [{"role": "user", "content": "Hello!"}], **more}

    async def main() -> float:
        calling = await model.create_calling(request_payload=request, response_schema=schema)
        return worst_of_endpoints(model)(calling)

    return asyncio.run(main())


def model(price: float = 1.0, name: str = "m", **more: Any) -> iModel:
    prices = {"input": price, "output": 10 * price}
    return iModel(provider="openai", model=name, api_key="k", prices=prices, **more)


def test_the_worst_case_is_no_less_than_any_answer_can_cost() -> None:
    one = worst(model(), max_tokens=1000)
    assert one > (1000 * 10 + 6) / 1e6
    assert worst(model(), max_completion_tokens=1000) == pytest.approx(one, rel=0.01)
    assert worst(model(), max_tokens=1000, n=3) == pytest.approx(3 * one, rel=0.02)
    assert (
        worst(
            model(),
            max_tokens=1000,
            tools=[{"type": "function", "function": {"name": "f", "description": "y" * 100_000}}],
        )
        > one + 0.09
    )
    cached = iModel(
        provider="openai", model="m", api_key="k", prices={"input": 1, "output": 1, "cache_write": 50}
    )
    # OpenAI caches by itself, and for newer models writing costs more than reading.
    assert worst(cached, max_tokens=1) > 20 * worst(model(), max_tokens=1)


def test_of_several_models_the_dearest_counts() -> None:
    spread = Spread([model(1.0), model(5.0, "n")])
    assert worst(spread, max_tokens=1000) == pytest.approx(worst(model(5.0), max_tokens=1000), rel=0.01)


def test_of_several_models_each_is_priced_as_the_one_it_sends_to() -> None:
    # A spread's models answer with their own names, whatever the row says.
    spread = Spread(
        [iModel(provider="openai", model=name, api_key="k") for name in ("gpt-4o-mini", "gpt-4o")]
    )
    dear = iModel(provider="openai", model="gpt-4o", api_key="k")
    assert worst(spread, max_tokens=1000, model="gpt-4o-mini") == pytest.approx(
        worst(dear, max_tokens=1000), rel=0.01
    )


def test_a_dearer_model_that_a_call_names_is_the_one_that_is_priced_at_every_key() -> None:
    cheap = [iModel(provider="openai", model="gpt-4o-mini", api_key=key) for key in ("one", "two")]
    dear = iModel(provider="openai", model="gpt-4.1", api_key="k")
    assert worst(Spread(cheap), model="gpt-4.1", max_tokens=1000) == worst(dear, max_tokens=1000)


def test_a_spread_within_a_spread_and_a_fallback_count_too() -> None:
    dearest = worst(model(5.0), max_tokens=1000)
    inner = Spread([model(1.0), Spread([model(2.0), model(5.0, "n")])])
    assert worst(inner, max_tokens=1000) == pytest.approx(dearest, rel=0.01)
    falling = model(1.0, fallbacks=[model(2.0, "n"), model(5.0, "o")])
    assert worst(falling, max_tokens=1000) == pytest.approx(dearest, rel=0.01)
    # Who answers in the place of another brings no fallbacks of its own.
    assert worst(Spread([falling]), max_tokens=1000) == pytest.approx(dearest / 5, rel=0.01)


def test_the_larger_of_two_bounds_counts() -> None:
    assert longest_answer({"max_tokens": 5, "max_completion_tokens": 50}) == 50
    assert longest_answer({"max_tokens": 50, "max_completion_tokens": 5, "n": 2}) == 100


@pytest.mark.parametrize("wrong", [0, -1, 10.5, "200", True])
def test_what_is_no_whole_number_above_0_bounds_nothing(wrong: Any) -> None:
    assert longest_answer({"max_tokens": wrong, "max_completion_tokens": None}) is None
    assert longest_answer({"max_tokens": 100, "max_completion_tokens": wrong}) is None
    assert longest_answer({"max_tokens": 100, "n": wrong}) is None


def test_what_cannot_be_bounded_is_refused() -> None:
    with pytest.raises(InputError, match="a budget needs to know the longest answer"):
        worst(model())
    unknown = iModel(provider="openai", model="a-model-nobody-prices", api_key="k")
    with pytest.raises(InputError, match="a budget needs to know the price of a-model-nobody-prices"):
        worst(unknown, max_tokens=5)


def test_a_mode_without_a_known_price_is_refused_by_its_name() -> None:
    for tier in ("auto", "default", "flex"):
        assert worst(model(), max_tokens=5, service_tier=tier) < 0.01
    with pytest.raises(InputError, match="the price of m with service_tier=priority, which is not listed"):
        worst(model(), max_tokens=5, service_tier="priority")


def test_a_mode_that_the_provider_may_choose_is_reserved_for() -> None:
    known = iModel(provider="openai", model="gpt-5", api_key="k")
    plain = worst(known, max_tokens=1000, service_tier="default")
    assert worst(known, max_tokens=1000) == pytest.approx(2 * plain, rel=0.01)
    assert worst(known, max_tokens=1000, service_tier="priority") == pytest.approx(2 * plain, rel=0.01)


def test_what_nothing_bounds_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match="cannot bound what the field previous_response_id may cost; leave"):
        worst(model(), max_tokens=5, previous_response_id="resp_1")


def test_a_request_that_cannot_be_encoded_has_no_worst_case() -> None:
    claude = iModel(provider="anthropic", model="claude-opus-5", api_key="k")
    with pytest.raises(InvalidRequestError):
        worst(claude, max_tokens=5, messages=[])


class Parrot:
    """A backend of the user's own."""

    name = "parrot"
    defaults: ClassVar[dict[str, Any]] = {"model": "parrot-1"}

    async def call(self, calling: Calling) -> str:
        return "Hello!"


def test_a_backend_of_ones_own_is_bounded_as_a_chat_endpoint() -> None:
    parrot = iModel(Parrot(), prices={"input": 1, "output": 10})
    assert worst(parrot, max_tokens=1000) > 1000 * 10 / 1e6
    with pytest.raises(InputError, match="the price of parrot-1"):
        worst(iModel(Parrot()), max_tokens=1000)


def test_a_run_of_a_command_has_no_bound() -> None:
    claude = iModel(provider="claude_code", model="sonnet")
    with pytest.raises(InputError, match="a run of Claude Code"):
        worst(claude)


def test_a_conversation_counts_as_its_texts() -> None:
    moon = Conversation().add_message("user", "x" * 5000).to_messages()
    short = Conversation().add_message("user", "x").to_messages()
    more = worst(model(), messages=moon, max_tokens=10) - worst(model(), messages=short, max_tokens=10)
    assert 4990 / 1e6 <= more < 5010 / 1e6


def test_an_official_sdk_is_bounded_by_its_arguments() -> None:
    config = ServiceEndpointConfig(
        name="sdk",
        transport_type="sdk",
        api_key="k",
        sdk_config=SdkTransportConfig(
            sdk_provider_name="openai", default_sdk_method_name="chat.completions.create"
        ),
    )
    sdk = iModel(Endpoint(config), prices={"input": 1.0, "output": 10.0})
    plain = worst(sdk, model="gpt-4o", max_tokens=1000, timeout=3)
    assert plain > 1000 * 10 / 1e6
    with pytest.raises(InputError, match="the field web_search_options"):
        worst(sdk, model="gpt-4o", max_tokens=1000, extra_body={"web_search_options": {"x": 1}})
