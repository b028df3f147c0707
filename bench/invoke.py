"""The price of a call: `iModel.invoke` with executor, request and token limits, retry and breaker on.

    taskset -c 1 python bench/invoke.py PORT [REQUESTS] [CONCURRENCY] [AUTHORITY]

With the PEM file of an authority it speaks TLS.

Prints requests/s and CPU microseconds per request, as floor.py does.
"""

import asyncio
import resource
import sys
import time

import uvloop

from callgate import CircuitBreaker, Executor, OAIChatEndpoint, RetryConfig, iModel

PORT = sys.argv[1]
REQUESTS = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
CONCURRENCY = int(sys.argv[3]) if len(sys.argv) > 3 else 64
AUTHORITY = sys.argv[4] if len(sys.argv) > 4 else None
MESSAGES = [{"role": "user", "content": "hello " * 40}]


async def main() -> None:
    endpoint = OAIChatEndpoint(
        base_url=f"{'https' if AUTHORITY else 'http'}://127.0.0.1:{PORT}/v1",
        api_key="k",
        model="m",
        retry_config=RetryConfig(),
        circuit_breaker=CircuitBreaker(),
        client_kwargs={} if AUTHORITY is None else {"verify": AUTHORITY},
    )
    limits = Executor(
        concurrency_limit=CONCURRENCY,
        requests_rate=100_000_000,
        requests_period=60.0,
        api_tokens_rate=100_000_000_000,
        api_tokens_period=60.0,
    )
    async with limits as executor, iModel(endpoint, executor) as model:
        todo = iter(range(REQUESTS))

        async def worker() -> None:
            for _ in todo:
                calling = await model.invoke(messages=MESSAGES, temperature=0.3)
                assert calling.response.text

        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{REQUESTS / seconds:.0f} requests/s, {used / REQUESTS * 1e6:.1f} us CPU a request")


uvloop.run(main())
