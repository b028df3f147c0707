"""One plain and one streamed request per dialect, sent to a simulated provider."""

from __future__ import annotations

import orjson

from callgate.testing.simulator import Options, SimulatedProvider

TEXT = "Lisbon is sunny today."


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


OPENAI_TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]


FLAT_TOOLS = [{"type": "function", "name": "get_weather", "parameters": SCHEMA}]


CLAUDE_TOOLS = [{"name": "get_weather", "input_schema": SCHEMA}]


USER = [{"role": "user", "content": "Hello"}]


PARTS = [{"role": "user", "parts": [{"text": "Hello"}]}]


BLOCKS = [{"role": "user", "content": [{"text": "Hello"}]}]


VERTEX = "/v1/projects/p/locations/l"


CLAUDE = {"max_tokens": 50, "messages": USER, "tools": CLAUDE_TOOLS}


# name: path of a plain call, path of a streamed one, body of a plain one, what a streamed one adds to it
CALLS: dict[str, tuple[str, str, dict, dict]] = {
    "chat": ("/v1/chat/completions",) * 2
    + ({"model": "m", "messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "azure": ("/openai/deployments/d/chat/completions?api-version=1",) * 2
    + ({"messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "groq": ("/openai/v1/chat/completions",) * 2
    + ({"model": "m", "messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "openrouter": ("/api/v1/chat/completions",) * 2
    + ({"model": "m", "messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "vertex chat": (f"{VERTEX}/endpoints/openapi/chat/completions",) * 2
    + ({"model": "m", "messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "completions": ("/v1/completions",) * 2 + ({"model": "m", "prompt": "Hello"}, {"stream": True}),
    "responses": ("/v1/responses",) * 2
    + ({"model": "m", "input": "Hello", "tools": FLAT_TOOLS}, {"stream": True}),
    "anthropic": ("/v1/messages",) * 2 + ({"model": "m", **CLAUDE}, {"stream": True}),
    "vertex claude": (
        f"{VERTEX}/publishers/anthropic/models/m:rawPredict",
        f"{VERTEX}/publishers/anthropic/models/m:streamRawPredict",
        {"anthropic_version": "vertex-2023-10-16", **CLAUDE},
        {},
    ),
    "gemini": (
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {"contents": PARTS, "tools": [{"functionDeclarations": [{"name": "get_weather"}]}]},
        {},
    ),
    "gemini array": (
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent",
        {"contents": PARTS},
        {},
    ),
    "bedrock invoke": (
        "/model/m%3A0/invoke",
        "/model/m%3A0/invoke-with-response-stream",
        {"anthropic_version": "bedrock-2023-05-31", **CLAUDE},
        {},
    ),
    "bedrock converse": ("/model/m%3A0/converse", "/model/m%3A0/converse-stream", {"messages": BLOCKS}, {}),
}


HEADERS = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}


def call(name: str, *, stream: bool = False, body: dict | None = None, headers=HEADERS, times=1, **options):
    provider = SimulatedProvider(Options(**options), clock=lambda: 0.0)
    plain, streamed, given_body, more = CALLS[name]
    whole = given_body if body is None else body
    whole = {**whole, **more} if stream else whole
    for _ in range(times):
        plan = provider.handle("POST", streamed if stream else plain, headers, orjson.dumps(whole))
    return plan


def error(plan):
    return orjson.loads(plan.body)["error"]
