"""A simulated provider of language models: strict quotas, drawn answers and faults, a count of everything.

Which provider it is, the path decides; any prefix may stand before the paths of OpenAI and Anthropic:

| dialect | paths |
|---|---|
| OpenAI | `/v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/models` |
| Azure, Groq, OpenRouter | `/openai/deployments/{d}/chat/completions`, `/openai/v1/...`, `/api/v1/...` |
| Anthropic | `/v1/messages`, `/v1/messages/count_tokens` |
| Gemini | `/v1beta/models/{m}:generateContent`, `:streamGenerateContent`, `:countTokens` |
| Bedrock | `/model/{id}/converse`, `/converse-stream`, `/invoke`, `/invoke-with-response-stream` |
| Vertex | `.../endpoints/openapi/chat/completions`, `.../models/{m}:rawPredict`, `/token` |

`GET /stats` and `POST /reset` are its own. `SimulatedProvider` is the same without a socket: requests in,
plans out. Wherever a request can fail in several ways, it fails in this order: key, JSON, shape, model,
context length, quota, fault.
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
