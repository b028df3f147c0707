"""What makes two calls the same: where they go, how, in which dialect, to which model, and the whole request.

The key holds no credential and nothing that only says how the answer is carried (streamed or not), so a call
finds its answer again under another key and in another mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from callgate.exact_json import dumps

__all__ = ["CacheKey", "make_key"]

# What says how the answer is carried, not what it is.
_CARRIAGE = ("stream", "stream_options")
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


@dataclass(frozen=True, slots=True)
class CacheKey:
    """A content address: `digest` (20 bytes), and `request`, the canonical JSON it is the digest of.

    Stores keep both, so that a reader can see that an entry is what it asks for, and so that a later
    version, should it compute digests otherwise, can compute those of old entries anew.
    """

    digest: bytes
    request: bytes

    def __repr__(self) -> str:
        return f"<CacheKey {self.digest.hex()}>"


def make_key(
    origin: str,
    dialect: str,
    request: Mapping[str, Any],
    *,
    path: str | None = None,
    sample: int = 0,
    method: str | None = None,
    query: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> CacheKey | None:
    """The key of a request; None when it holds something that JSON cannot, and so cannot be compared.

    Args:
        origin: Where it goes: the base URL, or a name for what has none.
        dialect: The name of the dialect.
        request: In the one request format, its model included; the order of its keys does not matter.
        path: Instead of the dialect's own.
        sample: Counts different answers to one request: sample 1 is asked for once more though sample 0 is
            known.
        method, query: Of the HTTP request, where they are not the dialect's own.
        headers: Those that the answer may depend on (a beta feature, say): no credentials, and none that the
            dialect sends by itself.

    >>> one = make_key("https://api.example.com", "openai_chat", {"model": "m", "seed": 1})
    >>> two = make_key("https://api.example.com", "openai_chat", {"seed": 1, "model": "m", "stream": True})
    >>> one == two
    True
    """
    if "stream" in request or "stream_options" in request:
        request = {name: value for name, value in request.items() if name not in _CARRIAGE}
    about: dict[str, Any] = {
        "dialect": dialect,
        "origin": origin,
        "path": path,
        "request": request,
        "sample": sample,
    }
    # Only where there are any: the keys of all others stay as they have been since the first version.
    if method:
        about["method"] = method
    if query:
        about["query"] = query
    if headers:
        about["headers"] = headers
    try:
        canonical = dumps(about, option=_SORTED)
    except (TypeError, ValueError, RecursionError):
        return None
    return CacheKey(blake2b(canonical, digest_size=20).digest(), canonical)
