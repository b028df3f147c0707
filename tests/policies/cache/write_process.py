"""A process of the kill test: writes answers into a shared cache and says which are in it for good."""

from __future__ import annotations

import asyncio
import os
import sys

from callgate.policies.cache.key import CacheKey, make_key
from callgate.policies.cache.sqlite import SqliteCache
from callgate.response import Response


def key_for(number: int) -> CacheKey:
    """The key of one of the numbered requests, the same in every process."""
    key = make_key("https://api.example.com", "chat", {"model": "m", "number": number})
    assert key is not None
    return key


def answer_for(number: int) -> Response:
    """What the numbered request is answered with."""
    return Response(text=f"answer {number}", raw={"filler": "x" * (number % 3000)})


async def main(folder: str, first: int) -> None:
    cache = SqliteCache(folder)

    async def write(worker: int) -> None:
        for number in range(first + worker, first + 1_000_000, 8):
            await cache.put(key_for(number), answer_for(number))
            os.write(1, b"%d\n" % number)

    await asyncio.gather(*(write(worker) for worker in range(8)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
