"""Converts exception classes to names and back, for settings in JSON."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable

from callgate import errors
from callgate.errors import ConfigurationError

__all__ = ["from_names", "to_names"]


def to_names(kinds: Iterable[type[BaseException]]) -> list[str]:
    """The names of exception classes: bare for Python's and callgate's own, "module:name" for others.

    >>> to_names([TimeoutError, errors.ServerError])
    ['TimeoutError', 'ServerError']
    """
    names = []
    for kind in kinds:
        bare = kind.__module__ in ("builtins", errors.__name__)
        names.append(kind.__qualname__ if bare else f"{kind.__module__}:{kind.__qualname__}")
    return names


def from_names(names: Iterable[str]) -> tuple[type[BaseException], ...]:
    """The exception classes of these names. No module is imported, so that a file cannot run code.

    Raises:
        ConfigurationError: There is no such exception, or its module was not imported.

    >>> from_names(["TimeoutError"])
    (<class 'TimeoutError'>,)
    """
    return tuple(_lookup(name) for name in names)


def _lookup(name: str) -> type[BaseException]:
    module_name, _, path = name.rpartition(":")
    if module_name:
        found: object = sys.modules.get(module_name)
        for part in path.split("."):
            found = getattr(found, part, None)
    else:
        found = getattr(errors, path, None) or getattr(builtins, path, None)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise ConfigurationError(
            f"{name!r} names no exception class that is known here; import its module first if it has one"
        )
    return found
