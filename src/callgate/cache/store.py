"""`CacheStore`: where answers are kept. Two come with callgate; anybody can write a third."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

from callgate.cache.key import CacheKey
from callgate.response import Response

__all__ = ["CacheStore"]


@runtime_checkable
class CacheStore(Protocol):
    """Keeps answers under content addresses. It never raises for an entry it cannot read: that is a miss.

    Reading is on the path of every call and may be a plain function: an indexed read from a local file takes
    less time (8 us) than handing it to a thread and back. Writing is not, and is awaited: once `put` has
    returned, the answer outlives this process.

    Example::

        class Forgetful:
            def get(self, key):
                return None

            async def put(self, key, response):
                pass

            async def close(self):
                pass

        model = iModel(provider="openai", model="gpt-4o-mini", cache=Forgetful())
    """

    def get(self, key: CacheKey, /) -> Response | Awaitable[Response | None] | None:
        """A fresh copy of the answer, or None. It must be that of `key.request`, not only of its digest."""
        ...

    async def put(self, key: CacheKey, response: Response, /) -> None:
        """Keep an answer. What cannot be kept is left out silently, or said in the log; it never raises."""
        ...

    async def close(self) -> None:
        """Finish writing and let go. Closing twice changes nothing."""
        ...
