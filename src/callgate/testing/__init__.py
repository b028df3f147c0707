"""What people test their own programs with: a provider that holds its quotas strictly, and a virtual clock.

`Simulator` and `SimulatedProvider` are loaded when they are first asked for, so that a test which only wants
the clock does not load an HTTP server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callgate.testing.simulator import (
        Answer,
        Chunk,
        Ending,
        Plan,
        SimulatedProvider,
        SimulatedToolCall,
        Simulator,
    )

__all__ = [
    "Answer",
    "Chunk",
    "Ending",
    "Plan",
    "SimulatedProvider",
    "SimulatedToolCall",
    "Simulator",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("callgate.testing.simulator"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
