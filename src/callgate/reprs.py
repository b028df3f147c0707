"""`live_repr`: a decorator for a `__repr__` that also works after the constructor has raised."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

__all__ = ["live_repr"]

T = TypeVar("T")


def live_repr(show: Callable[[T], str]) -> Callable[[T], str]:
    """Decorate a `__repr__` that shows live state.

    A traceback with local variables, or a debugger, shows an object before its constructor has set all
    attributes. Such an object is shown as incomplete.

    >>> class Counter:
    ...     @live_repr
    ...     def __repr__(self):
    ...         return f"<Counter {self.count}>"
    >>> Counter()
    <Counter, incomplete>
    """

    @functools.wraps(show)
    def shown(self: T) -> str:
        try:
            return show(self)
        except AttributeError:
            return f"<{type(self).__name__}, incomplete>"

    return shown
