"""A simulated provider without sockets, on a virtual clock, and engines that call it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from callgate.batch.engine import Engine
from callgate.model.model import iModel
from callgate.testing import MemoryTransport, Options, SimulatedProvider, VirtualClock

T = TypeVar("T")


class Simulation:
    """One clock and one provider; `options` go to the provider."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.provider = SimulatedProvider(Options(**options), clock=self.clock.time)
        self._settings: dict[str, Any] = {
            "model": "gpt-4o-mini",
            "api_key": "sk-x",
            "base_url": MemoryTransport.base_url,
            "transport": MemoryTransport(self.provider),
        }

    @property
    def stats(self) -> Any:
        """The provider's counters."""
        return self.provider.stats

    def model(self, **settings: Any) -> iModel:
        """A model of this provider."""
        return iModel(provider="openai", **self._settings, **settings)

    def engine(self, most: int | None = 32, **settings: Any) -> Engine:
        """An engine with a model of its own."""
        return Engine("openai", None, most, **self._settings, **settings)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the clock, in a new loop."""
        return self.clock.run(coroutine)
