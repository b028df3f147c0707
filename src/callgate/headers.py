"""Headers of an answer, found by their names in any case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

__all__ = ["Headers"]

T = TypeVar("T")


class Headers(dict[str, str]):
    """A dict of headers with lower-case names that finds them by their names in any case.

    HTTP/2 and many servers write `retry-after`, the documents look for `Retry-After`.

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
