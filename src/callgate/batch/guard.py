"""Stops a batch whose rows all fail in the same way, after a handful of calls instead of a million."""

from __future__ import annotations

import re

from callgate.calling import Calling
from callgate.errors import (
    APIClientError,
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    ContentFilterError,
    ContextLengthError,
    QuotaExhaustedError,
    QuotaTooSmallError,
    ResourceNotFoundError,
    RetryAfterTooLongError,
)

__all__ = ["FailureGuard", "SameFailure", "fingerprint"]

# Nothing about the row can be the cause of these: another row would meet them too.
_EVERY_ROW = (
    AuthenticationError, ConfigurationError, QuotaExhaustedError, QuotaTooSmallError, ResourceNotFoundError,
    RetryAfterTooLongError,
)  # fmt: skip
# And these are about the row alone.
_THIS_ROW = (ContentFilterError, ContextLengthError)
_CHANGING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+(\.\d+)?|\b(req|chatcmpl|msg|call)[-_]\w+", re.I)


def fingerprint(error: BaseException) -> str:
    """What is the same in equal failures: kind, status, the provider's code, the text without numbers.

    >>> fingerprint(ValueError("row 12 is bad")) == fingerprint(ValueError("row 7 is bad"))
    True
    """
    status, code = getattr(error, "status_code", None), getattr(error, "code", None)
    text = error.message if isinstance(error, APIClientError) else str(error)
    return f"{type(error).__name__}|{status}|{code}|{_CHANGING.sub('#', text)[:200]}"


class SameFailure:
    """The failure that stopped a batch.

    Attributes:
        error: One of the equal errors.
        count: How many rows in a row ended in it.
        ever_succeeded: Whether any call of the batch succeeded before.
    """

    __slots__ = ("count", "error", "ever_succeeded")

    def __init__(self, error: BaseException, count: int, ever_succeeded: bool) -> None:
        self.error = error
        self.count = count
        self.ever_succeeded = ever_succeeded

    def __str__(self) -> str:
        since = "since the last answer" if self.ever_succeeded else "and none was answered"
        rows = "row" if self.count == 1 else "rows"
        text = str(self.error) or type(self.error).__name__
        return f"{self.count} {rows} failed in the same way {since}: {text}"


class FailureGuard:
    """Counts failures that are the same, one after another, with no answer between them.

    Args:
        hopeless: How many make it stop when nothing about a row can be their cause (wrong key, unknown
            model, nothing listening).
        others: How many of any other kind do. Rows that the provider refuses for themselves (content filter,
            too long) never count.

    >>> guard = FailureGuard(hopeless=2)
    >>> for _ in range(2):
    ...     calling = Calling({})
    ...     calling.fail(AuthenticationError("no such key", status_code=401), 0.0)
    ...     guard.note(calling)
    >>> str(guard.verdict)
    '2 rows failed in the same way and none was answered: 401: no such key'
    """

    def __init__(self, *, hopeless: int = 3, others: int = 20) -> None:
        self.verdict: SameFailure | None = None
        """What stops the batch, once something does."""
        self._hopeless = hopeless
        self._others = others
        self._last: str | None = None
        self._count = 0
        self._succeeded = False

    def note(self, calling: Calling) -> None:
        """Look at a call that has ended."""
        error = calling.error
        if error is None:
            # A cached answer says nothing about the provider.
            if not calling.cached:
                self._succeeded, self._last, self._count = True, None, 0
            return
        if isinstance(error, _THIS_ROW) or calling.cancelled or self.verdict is not None:
            return
        mark = fingerprint(error)
        self._count = self._count + 1 if mark == self._last else 1
        self._last = mark
        if self._count >= (self._hopeless if _meets_every_row(error) else self._others):
            self.verdict = SameFailure(error, self._count, self._succeeded)


def _meets_every_row(error: BaseException) -> bool:
    if isinstance(error, APIConnectionError):
        return error.surely_unsent  # refused, or no such host; a connection that breaks may be bad luck
    return isinstance(error, _EVERY_ROW)
