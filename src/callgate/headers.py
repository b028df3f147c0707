"""`Headers`: a mapping with names in any case; also merging headers and masking their credentials."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, overload

__all__ = ["Headers", "mask_headers", "merge_headers", "without_credentials"]

# Also names of gateways: `helicone-auth`, `ocp-apim-subscription-key`. Masking one header too many is
# harmless.
_SECRET_HEADER = re.compile(r"auth|cookie|credential|key|password|secret|token", re.IGNORECASE)

T = TypeVar("T")


class Headers(dict[str, str]):
    """A dict of headers with lower-case names that is read with names in any case.

    >>> headers = Headers({"Retry-After": "3"})
    >>> headers["retry-after"], headers.get("RETRY-AFTER"), "Retry-after" in headers
    ('3', '3', True)
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    @overload
    def get(self, name: str, default: None = None, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str, /) -> str: ...
    @overload
    def get(self, name: str, default: T, /) -> str | T: ...
    def get(self, name: str, default: Any = None, /) -> Any:
        """The header's value, or `default`."""
        return super().get(name.lower(), default)


def merge_headers(*sources: Mapping[str, str] | None, joined: Collection[str] = ()) -> dict[str, str]:
    """Headers of several sources as one mapping with lower-case names; later sources win.

    Args:
        sources: Mappings; None counts as empty.
        joined: Lower-case names of headers that hold a list: their values are combined, each item once.

    >>> merge_headers({"X-Beta": "a", "n": "1"}, {"x-beta": "b, a", "N": "2"}, joined={"x-beta"})
    {'x-beta': 'a,b', 'n': '2'}
    """
    merged: dict[str, str] = {}
    for source in sources:
        for name, value in (source or {}).items():
            name = name.lower()
            if name in joined and name in merged:
                items = [item.strip() for item in f"{merged[name]},{value}".split(",")]
                value = ",".join(dict.fromkeys(item for item in items if item))
            merged[name] = value
    return merged


def mask_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers with every value that is a credential replaced by "***"."""
    return {k: "***" if _SECRET_HEADER.search(k) else v for k, v in (headers or {}).items()}


def without_credentials(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers that hold no credential, by their names in lower case.

    >>> without_credentials({"Authorization": "Bearer k", "Anthropic-Beta": "files"})
    {'anthropic-beta': 'files'}
    """
    return {k.lower(): v for k, v in (headers or {}).items() if not _SECRET_HEADER.search(k)}
