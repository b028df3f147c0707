"""Tools for tests: a simulated provider with strict quotas, and a virtual clock for asyncio.

    async with Simulator(requests_per_minute=600, faults={"500": 0.02}) as sim:
        ...  # a client pointed at sim.base_url
    assert sim.stats.refused == 0

Names are loaded lazily: a test that only uses the clock does not import the HTTP server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callgate.testing.clock import DeadlockError, VirtualClock, run_virtual
    from callgate.testing.memory import MemoryTransport
    from callgate.testing.simulator import (
        Answer,
        Ask,
        Chunk,
        Ending,
        Options,
        Plan,
        SimulatedProvider,
        SimulatedToolCall,
        Simulator,
        content_of,
    )

__all__ = [
    "Answer",
    "Ask",
    "Chunk",
    "DeadlockError",
    "Ending",
    "MemoryTransport",
    "Options",
    "Plan",
    "SimulatedProvider",
    "SimulatedToolCall",
    "Simulator",
    "VirtualClock",
    "content_of",
    "run_virtual",
]

_HOMES = dict.fromkeys(("DeadlockError", "VirtualClock", "run_virtual"), "clock") | {
    "MemoryTransport": "memory"
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'simulator')}"), name)


def __dir__() -> list[str]:
    return __all__
