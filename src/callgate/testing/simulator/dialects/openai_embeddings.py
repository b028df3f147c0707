"""OpenAI embeddings."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import orjson

from callgate.testing.simulator.answers import Ask
from callgate.testing.simulator.dialects.base import Event, Reply, Request, invalid, missing, require
from callgate.testing.simulator.dialects.openai_chat import OpenAIDialect, read_model

__all__ = ["OpenAIEmbeddings"]

_USUAL_DIMENSIONS = 16
_MOST_DIMENSIONS = 4096


class OpenAIEmbeddings(OpenAIDialect):
    """`POST /v1/embeddings`. Equal texts get equal vectors, of length 1 and 16 dimensions unless asked."""

    name: ClassVar[str] = "openai_embeddings"
    paths = re.compile(r"(?:.*/openai/deployments/(?P<deployment>[^/]+)|.*)/embeddings")

    def read(self, request: Request) -> Ask:
        body = request.body
        ask = Ask(self.name, read_model(body, request), body)
        if "input" not in body:
            raise missing("input")
        require(body["input"], (str, list), "input", "a string or an array of strings")
        texts = _texts(body)
        if not texts or "" in texts:
            raise invalid("'$.input' is invalid: it must not be empty.", "input", "invalid_value")
        dimensions = body.get("dimensions", _USUAL_DIMENSIONS)
        if type(dimensions) is not int or not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise invalid(f"Invalid value for 'dimensions' = {dimensions}.", "dimensions", "invalid_value")
        ask.text = texts[-1]
        ask.input_chars = sum(map(len, texts))
        ask.max_tokens = 0  # nothing is written, and none is billed
        return ask

    def whole(self, reply: Reply) -> bytes:
        body = reply.ask.body
        dimensions = body.get("dimensions", _USUAL_DIMENSIONS)
        data = [
            {"object": "embedding", "index": index, "embedding": _vector(text, dimensions)}
            for index, text in enumerate(_texts(body))
        ]
        tokens = reply.ask.input_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return orjson.dumps({"object": "list", "data": data, "model": reply.ask.model, "usage": usage})

    def stream(self, reply: Reply) -> Iterator[Event]:
        yield Event(self.whole(reply))  # there is no stream of embeddings


def _texts(body: dict[str, Any]) -> list[str]:
    given = body["input"]
    return [given] if isinstance(given, str) else [str(text) for text in given]


def _vector(text: str, dimensions: int) -> list[float]:
    raw = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(dimensions)
    values = [byte - 127.5 for byte in raw]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]
