"""What a model is, as JSON, and back: everything that can be written, and nothing shared by surprise."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from callgate import (
    CircuitBreaker,
    ConfigurationError,
    EndpointConfig,
    Executor,
    RetryConfig,
    ServiceEndpointConfig,
    Tool,
    iModel,
)
from callgate.backends.endpoint import Endpoint
from callgate.testing import Simulator

HELLO = {"messages": [{"role": "user", "content": "Hello!"}]}


def gpt(**settings: Any) -> iModel:
    return iModel(**{"provider": "openai", "api_key": "OPENAI_API_KEY", "model": "gpt-4o-mini", **settings})


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-2")


def there_and_back(model: iModel) -> iModel:
    written = json.loads(json.dumps(model.to_dict()))
    restored = iModel.from_dict(written)
    assert restored.to_dict() == written
    assert restored.id != model.id
    return restored


def test_everything_that_was_said_of_it_comes_back(tmp_path: Path) -> None:
    model = gpt(
        temperature=0.2,
        timeout=12.0,
        headers={"X-Team": "moon"},
        retry_config=RetryConfig(max_retries=7, base_delay=0.5),
        circuit_breaker=CircuitBreaker(failure_threshold=2, recovery_time=9.0),
        limit_requests=10,
        limit_tokens=1000,
        limit_concurrency=3,
        capacity_refresh_time=30,
        queue_capacity=5,
        prices={"input": 1.0, "output": 2.0},
        cache=tmp_path / "cache",
        name="mine",
        tags=["llm", "cheap"],
    )
    restored = there_and_back(model)
    backend = restored.backend
    assert (restored.name, restored.tags) == ("mine", {"llm", "cheap"})
    assert backend.defaults == {"model": "gpt-4o-mini", "temperature": 0.2}
    assert (backend.timeout, backend.config.default_headers) == (12.0, {"X-Team": "moon"})
    assert (backend.retry_config.max_retries, backend.retry_config.base_delay) == (7, 0.5)
    assert (backend.circuit_breaker.failure_threshold, backend.circuit_breaker.recovery_time) == (2, 9.0)
    limits = restored.limiter.snapshot()
    assert (limits.requests.quota.rate, limits.requests.quota.period) == (10, 30)
    assert (limits.tokens.quota.rate, limits.concurrency) == (1000, 3)
    assert restored.executor.queue_capacity == 5


def test_no_retry_stays_no_retry() -> None:
    assert there_and_back(gpt(retry_config=None)).backend.retry_config is None


def test_the_limits_of_an_executor_that_was_given_are_not_lost() -> None:
    executor = Executor(concurrency_limit=2, requests_rate=3.0, requests_period=4.0, api_tokens_rate=500.0)
    one, two = gpt(executor=executor), gpt(executor=executor)
    restored = [there_and_back(one), there_and_back(two)]
    for model in restored:
        limits = model.limiter.snapshot()
        assert limits.concurrency == 2
        assert (limits.requests.quota.rate, limits.requests.quota.period) == (3.0, 4.0)
        assert limits.tokens.quota.rate == 500.0
    assert restored[0].executor is not restored[1].executor, "nobody is left who could share one"


def test_a_restored_model_opens_and_closes_the_executor_it_has_got() -> None:
    async def main() -> None:
        async with Simulator() as sim:
            async with Executor(requests_rate=100.0) as executor:
                written = gpt(base_url=sim.base_url, executor=executor).to_dict()
            async with iModel.from_dict(written) as model:
                assert (await model.invoke(**HELLO)).error is None
            assert not model.executor.is_running

    asyncio.run(main())


def test_fallbacks_are_written_with_it_and_closed_with_it() -> None:
    async def main() -> None:
        async with Simulator(answers=[500, "from the second"]) as sim:
            claude = iModel(
                provider="anthropic", base_url=sim.url, api_key="ANTHROPIC_API_KEY", model="claude-sonnet-4-5"
            )
            model = gpt(base_url=sim.base_url, retry_config=None, fallbacks=[claude])
            async with there_and_back(model) as restored:
                calling = await restored.invoke(**HELLO)
            assert calling.response.text == "from the second"
            assert calling.completed_by == "anthropic_messages"
            with pytest.raises(RuntimeError, match="closed"):
                await restored.fallbacks[0].invoke(**HELLO)
            assert (await claude.invoke(**HELLO)).error is None, "the original belongs to whoever made it"
            await claude.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "config",
    [
        EndpointConfig(
            name="users", provider="own", base_url="https://api.example.com", endpoint="users", method="get"
        ),
        ServiceEndpointConfig(name="rest", transport_type="http", base_url="https://api.example.com"),
    ],
    ids=["EndpointConfig", "ServiceEndpointConfig"],
)
def test_an_endpoint_of_ones_own_is_written_by_its_configuration(config: Any) -> None:
    restored = there_and_back(iModel(backend=Endpoint(config)))
    assert restored.backend.config == config
    assert restored.name == config.name


def test_what_cannot_be_written_says_so() -> None:
    tool = iModel(backend=Tool(len))
    with pytest.raises(NotImplementedError, match="len"):
        tool.to_dict()
    with pytest.raises(NotImplementedError, match="len"):
        gpt(fallbacks=[tool]).to_dict()


@pytest.mark.parametrize("data", [{}, {"callgate": 1}, {"callgate": 2, "backend": {"kind": "endpoint"}}])
def test_what_is_no_model_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="to_dict"):
        iModel.from_dict(data)
