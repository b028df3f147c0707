"""How many calls a model makes at once when nobody says, and when somebody does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate import ConfigurationError, Spread, Tool, iModel
from callgate.backends.claude_code import ClaudeCodeEndpoint
from callgate.call.calling import Calling
from callgate.model.builder import make_pricer
from callgate.response import Response, Usage
from callgate.testing import run_virtual


class ThreeAtOnce:
    """A backend that says how much it bears."""

    name = "own"
    concurrency = 3

    async def call(self, calling: Any) -> str:
        return "done"


def at_once(**settings: Any) -> int | None:
    return iModel(**settings).limiter.snapshot().concurrency


def test_an_endpoint_has_it_found_out() -> None:
    assert at_once(provider="openai", api_key="k") == 20, "where finding out begins"


@pytest.mark.parametrize(
    ("backend", "bears"), [(ClaudeCodeEndpoint(), 4), (ThreeAtOnce(), 3), (Tool(len), None)]
)
def test_a_backend_may_say_how_much_it_bears(backend: Any, bears: int | None) -> None:
    assert at_once(backend=backend) == bears
    assert at_once(backend=backend, limit_concurrency=7) == 7
    assert at_once(backend=backend, limit_concurrency=None) is None


@pytest.mark.parametrize("wrong", ["automatic", 2.5, True, 0, -1])
def test_anything_else_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="concurrency"):
        iModel(provider="openai", api_key="k", limit_concurrency=wrong)


def test_a_prompt_in_place_of_a_calling_is_refused_with_a_hint() -> None:
    async def main() -> None:
        async with iModel(backend=ThreeAtOnce()) as model:
            question: Any = "Hello!"
            with pytest.raises(TypeError, match=r"not a str: invoke\(messages=.*or invoke\(prompt="):
                await model.invoke(question)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache": 5}, "cache must be a path or a CacheStore, got int"),
        ({"fallbacks": "openai"}, "fallbacks must be a list of models"),
        ({"fallbacks": ["openai/gpt-4o-mini"]}, "fallbacks must be a list of models"),
        ({"layers": 5}, "layers must be a sequence of UserLayer"),
        ({"retry_config": {"max_retry": 5}}, "unknown setting max_retry; did you mean max_retries"),
        ({"circuit_breaker": {"failures": 5}}, "circuit_breaker: unknown setting failures"),
        ({"executor": 5}, "executor must be an Executor, got int"),
        ({"rate_limiter": 5}, "rate_limiter must have `await acquire"),
        ({"hook_registry": [print]}, "hook_registry must be a HookRegistry, got list"),
        ({"queue_capacity": "many"}, "queue_capacity must be a whole number from 1, got 'many'"),
        ({"tags": 5}, "tags must be a list of strings, got 5"),
        ({"tags": "llm"}, "tags must be a list of strings, got 'llm'"),
        ({"name": 5}, "name must be a string, got 5"),
        ({"limit_requests": "500"}, "limit_requests must be a positive, finite number, got '500'"),
        ({"limit_tokens": 0}, "limit_tokens must be a positive, finite number, got 0"),
        ({"limit_burst": 5}, "limit_burst needs limit_requests"),
        ({"limit_burst": 0, "limit_requests": 5}, "limit_burst must be a positive, finite number, got 0"),
        ({"limit_burst": 6, "limit_requests": 5}, "limit_burst must be at most limit_requests=5, got 6"),
        ({"headers": ["x-tag: blue"]}, "headers must be a mapping"),
        ({"prices": (0.15, 0.6)}, "prices must be a mapping"),
        ({"prices": {"in": 0.15, "out": 0.6}}, "not 'in', 'out'"),
        (
            {"prices": {"input": "0.15", "output": 0.6}},
            "the price 'input' must be US dollars from 0",
        ),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        iModel("openai/gpt-4o-mini", api_key="k", **settings)


@pytest.mark.parametrize(("burst", "at_once"), [(None, 10), (1, 1), (30, 30)])
def test_a_burst_is_sent_at_once_and_no_window_holds_more_than_the_quota(
    burst: int | None, at_once: int
) -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        sent: list[float] = []

        class Clock:
            name = "clock"

            async def call(self, calling: Calling) -> str:
                sent.append(loop.time())
                return "late"

        async with iModel(backend=Clock(), limit_requests=60, limit_burst=burst) as model:
            await asyncio.gather(*(model.invoke(prompt=f"Call {number}") for number in range(90)))
        return sent

    sent = run_virtual(main())
    assert sum(at == sent[0] for at in sent) == at_once
    assert all(later - earlier > 60.0 for earlier, later in zip(sent, sent[60:], strict=False))


def test_a_repr_names_the_model() -> None:
    assert repr(iModel("openai/gpt-4o-mini", api_key="k")).startswith(
        "<iModel 'openai_chat' gpt-4o-mini <End"
    )
    assert repr(iModel(backend=ThreeAtOnce())).startswith("<iModel 'own' <")


def test_a_spread_of_something_else_than_models_is_refused() -> None:
    for wrong in ("openai", [5]):
        with pytest.raises(ConfigurationError, match="models must be a list of models"):
            Spread(wrong)  # type: ignore[arg-type]


def test_a_response_model_that_is_no_model_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match="must be a pydantic model class"):
            await iModel("openai/gpt-4o-mini", api_key="k").ask("Hi", response_model={"a": 1})  # type: ignore[arg-type]

    asyncio.run(main())


def test_an_arn_is_priced_as_the_model_behind_it() -> None:
    model = iModel(provider="bedrock", region="us-east-1", access_key="AKIA", secret_key="s3cr3t")
    cost = make_pricer(model.backend, None)
    response = Response(usage=Usage(1000, 1000))
    arn = {"model": "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"}
    assert cost(response, arn) is None
    claude = "anthropic.claude-3-haiku-20240307-v1:0"
    assert cost(response, {**arn, "base_model": claude}) == cost(response, {"model": claude}) is not None
