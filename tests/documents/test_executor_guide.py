"""Every Python block of the executor document (000) runs and does what its prose says.

The blocks come from the document itself. Only import lines and hosts are rewritten. What is completed beyond
that stands in the test of the block with its reason; in short:

- 2, 3, 7: go on with the imports of earlier blocks; nothing imports `RequestStatus` before block 4.
- 4: `endpoint` is not defined: it is the endpoint of `http_config`.
- 5, 6: parts of a longer program: `executor` and `model` are made in front, and closed at the end.
- 8, 10: `fetch_data` is local to the `main` of block 3.
- 11: both `try` lack their `finally`; `config` and `endpoint` are not defined.
- 12: `config` is not defined.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

import callgate
from callgate import Executor, RequestStatus, iModel
from callgate.testing import Simulator
from callgate.testing.clock import run_virtual
from tests.documents.blocks import NETWORK_EXECUTOR, complete, read_blocks, run
from tests.documents.http_model import COMPLETION, KEY, completing, service_config
from tests.documents.http_service import Answer, Request, in_thread, serve_in_thread
from tests.documents.tasks import answering

BLOCKS = {block.number: block for block in read_blocks(NETWORK_EXECUTOR)}
EXAMPLE = "https://api.example.com"
IMPORTED: dict[str, Any] = {
    "asyncio": asyncio,
    "aiohttp": aiohttp,
    "Executor": Executor,
    "RequestStatus": RequestStatus,
}


def echo(request: Request) -> Answer:
    return 200, {}, {"path": request.path}


def fetching(url: str) -> Callable[[], Awaitable[Any]]:
    """`fetch_data` as block 3 defines it."""

    async def fetch_data() -> Any:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, dict(response.headers), await response.json(content_type=None)

    return fetch_data


@pytest.fixture
def executors(monkeypatch: pytest.MonkeyPatch) -> list[Executor]:
    """The executors that a block makes."""
    made: list[Executor] = []

    class Watched(Executor):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(callgate, "Executor", Watched)
    return made


def test_the_document_has_twelve_blocks_and_each_has_a_test_here() -> None:
    tested = {int(name.split("_")[2]) for name in globals() if re.match(r"test_block_\d+_", name)}
    assert tested == set(BLOCKS) == set(range(1, 13))


def test_block_1_creates_starts_and_stops_an_executor(executors: list[Executor]) -> None:
    run(BLOCKS[1])
    (executor,) = executors
    assert executor.queue_capacity == 1000
    assert not executor.is_running


def test_block_2_uses_it_as_a_context_manager(executors: list[Executor]) -> None:
    run(BLOCKS[2], asyncio=asyncio, Executor=callgate.Executor)
    (executor,) = executors
    assert not executor.is_running


def test_block_3_submits_a_task_and_prints_its_answer() -> None:
    with serve_in_thread(echo) as service:
        _, printed = run(BLOCKS[3], {EXAMPLE: service.url}, **IMPORTED)
        (request,) = service.requests
    assert (request.method, request.path) == ("GET", "/data")
    assert re.search(r"Task submitted with request_id: \S+", printed)
    assert re.search(r"Current status: (RequestStatus\.)?queued", printed, re.IGNORECASE)
    assert "Success! Status code: 200" in printed
    assert "Response body: {'path': '/data'}" in printed


def test_block_3_prints_the_error_of_a_task_that_raises() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        _, printed = run(BLOCKS[3], {EXAMPLE: f"http://127.0.0.1:{taken.getsockname()[1]}"}, **IMPORTED)
    assert "Failed: ClientConnectorError - " in printed


def test_block_4_completes_a_prompt_through_endpoint_executor_and_model() -> None:
    block = complete(
        BLOCKS[4],
        "iModel(endpoint, executor)",
        "iModel(Endpoint(http_config), executor)",
        reason="`endpoint` is defined nowhere; the block makes a configuration and imports Endpoint",
    )
    with serve_in_thread(completing) as service:
        _, printed = run(block, {"https://api.openai.com": service.url})
        (request,) = service.requests
    assert printed == "Completion:\nRoses are red\n"
    assert (request.method, request.path) == ("POST", "/v1/completions")
    assert request.headers["authorization"] == "Bearer your-api-key"
    assert request.headers["user-agent"] == "lionfuncs/0.1.0"
    assert request.json == {
        "model": "gpt-3.5-turbo-instruct",
        "prompt": "Write a short poem about programming",
        "max_tokens": 150,
        "temperature": 0.7,
    }


def test_block_4_completes_a_prompt_at_a_provider_with_quotas() -> None:
    block = complete(
        BLOCKS[4],
        "iModel(endpoint, executor)",
        "iModel(Endpoint(http_config), executor)",
        reason="`endpoint` is defined nowhere; the block makes a configuration and imports Endpoint",
    )
    with in_thread(Simulator(requests_per_minute=60, keys=["your-api-key"])) as sim:
        _, printed = run(block, {"https://api.openai.com/v1": sim.base_url})
        assert sim.stats.requests == 1
    assert printed.startswith("Completion:\n")
    assert len(printed) > len("Completion:\n\n")


def test_block_4_prints_the_error_of_a_call_that_fails() -> None:
    block = complete(
        BLOCKS[4],
        "iModel(endpoint, executor)",
        "iModel(Endpoint(http_config), executor)",
        reason="`endpoint` is defined nowhere; the block makes a configuration and imports Endpoint",
    )
    with in_thread(Simulator(keys=["another-key"])) as sim:
        _, printed = run(block, {"https://api.openai.com/v1": sim.base_url})
    assert printed.startswith("Error: AuthenticationError - ")


CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Roses"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}


def test_block_5_calls_the_official_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "the block goes on inside a program whose executor runs, and ends before that program does"
    block = complete(BLOCKS[5], "", "executor = Executor()\nawait executor.start()\n", reason=why)
    ending = "    # Process the result..."
    block = complete(block, ending, f"{ending}\nawait endpoint.close()\nawait executor.stop()", reason=why)
    names = ("ServiceEndpointConfig", "SdkTransportConfig", "Endpoint", "iModel", "Executor")
    with serve_in_thread(lambda _request: (200, {}, CHAT)) as service:
        monkeypatch.setenv("OPENAI_BASE_URL", service.url + "/v1")
        done, _ = run(block, **{name: getattr(callgate, name) for name in names})
        (request,) = service.requests
    event = done["event"]
    assert event.status is RequestStatus.COMPLETED, event.error
    assert event.response_body["choices"][0]["message"]["content"] == "Roses"
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer your-api-key"
    assert request.headers["openai-organization"] == "your-org-id"
    assert request.json["model"] == "gpt-4"
    assert request.json["messages"][1]["content"] == "Write a short poem about programming"


def test_block_6_still_has_acompletion() -> None:
    why = "the block goes on inside a program that has made the model"
    made = (
        "executor = Executor()\nawait executor.start()\nendpoint = Endpoint(config)\n"
        "model = iModel(endpoint, executor)\n"
    )
    block = complete(BLOCKS[6], "", made, reason=why)
    ending = "    num_tokens_to_consume=200  # Estimate of token usage\n)"
    block = complete(block, ending, f"{ending}\nawait endpoint.close()\nawait executor.stop()", reason=why)
    with serve_in_thread(completing) as service:
        config = service_config(service.url + "/v1/completions")
        done, _ = run(block, Executor=Executor, Endpoint=callgate.Endpoint, iModel=iModel, config=config)
        (request,) = service.requests
    assert done["event"].status is RequestStatus.COMPLETED, done["event"].error
    assert done["event"].num_api_tokens_needed == 200
    assert request.json["prompt"] == "Write a short poem about programming"
    assert (request.json["max_tokens"], request.json["temperature"]) == (150, 0.7)


def test_block_7_handles_several_tasks_at_once() -> None:
    async def slowly(request: Request) -> Answer:
        await asyncio.sleep(0.05)
        return echo(request)

    with serve_in_thread(slowly) as service:
        block = BLOCKS[7]
        _, printed = run(block, {EXAMPLE: service.url}, **IMPORTED)
    assert printed == "".join(f"Task {i} completed with status code: 200\n" for i in range(5))
    assert service.most_running == 5
    assert sorted(request.path for request in service.requests) == [f"/data/{i}" for i in range(1, 6)]


def test_block_8_watches_the_life_of_a_request() -> None:
    async def slowly(request: Request) -> Answer:
        await asyncio.sleep(0.25)
        return echo(request)

    with serve_in_thread(slowly) as service:
        fetch_data = fetching(service.url + "/data")
        _, printed = run(BLOCKS[8], {EXAMPLE: service.url}, **IMPORTED, fetch_data=fetch_data)
    assert re.search(r"Status changed: \S+ -> (RequestStatus\.)?calling", printed, re.IGNORECASE)
    assert re.search(r"API call started at: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*\+00:00", printed)
    assert re.search(r"Final status: (RequestStatus\.)?completed", printed, re.IGNORECASE)
    assert re.search(r"Completed at: \d{4}-\d\d-\d\d .*\+00:00", printed)
    assert re.search(r"Request logs:\n(  \S.*\n){3,}", printed)
    times = dict(re.findall(r"^(.*ime.*): (\d+\.\d\d) seconds$", printed, re.MULTILINE))
    assert set(times) == {
        "Total time",
        "Time in queue",
        "Processing time (waiting for rate limits)",
        "API call time",
    }
    assert float(times["API call time"]) >= 0.2


def test_block_9_allows_bursts_of_up_to_a_hundred_requests() -> None:
    done, _ = run(BLOCKS[9], Executor=Executor)
    executor: Executor = done["executor"]
    started: list[float] = []

    async def main() -> None:
        async with executor:
            for _ in range(300):
                await executor.submit_task(answering(log=started), num_api_tokens_needed=1)

    run_virtual(main())
    assert started.count(0.0) == 100


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, {}, {"a": 1}), "Success: {'a': 1}\n"),
        ((429, {"Retry-After": "7"}, {}), "Rate limit exceeded. Retry after: 7\n"),
        ((429, {"retry-after": "7"}, {}), "Rate limit exceeded. Retry after: 7\n"),
        ((404, {}, {"no": "such"}), "Client error: 404 - {'no': 'such'}\n"),
        ((503, {}, {"be": "back"}), "Server error: 503 - {'be': 'back'}\n"),
    ],
)
def test_block_10_distinguishes_status_codes(answer: Answer, expected: str) -> None:
    with serve_in_thread(lambda _request: answer) as service:
        fetch_data = fetching(service.url + "/data")
        _, printed = run(BLOCKS[10], {EXAMPLE: service.url}, **IMPORTED, fetch_data=fetch_data)
    assert printed == expected


def test_block_10_reports_a_refused_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        fetch_data = fetching(f"http://127.0.0.1:{taken.getsockname()[1]}")
        _, printed = run(BLOCKS[10], **IMPORTED, fetch_data=fetch_data)
    assert printed == "Connection error. Check network connectivity.\n"


def test_block_10_reports_a_timeout() -> None:
    async def fetch_data() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(1)

    _, printed = run(BLOCKS[10], **IMPORTED, fetch_data=fetch_data)
    assert printed == "Request timed out.\n"


def test_block_10_prints_type_message_and_details_of_any_other_error() -> None:
    async def fetch_data() -> None:
        raise LookupError("nothing found")

    _, printed = run(BLOCKS[10], **IMPORTED, fetch_data=fetch_data)
    assert printed.startswith("Error: LookupError - nothing found\nDetails: ")
    assert "in fetch_data" in printed


def test_block_11_cleans_up_by_hand(executors: list[Executor]) -> None:
    why = "both `try` have neither `except` nor `finally`; the endpoint is the one the model has made"
    block = complete(
        BLOCKS[11],
        "            # Process the event...\n",
        "            # Process the event...\n        finally:\n            endpoint = model.backend\n",
        reason=why,
    )
    block = complete(
        block,
        "        await endpoint.close()\n",
        "        await endpoint.close()\n"
        "    finally:\n        await executor.stop()\n    return event, endpoint\n",
        reason=why,
    )
    block = complete(
        block, "asyncio.run(main())", "done = asyncio.run(main())", reason="to look at the event"
    )
    with serve_in_thread(completing) as service:
        config = {"base_url": service.url + "/v1", "endpoint": "completions", "api_key": KEY}
        done, _ = run(block, asyncio=asyncio, Executor=callgate.Executor, iModel=iModel, config=config)
    event, endpoint = done["done"]
    assert event.status is RequestStatus.COMPLETED, event.error
    assert event.response_body == COMPLETION
    assert not executors[0].is_running
    with pytest.raises(RuntimeError):
        endpoint.get_client()


def test_block_12_cleans_up_by_context_managers(executors: list[Executor]) -> None:
    block = complete(
        BLOCKS[12],
        "                # Process the event...\n",
        "                # Process the event...\n    return event, endpoint\n",
        reason="to look at the event",
    )
    block = complete(
        block, "asyncio.run(main())", "done = asyncio.run(main())", reason="to look at the event"
    )
    with serve_in_thread(completing) as service:
        names: dict[str, Any] = {
            "Executor": callgate.Executor,
            "Endpoint": callgate.Endpoint,
            "iModel": iModel,
        }
        config = service_config(service.url + "/v1/completions")
        done, _ = run(block, asyncio=asyncio, config=config, **names)
    event, endpoint = done["done"]
    assert event.status is RequestStatus.COMPLETED, event.error
    assert not executors[0].is_running
    with pytest.raises(RuntimeError):
        endpoint.get_client()
