"""The errors of calls that a limiter does not admit."""

from __future__ import annotations

from callgate.errors import ConfigurationError, DeadlineRefusalError, QuotaTooSmallError

__all__ = ["another_loop", "no_time", "not_a_cost", "overdue", "too_small"]


def too_small(name: str, tokens: float, most: float) -> QuotaTooSmallError:
    """The call costs more than a whole window may hold."""
    return QuotaTooSmallError(
        f"the call costs {tokens:g} tokens and {_label(name)} never admits more than {most:g} in one "
        "period: make the call smaller or the limit larger"
    )


def not_a_cost(tokens: float) -> ConfigurationError:
    """The cost of the call is negative or not a number."""
    return ConfigurationError(f"the tokens of a call must be a number from 0, not {tokens!r}")


def no_time(name: str, wait: float, ahead: int, left: float) -> DeadlineRefusalError:
    """The call would wait `wait` seconds behind `ahead` others, and its deadline is in `left` seconds."""
    return DeadlineRefusalError(
        f"{_label(name)} cannot admit the call before its deadline: it would wait {wait:.3g} s, "
        f"{ahead} others before it, and has {max(0.0, left):.3g} s",
        retry_after=wait,
    )


def overdue(name: str) -> DeadlineRefusalError:
    """The deadline of the call passed while it was in the queue."""
    return DeadlineRefusalError(
        f"the call's deadline passed while it waited for {_label(name)}; nothing was sent"
    )


def another_loop(name: str) -> RuntimeError:
    """The limiter is used in an event loop other than its own."""
    return RuntimeError(
        f"{_label(name)} belongs to another event loop that is still open: make one limiter for each loop"
    )


def _label(name: str) -> str:
    return f"the limiter {name!r}" if name else "the limiter"
