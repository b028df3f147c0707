"""`MemoryCache`: a store of responses in memory, which ends with the process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from callgate.errors import ConfigurationError
from callgate.policies.cache.codec import decode_response, encode_response
from callgate.policies.cache.key import CacheKey
from callgate.response import Response

__all__ = ["MemoryCache"]


class MemoryCache:
    """A least-recently-used cache of responses.

    Args:
        max_entries: The most entries; with more, the least recently used one is dropped.
        ttl: Seconds for which a response is valid; None: for ever.
        clock: Returns seconds from any start.

    Raises:
        ConfigurationError: `max_entries` or `ttl` is not positive.

    >>> import asyncio
    >>> from callgate.policies.cache.key import make_key
    >>> cache, key = MemoryCache(), make_key("here", "openai_chat", {"model": "m"})
    >>> asyncio.run(cache.put(key, Response(text="4")))
    >>> cache.get(key).text
    '4'
    """

    __slots__ = ("__weakref__", "_clock", "_entries", "_max_entries", "_ttl")

    def __init__(
        self,
        max_entries: int = 10_000,
        *,
        ttl: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_entries < 1 or (ttl is not None and ttl <= 0):
            raise ConfigurationError("max_entries and ttl must be positive")
        self._max_entries = max_entries
        self._ttl = ttl
        self._clock = clock
        # Encoded, so that each hit is a new object and an entry takes little memory.
        self._entries: OrderedDict[bytes, tuple[bytes, bytes, float]] = OrderedDict()

    def get(self, key: CacheKey, /) -> Response | None:
        """A new copy of the response, or None."""
        entry = self._entries.get(key.digest)
        if entry is None:
            return None
        request, response, written = entry
        if request != key.request:
            return None
        if self._ttl is not None and self._clock() - written > self._ttl:
            del self._entries[key.digest]
            return None
        self._entries.move_to_end(key.digest)
        return decode_response(response)

    async def put(self, key: CacheKey, response: Response, /) -> None:
        """Store a response, unless JSON cannot restore it exactly."""
        encoded = encode_response(response)
        if encoded is None:
            return
        self._entries[key.digest] = (key.request, encoded, self._clock())
        self._entries.move_to_end(key.digest)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def close(self) -> None:
        """Drop all entries."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<MemoryCache {len(self._entries)}/{self._max_entries} entries>"
