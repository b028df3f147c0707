"""How much work the property tests and the long simulations do: `make test` a part, `make soak` all of it."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from hypothesis import settings

__all__ = ["SOAK", "examples", "scaled"]

T = TypeVar("T")

SOAK = os.environ.get("CALLGATE_TESTS") == "soak"


def examples(count: int, **more: Any) -> settings:
    """Hypothesis settings with `count` examples, or 20 times as many in a soak."""
    return settings(max_examples=count * 20 if SOAK else count, deadline=None, **more)


def scaled(usual: T, soak: T) -> T:
    """`usual`, or `soak` in a soak."""
    return soak if SOAK else usual
