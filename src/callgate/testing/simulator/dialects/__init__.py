"""The dialects that the simulator speaks, in the order in which a path is offered to them."""

from __future__ import annotations

from callgate.testing.simulator.dialects.base import Dialect, Event, Refusal, Reply, Request
from callgate.testing.simulator.dialects.openai_chat import OpenAIChat, OpenAICompletions

__all__ = ["DIALECTS", "Dialect", "Event", "Refusal", "Reply", "Request"]

DIALECTS: tuple[Dialect, ...] = (OpenAIChat(), OpenAICompletions())
