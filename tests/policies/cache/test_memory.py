"""The cache in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.policies.cache.key import CacheKey, make_key
from callgate.policies.cache.memory import MemoryCache
from callgate.policies.cache.store import CacheStore
from callgate.response import Response


def key(number: Any) -> CacheKey:
    made = make_key("here", "chat", {"number": number})
    assert made is not None
    return made


def put(cache: MemoryCache, *numbers: int) -> None:
    for number in numbers:
        asyncio.run(cache.put(key(number), Response(text=str(number))))


def texts(cache: MemoryCache, *numbers: int) -> list[str | None]:
    found = [cache.get(key(number)) for number in numbers]
    return [response and response.text for response in found]


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = MemoryCache(max_entries=2)
    put(cache, 1, 2)
    assert texts(cache, 1) == ["1"]
    put(cache, 3)
    assert texts(cache, 1, 2, 3) == ["1", None, "3"]
    assert len(cache) == 2
    assert repr(cache) == "<MemoryCache 2/2 entries>"


def test_an_answer_is_a_copy_of_its_own() -> None:
    cache = MemoryCache()
    put(cache, 1)
    first = cache.get(key(1))
    assert first is not None
    first.metadata["mine"] = first.text = "changed"
    assert cache.get(key(1)) == Response(text="1")


def test_an_answer_older_than_the_ttl_is_none() -> None:
    now = 0.0
    cache = MemoryCache(ttl=10, clock=lambda: now)
    put(cache, 1)
    now = 10.0
    assert texts(cache, 1) == ["1"]
    now = 10.1
    assert texts(cache, 1) == [None]
    assert len(cache) == 0


def test_a_digest_that_two_requests_share_is_no_hit() -> None:
    cache = MemoryCache()
    put(cache, 1)
    assert cache.get(CacheKey(key(1).digest, b"another request")) is None


def test_what_json_cannot_hold_is_left_out_and_closing_forgets() -> None:
    cache = MemoryCache()
    asyncio.run(cache.put(key(1), Response(data=object())))
    assert len(cache) == 0
    put(cache, 1)
    asyncio.run(cache.close())
    assert len(cache) == 0
    assert isinstance(cache, CacheStore)


@pytest.mark.parametrize("settings", [{"max_entries": 0}, {"ttl": 0}])
def test_settings_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        MemoryCache(**settings)
