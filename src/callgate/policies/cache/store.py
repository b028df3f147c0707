"""`CacheStore`: the protocol of a store of responses. callgate has two; users can write their own."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

from callgate.policies.cache.key import CacheKey
from callgate.response import Response

__all__ = ["CacheStore", "SharedStore"]


@runtime_checkable
class CacheStore(Protocol):
    """Stores responses under content addresses. An entry that cannot be read is a miss and raises nothing.

    `get` is on the path of every call and may be a plain function: an indexed read from a local file takes
    less time (8 us) than passing it to a thread and back. `put` is awaited: once it has returned, the
    response outlives this process.

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
        """A new copy of the response, or None. The stored request must equal `key.request`."""
        ...

    async def put(self, key: CacheKey, response: Response, /) -> None:
        """Store a response. One that cannot be stored is left out, or reported in the log.

        Raises:
            RuntimeError: the store is closed; nothing else.
        """
        ...

    async def close(self) -> None:
        """Finish writing and close. Closing twice has no effect."""
        ...


@runtime_checkable
class SharedStore(CacheStore, Protocol):
    """A store that several processes share: if several miss the same response, one of them sends the request.

    A call that has claimed a request calls `get` again, because the previous holder may have stored the
    response meanwhile, and releases the claim once the response is stored or will not be.
    """

    def claim(self, key: CacheKey, /) -> bool | Awaitable[bool]:
        """Claim the request: True if it is claimed now, else an awaitable that waits for the present holder.

        The awaitable returns True once the request is claimed, False if that takes too long. After False, do
        not call `release`.
        """
        ...

    def release(self, key: CacheKey, /) -> None:
        """Release a claim."""
        ...
