"""Every Python block of the client document (001) runs and does what its prose says.

The blocks come from the document itself. Only import lines and hosts are rewritten; the SDKs are told their
host by the variables they read themselves. What is completed beyond that stands in the test of the block; in
short:

- 2, 3: go on with the imports of block 1.

Where a block sleeps (5, 6, 7, 8), `asyncio.sleep` is made a hundred times as fast; the rates of the limiters
(12, 13, 14) pass in real time.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from callgate import APITimeoutError, AsyncAPIClient
from callgate.network.rate_limiters import TokenBucketRateLimiter
from callgate.testing import Simulator
from tests.documents.blocks import NETWORK_CLIENT, read_blocks, run
from tests.documents.http_service import Answer, Request, serve_in_thread
from tests.policies.limit.window_checker import Admission, fullest_window

BLOCKS = {block.number: block for block in read_blocks(NETWORK_CLIENT)}
EXAMPLE = "https://api.example.com"
IMPORTED: dict[str, Any] = {"asyncio": asyncio, "AsyncAPIClient": AsyncAPIClient}
KEY = "sk-canary-5f3a"


def echo(request: Request) -> Answer:
    """Says what it was asked."""
    return 200, {}, {"method": request.method, "path": request.path}


def failing(status: int, times: int = 1_000_000, headers: dict[str, str] | None = None) -> Any:
    """A service that answers so many times with an error, and then well."""
    left = [times]

    def answer(_: Request) -> Answer:
        left[0] -= 1
        return (status, headers or {}, {"message": "so it is"}) if left[0] >= 0 else (200, {}, {"ok": True})

    return answer


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were slept for; a second takes a hundredth of one."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def nap(delay: float, result: Any = None) -> Any:
        if delay > 0:
            slept.append(delay)
        return await sleep(delay / 100, result)

    monkeypatch.setattr(asyncio, "sleep", nap)
    return slept


def test_the_document_has_nineteen_blocks_and_each_has_a_test_here() -> None:
    tested = {int(name.split("_")[2]) for name in globals() if re.match(r"test_block_\d+_", name)}
    assert tested == set(BLOCKS) == set(range(1, 20))


# -- the client


def test_block_1_makes_requests() -> None:
    with serve_in_thread(echo) as service:
        _, printed = run(BLOCKS[1], {EXAMPLE: service.url})
    assert printed == (
        "Users: {'method': 'GET', 'path': '/users'}\nCreated user: {'method': 'POST', 'path': '/users'}\n"
    )
    assert service.requests[1].json == {"name": "John Doe", "email": "john@example.com"}
    assert {request.headers["user-agent"] for request in service.requests} == {"lionfuncs/0.1.0"}


def test_block_2_sends_every_option() -> None:
    with serve_in_thread(echo) as service:
        _, printed = run(BLOCKS[2], {EXAMPLE: service.url}, **IMPORTED)
    asked = service.requests
    assert [(request.method, request.path) for request in asked] == [
        ("GET", "/users?role=admin&active=true"),
        ("POST", "/login"),
        ("PUT", "/users/123"),
        ("DELETE", "/users/123"),
        ("GET", "/protected"),
        ("GET", "/slow-endpoint"),
    ]
    assert parse_qsl(asked[1].body.decode()) == [("username", "john"), ("password", "secret")]
    assert asked[1].headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked[2].json == {"name": "John Smith", "email": "john.smith@example.com"}
    assert asked[4].headers["authorization"] == "Bearer token123"
    assert printed.count("'path':") == 6


def test_block_3_calls_with_a_dictionary() -> None:
    with serve_in_thread(echo) as service:
        _, printed = run(BLOCKS[3], {EXAMPLE: service.url}, **IMPORTED)
    assert [request.path for request in service.requests] == ["/products?category=electronics", "/orders"]
    assert service.requests[1].json == {"product_id": 123, "quantity": 1}
    assert printed.startswith("Products: {'method': 'GET'")


@pytest.mark.parametrize(
    ("status", "headers", "printed"),
    [
        (429, {"Retry-After": "7"}, "Rate limit exceeded. Retry after: 7.0s\n"),
        (401, {}, "Authentication failed\n"),
        (403, {}, "Authentication failed\n"),
        (404, {}, "Resource not found\n"),
        (500, {}, "Server error\n"),
        (503, {}, "Server error\n"),
        (418, {}, r"API error: 418: .*so it is\n"),
    ],
)
def test_block_4_maps_http_errors_to_types(status: int, headers: dict[str, str], printed: str) -> None:
    with serve_in_thread(failing(status, headers=headers)) as service:
        assert re.fullmatch(printed, run(BLOCKS[4], {EXAMPLE: service.url})[1])


@pytest.mark.parametrize("broken", [True, False])
def test_block_4_maps_what_is_no_http_answer(broken: bool) -> None:
    def cut(_: Request) -> None:
        """None: the connection is cut."""

    if broken:
        with serve_in_thread(cut) as service:
            assert run(BLOCKS[4], {EXAMPLE: service.url})[1] == "Connection error\n"
    else:  # and the port is closed
        assert run(BLOCKS[4], {EXAMPLE: service_that_has_gone()})[1] == "Connection error\n"


def service_that_has_gone() -> str:
    with serve_in_thread(echo) as service:
        return service.url


def test_block_4_reports_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block sets no timeout, so the client's usual ten seconds are made short for it."""
    defaults = AsyncAPIClient.__init__.__defaults__
    assert defaults is not None
    assert defaults[0] == 10.0
    monkeypatch.setattr(AsyncAPIClient.__init__, "__defaults__", (0.05, *defaults[1:]))

    async def silent(_: Request) -> Answer:
        await asyncio.sleep(30)
        raise AssertionError("no test waits this long")

    with serve_in_thread(silent) as service:
        assert run(BLOCKS[4], {EXAMPLE: service.url})[1] == "Request timed out\n"


