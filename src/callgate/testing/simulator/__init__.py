"""A simulated provider: strict quotas, drawn answers and faults, and a count of everything."""

from __future__ import annotations

from callgate.testing.simulator.answers import Answer, Ask, SimulatedToolCall
from callgate.testing.simulator.options import Options
from callgate.testing.simulator.plan import Chunk, Ending, Plan
from callgate.testing.simulator.provider import SimulatedProvider
from callgate.testing.simulator.server import Simulator
from callgate.testing.simulator.stats import KeyStats, Stats, Utilisation, content_of

__all__ = [
    "Answer",
    "Ask",
    "Chunk",
    "Ending",
    "KeyStats",
    "Options",
    "Plan",
    "SimulatedProvider",
    "SimulatedToolCall",
    "Simulator",
    "Stats",
    "Utilisation",
    "content_of",
]
