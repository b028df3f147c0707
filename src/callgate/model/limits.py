"""The limits of a model that has an executor of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from callgate.backends.service import ServiceBackend, describe
from callgate.errors import ConfigurationError
from callgate.executor.executor import Executor
from callgate.policies.limit.adaptive import AdaptiveConcurrency

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a model's own executor.

    Raises:
        ConfigurationError: when a rate, the period or the burst is no positive, finite number; or a burst is
            larger than the rate, or stands without one.
    """

    queue_capacity: int
    capacity_refresh_time: float
    limit_requests: float | None
    limit_tokens: float | None
    limit_concurrency: int | str | None
    limit_burst: float | None = None

    def __post_init__(self) -> None:
        for name in ("limit_requests", "limit_tokens", "capacity_refresh_time", "limit_burst"):
            value = getattr(self, name)
            if value is None and name != "capacity_refresh_time":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ConfigurationError(
                    f"{name} must be a positive, finite number, got {value!r}", setting=name
                )
        if self.limit_burst is None:
            return
        if self.limit_requests is None:
            raise ConfigurationError("limit_burst needs limit_requests", setting="limit_burst")
        if self.limit_burst > self.limit_requests:
            raise ConfigurationError(
                f"limit_burst must be at most limit_requests={self.limit_requests:g},"
                f" got {self.limit_burst:g}",
                setting="limit_burst",
            )

    def to_executor(self, backend: ServiceBackend) -> Executor:
        """An executor with these limits.

        Concurrency "auto" is what the backend says of itself; an endpoint that says nothing has it found
        out, and anything else has none.

        Raises:
            ConfigurationError: when `limit_concurrency` is something else.
        """
        concurrency, adaptive = self.limit_concurrency, None
        if concurrency == "auto":
            concurrency = describe(backend).concurrency
            if concurrency == "auto":
                concurrency, adaptive = None, AdaptiveConcurrency()
        if not (concurrency is None or type(concurrency) is int):
            raise ConfigurationError(
                f'limit_concurrency must be a whole number, "auto" or None, got {concurrency!r}',
                setting="limit_concurrency",
            )
        return Executor(
            queue_capacity=self.queue_capacity,
            concurrency_limit=concurrency,
            requests_rate=self.limit_requests,
            requests_period=self.capacity_refresh_time,
            requests_bucket_capacity=self.limit_burst,
            api_tokens_rate=self.limit_tokens,
            api_tokens_period=self.capacity_refresh_time,
            adaptive=adaptive,
        )

    def to_dict(self) -> dict[str, Any]:
        """By the names of the constructor."""
        return {name: getattr(self, name) for name in self.__slots__}