# -- resilience


def test_block_5_opens_the_circuit_after_three_failures(naps: list[float]) -> None:
    with serve_in_thread(failing(500)) as service:
        _, printed = run(BLOCKS[5], {EXAMPLE: service.url})
    lines = printed.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Error"] * 3 + ["Circuit is open"] * 7
    assert "'api-circuit-breaker'" in lines[-1]
    assert len(service.requests) == 3


def test_block_5_lets_a_healthy_service_be(naps: list[float]) -> None:
    with serve_in_thread(echo) as service:
        _, printed = run(BLOCKS[5], {EXAMPLE: service.url})
    assert printed.count("Data: {") == len(service.requests) == 10


@pytest.mark.parametrize("error", [ConnectionError, APITimeoutError])
def test_block_6_retries_with_growing_delays(naps: list[float], error: type[Exception]) -> None:
    failures = iter([error("1"), error("2")])
    with serve_in_thread(echo) as service:
        namespace, _ = run(BLOCKS[6], {EXAMPLE: service.url})

    class Client:
        async def request(self, method: str, path: str) -> str:
            for failure in failures:
                raise failure
            return f"{method} {path}"

    naps.clear()
    assert asyncio.run(namespace["fetch_data"](Client(), "/data")) == "GET /data"
    assert len(naps) <= 2  # jitter may draw a delay of nothing
    assert sum(naps) <= 1.0 + 2.0


def test_block_6_does_not_retry_what_it_excludes_or_does_not_name(naps: list[float]) -> None:
    for status in (401, 500):
        with serve_in_thread(failing(status)) as service:
            _, printed = run(BLOCKS[6], {EXAMPLE: service.url})
        assert printed.startswith(f"Failed after retries: {status}: ")
        assert len(service.requests) == 1


def test_block_7_retries_inside_and_breaks_outside(naps: list[float]) -> None:
    with serve_in_thread(failing(503, times=3)) as service:
        namespace, printed = run(BLOCKS[7], {EXAMPLE: service.url})
    assert printed == "Data: {'ok': True}\n"
    assert len(service.requests) == 4
    assert namespace["fetch_data"].breaker.metrics["failure_count"] == 0  # it sees the whole, retries and all


