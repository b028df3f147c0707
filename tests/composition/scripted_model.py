"""A model over a scripted backend, and checks that nothing is left behind after a test."""

from __future__ import annotations

import asyncio
from typing import Any

from callgate.model.model import iModel
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from tests.policies.scripted_service import Scripted, now

__all__ = ["NO_JITTER", "assert_nothing_left", "breaker", "make_backend", "make_model", "timers", "used"]

# Waits of exactly 1, 2, 4 ... seconds.
NO_JITTER = RetryConfig(jitter=False)


def make_backend(*steps: Any, retry: RetryConfig | None = NO_JITTER, **attributes: Any) -> Any:
    """A backend with these steps; `retry`, `circuit_breaker` and `timeout` become its attributes."""
    backend: Any = Scripted(*steps)
    backend.retry_config = retry
    for name, value in attributes.items():
        setattr(backend, name, value)
    return backend


def breaker(**settings: Any) -> CircuitBreaker:
    """A circuit breaker on the loop's clock."""
    return CircuitBreaker(clock=now, **settings)


def make_model(*steps: Any, model: dict[str, Any] | None = None, **backend: Any) -> tuple[iModel, Any]:
    """A model and its backend. `model` holds keywords for the model's constructor."""
    made = make_backend(*steps, **backend)
    return iModel(backend=made, **{"limit_concurrency": None, **(model or {})}), made


def used(model: iModel, resource: str = "tokens") -> float:
    """Tokens (or requests) that the model's limiter has charged in the window that ends now."""
    rate = getattr(model.limiter.snapshot(), resource)
    assert rate is not None
    used: float = rate.used
    return used


def timers() -> int:
    """Timers that are set in the running loop."""
    loop: Any = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in loop._scheduled)


async def assert_nothing_left(model: iModel, *, idle: float = 3600.0) -> None:
    """Fail when a permit, a queued call or a task is left, or a timer that keeps rescheduling itself."""
    await asyncio.sleep(0)
    assert (model.limiter.in_flight, model.limiter.waiting) == (0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(idle)
    assert timers() == 0
