"""Any coroutine function within limits, first come, first served.

    python examples/rate_limited_function.py

At most 5 calls run at once, and 20 begin in any second.
"""

import asyncio
from functools import partial

from callgate import Executor


async def look_up(name: str) -> str:
    await asyncio.sleep(0.01)  # an API of your own
    return name.upper()


async def main() -> None:
    async with Executor(concurrency_limit=5, requests_rate=20.0) as executor:
        names = ("ada", "grace", "alan")
        calls = [await executor.submit_task(partial(look_up, name)) for name in names]
        for call in calls:
            await call
            print(call.status.value, call.response_body)


asyncio.run(main())
