"""A real model on a real server, spoken to in four ways: chat, chat streamed, responses, messages.

llama.cpp's server, inside this process, has an endpoint for each dialect; the same prompt gets the same
answer and the same count of tokens in all of them.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from callgate import Calling, Response, StreamChunk, iModel
from callgate.backends.embedded import EmbeddedServer
from callgate.batch.cost.worst_case import worst_of_endpoints

pytest.importorskip("xllamacpp", reason="the extra is not installed: pip install 'callgate[local]'")

ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What is 2+2?"}],
    "temperature": 0,
    "max_tokens": 40,
}
# provider -> what its base URL is, below the server's root
ENDPOINTS = {"local": None, "openai": "/v1", "openai_responses": "/v1", "anthropic": ""}


@pytest.fixture
def root(server: EmbeddedServer) -> str:
    return server.base_url.removesuffix("/v1")


def model_at(root: str, provider: str) -> iModel:
    path = ENDPOINTS[provider]
    settings = {} if path is None else {"base_url": root + path}
    return iModel(provider=provider, model="smollm2", **settings)


def ask(root: str, provider: str, **changes: Any) -> Calling:
    async def main() -> Calling:
        async with model_at(root, provider) as model:
            return await model.invoke(**{**ASKED, **changes})

    return asyncio.run(main())


def stream(root: str, provider: str, **changes: Any) -> list[StreamChunk]:
    async def main() -> list[StreamChunk]:
        async with model_at(root, provider) as model:
            return [chunk async for chunk in model.invoke_stream(**{**ASKED, **changes})]

    return asyncio.run(main())


def assert_sensible(response: Response) -> None:
    assert "4" in response.text
    assert response.finish_reason == "stop"
    assert response.model == "smollm2"
    usage = response.usage
    assert usage is not None
    assert 25 < usage.input_tokens < 60
    assert 3 < usage.output_tokens < 40
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


@pytest.mark.parametrize("provider", ENDPOINTS)
def test_it_answers_sensibly_and_counts_its_tokens(root: str, provider: str) -> None:
    calling = ask(root, provider)
    assert_sensible(calling.response)
    assert len(calling.attempts) == 1


@pytest.mark.parametrize("provider", ENDPOINTS)
def test_it_streams_the_same_in_pieces(root: str, provider: str) -> None:
    chunks = stream(root, provider)
    response = chunks[-1].response
    assert response is not None
    assert_sensible(response)
    assert "".join(map(str, chunks)) == response.text
    assert len(chunks) > 4


def test_every_dialect_gets_the_same_answer_for_the_same_tokens(root: str) -> None:
    answers = [ask(root, provider).response for provider in ENDPOINTS]
    answers += [stream(root, provider)[-1].response for provider in ENDPOINTS]
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.usage.input_tokens for answer in answers if answer.usage}) == 1
    written = [answer.usage.output_tokens for answer in answers if answer.usage]
    assert max(written) - min(written) <= 1, "the end of the answer is a token or none"


# Its Responses endpoint says "completed" of such an answer too.
@pytest.mark.parametrize("provider", ["local", "openai", "anthropic"])
def test_an_answer_that_is_cut_short_says_so(root: str, provider: str) -> None:
    response = ask(root, provider, max_tokens=3).response
    assert response.finish_reason == "length"
    assert response.usage is not None
    assert response.usage.output_tokens == 3


def test_a_structured_answer_is_held_to_its_schema(root: str) -> None:
    class Sum(BaseModel):
        result: int

    calling = ask(root, "local", response_model=Sum, max_tokens=60)
    assert isinstance(calling.response.parsed, Sum)


def test_a_local_answer_costs_nothing_and_a_budget_reserves_nothing_for_it(root: str) -> None:
    async def main() -> tuple[Calling, float]:
        async with model_at(root, "local") as model:
            bound = worst_of_endpoints(model)(await model.create_calling(request_payload=ASKED))
            return await model.invoke(**ASKED), bound

    calling, bound = asyncio.run(main())
    assert calling.cost is not None
    assert calling.cost.total == bound == 0


def test_a_local_model_is_written_down_and_restored(root: str) -> None:
    async def main() -> str:
        async with model_at(root, "local") as model:
            written = json.loads(json.dumps(model.to_dict()))
        async with iModel.from_dict(written) as restored:
            assert restored.to_dict() == written
            return (await restored.invoke(**ASKED)).response.text

    assert "4" in asyncio.run(main())
