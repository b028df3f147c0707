"""`CacheStore`: where answers are kept. Two come with callgate; anybody can write a third."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

from callgate.policies.cache.key import CacheKey
from callgate.response import Response

__all__ = ["CacheStore", "SharedStore"]


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
        """Keep an answer. What cannot be kept is left out silently, or said in the log.

        Raises:
            RuntimeError: when it is closed; nothing else.
        """
        ...

    async def close(self) -> None:
        """Finish writing and let go. Closing twice changes nothing."""
        ...


@runtime_checkable
class SharedStore(CacheStore, Protocol):
    """A store that several processes share: of all that miss the same answer at a time, one asks for it.

    Who has claimed a request looks again, because the one before may have left the answer meanwhile, and
    releases the claim once the answer is there or will not be.
    """

    def claim(self, key: CacheKey, /) -> bool | Awaitable[bool]:
        """Become the one who asks: True at once, or an awaitable that waits for who is asking now.

        It gives False when it would take too long; then there is nothing to release.
        """
        ...

    def release(self, key: CacheKey, /) -> None:
        """Give a claim back."""
        ...