def test_block_7_counts_a_call_that_failed_for_good_once(naps: list[float]) -> None:
    with serve_in_thread(failing(503)) as service:
        namespace, printed = run(BLOCKS[7], {EXAMPLE: service.url})
    assert printed.startswith("Failed after retries: 503: ")
    assert len(service.requests) == 4
    assert namespace["fetch_data"].breaker.metrics["failure_count"] == 1


def test_block_8_retries_and_breaks_in_the_client(naps: list[float]) -> None:
    with serve_in_thread(failing(500, times=2)) as service:
        assert run(BLOCKS[8], {EXAMPLE: service.url})[1] == "Data: {'ok': True}\n"
    assert len(service.requests) == 3
    with serve_in_thread(failing(500)) as service:
        _, printed = run(BLOCKS[8], {EXAMPLE: service.url})
    # Retry is outside the breaker: the third failed attempt opens it, and the fourth is refused.
    assert printed.startswith("Failed to fetch data: the circuit breaker 'api-circuit-breaker' is open")
    assert len(service.requests) == 3


# -- SDKs


# Its model has been retired since.
retired = pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Any:
    with Simulator(keys=[KEY], answers=["Hello back!"] * 9) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        yield running


def test_block_9_asks_openai_through_its_sdk(simulator: Simulator) -> None:
    _, printed = run(BLOCKS[9])
    assert printed.startswith("OpenAI response: ChatCompletion(")
    assert "Hello back!" in printed
    assert simulator.stats.requests == 1


