"""Stops a batch whose rows all fail in the same way, after a handful of calls instead of a million.

And tells the rows that the provider refused for what they are from those that failed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from callgate.call.calling import Calling
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

__all__ = ["FailureGuard", "Verdict", "fingerprint", "fingerprint_of", "is_refusal"]

# Nothing about the row can be the cause of these: another row would meet them too.
_EVERY_ROW = (
    AuthenticationError, ConfigurationError, QuotaExhaustedError, QuotaTooSmallError, ResourceNotFoundError,
    RetryAfterTooLongError,
)  # fmt: skip
# And these are about the row alone.
_THIS_ROW = (ContentFilterError, ContextLengthError)
_CHANGING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+(\.\d+)?|\b(req|chatcmpl|msg|call)[-_]\w+", re.I)


def is_refusal(error: BaseException | None) -> bool:
    """Whether the provider refused the row itself: its content, or its length. It would do so again.

    >>> is_refusal(ContextLengthError("too long")), is_refusal(TimeoutError())
    (True, False)
    """
    # A schema's error too, where the answer that did not fit was withheld.
    return isinstance(error, _THIS_ROW) or getattr(error, "code", None) == "content_filter"


def fingerprint(error: BaseException) -> str:
    """What is the same in equal failures: kind, status, the provider's code, the text without numbers.

    >>> fingerprint(ValueError("row 12 is bad")) == fingerprint(ValueError("row 7 is bad"))
    True
    """
    status, code = getattr(error, "status_code", None), getattr(error, "code", None)
    text = error.message if isinstance(error, APIClientError) else str(error)
    return fingerprint_of(type(error).__name__, status, code, text)


def fingerprint_of(kind: str, status: int | None, code: str | None, text: str) -> str:
    """The same of an error of which only this is written down.

    >>> fingerprint_of("ValueError", None, None, "row 12 is bad") == fingerprint(ValueError("row 7 is bad"))
    True
    """
    return f"{kind}|{status}|{code}|{_CHANGING.sub('#', text)[:200]}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a batch was stopped.

    Attributes:
        error: The last error; one of the equal ones when the failures were the same.
        count: How many rows failed.
        message: All of it in words.

    >>> str(Verdict(ValueError("bad"), 3, "3 rows failed in the same way and none was answered: bad"))
    '3 rows failed in the same way and none was answered: bad'
    """

    error: BaseException
    count: int
    message: str

    def __str__(self) -> str:
        return self.message


class FailureGuard:
    """Counts failures that are the same, one after another, with no answer between them.

    Args:
        hopeless: How many make it stop when nothing about a row can be their cause (wrong key, unknown
            model, nothing listening).
        others: How many of any other kind do. Rows that the provider refuses for themselves (content filter,
            too long) never count.
        most: How many failures in all, of whatever kind and with answers between them, are borne; None: any
            number.

    >>> guard = FailureGuard(hopeless=2)
    >>> for _ in range(2):
    ...     calling = Calling({})
    ...     calling.fail(AuthenticationError("no such key", status_code=401), 0.0)
    ...     guard.note(calling)
    >>> str(guard.verdict)
    '2 rows failed in the same way and none was answered: 401: no such key'
    """

    def __init__(self, *, hopeless: int = 3, others: int = 20, most: int | None = None) -> None:
        self.verdict: Verdict | None = None
        """What stops the batch, once something does."""
        self._hopeless = hopeless
        self._others = others
        self._most = most
        self._failed = 0
        self._last: str | None = None
        self._count = 0
        self._succeeded = False

    def note(self, calling: Calling, error: BaseException | None = None) -> None:
        """Look at a call that has ended.

        Args:
            calling: The call.
            error: What its row ended in, if that is something else than its call did.
        """
        error = calling.error if error is None else error
        if error is None:
            # A cached answer says nothing about the provider.
            if not calling.cached:
                self._succeeded, self._last, self._count = True, None, 0
            return
        if calling.cancel_requested or self.verdict is not None:
            return
        self._failed += 1
        if self._most is not None and self._failed > self._most:
            told = f"more than {self._most} rows failed, the last with: {error or type(error).__name__}"
            self.verdict = Verdict(error, self._failed, told)
            return
        if is_refusal(error):
            return
        mark = fingerprint(error)
        self._count = self._count + 1 if mark == self._last else 1
        self._last = mark
        if self._count >= (self._hopeless if _meets_every_row(error) else self._others):
            since = "since the last answer" if self._succeeded else "and none was answered"
            rows = "row" if self._count == 1 else "rows"
            text = str(error) or type(error).__name__
            told = f"{self._count} {rows} failed in the same way {since}: {text}"
            self.verdict = Verdict(error, self._count, told)


def _meets_every_row(error: BaseException) -> bool:
    if isinstance(error, APIConnectionError):
        return error.surely_unsent  # refused, or no such host; a connection that breaks may be bad luck
    return isinstance(error, _EVERY_ROW)
