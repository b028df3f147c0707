"""The cache key of a call: a digest of its address, dialect, model and whole request.

It leaves out credentials and how the response is transferred (streamed or not), so that a stored response is
found with another API key and in another mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from callgate.exact_json import dumps

__all__ = ["CacheKey", "make_key"]

# These change how the response is transferred, not its content.
_CARRIAGE = ("stream", "stream_options")
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


@dataclass(frozen=True, slots=True)
class CacheKey:
    """A content address: `digest` (20 bytes), and `request`, the canonical JSON that it is the digest of.

    Stores keep both, so that a lookup can compare the whole request, and a later version can compute other
    digests for old entries.
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
    """The key of a request; None if the request holds a value that is not JSON.

    Args:
        origin: The base URL, or a name if there is none.
        dialect: The name of the dialect.
        request: The canonical request with its model; the order of its keys does not matter.
        path: The path, if it is not the dialect's own.
        sample: Distinguishes several responses to one request: sample 1 is requested even if sample 0 is
            stored.
        method, query: Of the HTTP request, if they are not the dialect's own.
        headers: Headers that the response may depend on (as of a beta feature), without credentials and
            without those that the dialect always sends.

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
    # Only if given, so that the keys of all other calls are the same as in the first version.
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
