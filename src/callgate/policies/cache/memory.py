"""A cache that lives as long as the process."""

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
    """The answers used last, up to a number of entries.

    Args:
        max_entries: When there are more, the one that was used longest ago goes.
        ttl: Seconds after which an answer is asked for anew; None: never.
        clock: Seconds; only differences matter.

    Raises:
        ConfigurationError: when `max_entries` or `ttl` is not positive.

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
        # Encoded: a hit is then a copy of its own, and what an entry holds is counted in bytes, not objects.
        self._entries: OrderedDict[bytes, tuple[bytes, bytes, float]] = OrderedDict()

    def get(self, key: CacheKey, /) -> Response | None:
        """A fresh copy of the answer, or None."""
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
        """Keep an answer, unless JSON cannot give it back as it is."""
        encoded = encode_response(response)
        if encoded is None:
            return
        self._entries[key.digest] = (key.request, encoded, self._clock())
        self._entries.move_to_end(key.digest)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<MemoryCache {len(self._entries)}/{self._max_entries} entries>"
