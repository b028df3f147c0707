"""The time of what no event loop has used yet.

There is no clock besides the loop's: what needs the time takes it as an argument, or asks the loop it is used
on. `callgate.testing.VirtualClock` is a loop with a time of its own.
"""

from __future__ import annotations

import math

__all__ = ["before_time"]


def before_time() -> float:
    """A moment in seconds, earlier than any that a loop tells.

    >>> before_time() < 0.0
    True
    """
    return -math.inf