def test_block_9_reports_an_error_of_the_sdk(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    _, printed = run(BLOCKS[9])
    assert printed.startswith(
        "Error calling OpenAI API: openai, chat.completions.create: AuthenticationError"
    )


@pytest.mark.parametrize("number", [9, 10])
def test_block_9_and_10_report_a_missing_key(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert run(BLOCKS[number])[1].endswith("environment variable not set\n")


@retired
def test_block_10_asks_anthropic_through_its_sdk(simulator: Simulator) -> None:
    _, printed = run(BLOCKS[10])
    assert printed.startswith("Anthropic response: Message(")
    assert "Hello back!" in printed


@retired
def test_block_11_makes_adapters_by_name(simulator: Simulator) -> None:
    _, printed = run(BLOCKS[11])
    assert printed.startswith("OpenAI response: ChatCompletion(")
    assert "\nAnthropic response: Message(" in printed
    assert simulator.stats.requests == 2


# -- limiters


@pytest.fixture
def admitted(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """When the limiters of a block let a call go, by its path, in seconds of the loop's clock."""
    times: dict[str, list[float]] = {}
    execute = TokenBucketRateLimiter.execute

    async def watched(limiter: Any, func: Any, method: str, path: str, **options: Any) -> Any:
        def noting(*args: str) -> Any:
            times.setdefault(path, []).append(asyncio.get_running_loop().time())
            return func(*args)

        return await execute(limiter, noting, method, path, **options)

    monkeypatch.setattr(TokenBucketRateLimiter, "execute", watched)
    return times


def most_in_a_second(times: list[float]) -> float:
    return fullest_window((Admission(time, 1.0) for time in times), 1.0).amount


def test_block_12_keeps_to_five_requests_a_second(admitted: dict[str, list[float]]) -> None:
    with serve_in_thread(echo) as service:
        _, printed = run(BLOCKS[12], {EXAMPLE: service.url})
    assert [request.path for request in service.requests] == [f"/items/{i}" for i in range(10)]
    assert printed.splitlines()[-1] == "Response 9: {'method': 'GET', 'path': '/items/9'}"
    assert most_in_a_second([time for times in admitted.values() for time in times]) == 5


def test_block_13_keeps_to_a_rate_for_every_endpoint(admitted: dict[str, list[float]]) -> None:
    with serve_in_thread(echo) as service:
        _, printed = run(BLOCKS[13], {EXAMPLE: service.url})
    assert [request.path for request in service.requests] == ["/users", "/orders"] * 5
    assert most_in_a_second(admitted["/users"]) <= 5
    assert most_in_a_second(admitted["/orders"]) == 2
    assert printed.splitlines()[-1] == "Orders response 4: {'method': 'GET', 'path': '/orders'}"


def test_block_14_adapts_to_the_headers(admitted: dict[str, list[float]]) -> None:
    said = {"X-RateLimit-Limit-Requests": "225"}  # in a minute
    with serve_in_thread(lambda _: (200, said, {"ok": True})) as service:
        _, printed = run(BLOCKS[14], {EXAMPLE: service.url})
    assert printed == "".join(f"Response {i}: {{'ok': True}}\n" for i in range(5))
    # Three a second, with the safety factor of 0.8: so many, and not the ten that it began with.
    assert most_in_a_second(admitted["/users"]) == 3


# -- endpoints and headers


def test_block_15_makes_the_payload_and_the_headers_of_an_endpoint() -> None:
    with serve_in_thread(echo) as service:
        _, printed = run(BLOCKS[15], {EXAMPLE: service.url})
    (request,) = service.requests
    assert (request.method, request.path) == ("GET", "/users?limit=10&offset=0")
    assert request.headers["authorization"] == "Bearer your-api-key"
    assert request.headers["x-request-id"] == "123"
    assert printed == "Response: {'method': 'GET', 'path': '/users?limit=10&offset=0'}\n"


def test_block_16_makes_headers() -> None:
    with serve_in_thread(echo) as service:
        run(BLOCKS[16], {EXAMPLE: service.url})
    (request,) = service.requests
    assert request.headers["authorization"] == "Bearer your-api-key"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "lionfuncs/0.1.0"


# -- with other modules


def test_block_17_fetches_many_users_five_at_once_and_retries() -> None:
    failed: set[str] = set()

    async def answer(request: Request) -> Answer:
        await asyncio.sleep(0.1)
        if request.path == "/users/4" and request.path not in failed:
            failed.add(request.path)
            return 500, {}, {}
        return echo(request)

    with serve_in_thread(answer) as service:
        _, printed = run(BLOCKS[17], {EXAMPLE: service.url})
    assert printed == "Fetched 10 users\n"
    assert sorted({request.path for request in service.requests}) == sorted(
        f"/users/{i}" for i in range(1, 11)
    )
    assert len(service.requests) == 11
    assert service.most_running == 5


@pytest.mark.parametrize("content", [b"plain text\n", b"\x00\xff\x01", b'{"some":   "json"}', b"42"])
def test_block_18_downloads_a_file(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serve_in_thread(lambda _: (200, {"Content-Type": "text/plain"}, content)) as service:
        _, printed = run(BLOCKS[18], {EXAMPLE: service.url})
    assert printed == "Downloaded file to: downloads/example.txt\n"
    assert (tmp_path / "downloads" / "example.txt").read_bytes() == content
    assert service.requests[0].path == "/files/example.txt"


def test_block_19_completes_through_executor_and_model() -> None:
    def complete(request: Request) -> Answer:
        assert request.path == "/v1/completions"
        assert request.headers["authorization"] == "Bearer your-api-key"
        asked = request.json
        assert (asked["model"], asked["max_tokens"], asked["temperature"]) == (
            "gpt-3.5-turbo-instruct", 150, 0.7,
        )  # fmt: skip
        return 200, {}, {"choices": [{"text": f"On {asked['prompt']}", "index": 0, "finish_reason": "stop"}]}

    with serve_in_thread(complete) as service:
        _, printed = run(BLOCKS[19], {"https://api.openai.com": service.url})
    assert printed.startswith("Completion: {'choices': [{'text': 'On Write a short poem about programming'")


def test_block_19_prints_the_error_of_a_failed_call() -> None:
    with serve_in_thread(failing(401)) as service:
        _, printed = run(BLOCKS[19], {"https://api.openai.com": service.url})
    assert printed.startswith("Error: 401: ")
    assert KEY not in printed
