"""A simulated provider of language models: strict quotas, seeded answers and faults, exact counts.

The path selects the provider; OpenAI's and Anthropic's paths may have any prefix:

| dialect | paths |
|---|---|
| OpenAI | `/v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/models` |
| Azure, Groq, OpenRouter | `/openai/deployments/{d}/chat/completions`, `/openai/v1/...`, `/api/v1/...` |
| Anthropic | `/v1/messages`, `/v1/messages/count_tokens` |
| Gemini | `/v1beta/models/{m}:generateContent`, `:streamGenerateContent`, `:countTokens` |
| Bedrock | `/model/{id}/converse`, `/converse-stream`, `/invoke`, `/invoke-with-response-stream` |
| Vertex | `.../endpoints/openapi/chat/completions`, `.../models/{m}:rawPredict`, `/token` |

`GET /stats` and `POST /reset` control the simulator. `SimulatedProvider` is the provider without a socket: it
turns requests into plans. Checks run in this order, and the first that fails decides the error: key, JSON,
shape, model, context length, quota, fault.
"""

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
