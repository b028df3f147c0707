"""`FailureGuard`: stops a batch whose rows all fail in the same way, after a few calls instead of a million.

Also tells rows that the provider refused for their own content from rows that failed.
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

__all__ = ["FailureGuard", "StopReason", "fingerprint", "fingerprint_of", "is_refusal"]

# No property of a row can cause these: the next row would fail too.
_SYSTEMATIC = (
    AuthenticationError, ConfigurationError, QuotaExhaustedError, QuotaTooSmallError, ResourceNotFoundError,
    RetryAfterTooLongError,
)  # fmt: skip
_REFUSALS = (ContentFilterError, ContextLengthError)
_VARIABLE = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+(\.\d+)?|\b(req|chatcmpl|msg|call)[-_]\w+", re.I)


def is_refusal(error: BaseException | None) -> bool:
    """Whether the provider refused the row itself, for its content or its length, and would do so again.

    >>> is_refusal(ContextLengthError("too long")), is_refusal(TimeoutError())
    (True, False)
    """
    # A schema's error carries the code too, where the answer that did not fit was withheld.
    return isinstance(error, _REFUSALS) or getattr(error, "code", None) == "content_filter"


def fingerprint(error: BaseException) -> str:
    """A text that equal failures share: class, status, the provider's code, the message without numbers.

    >>> fingerprint(ValueError("row 12 is bad")) == fingerprint(ValueError("row 7 is bad"))
    True
    """
    status, code = getattr(error, "status_code", None), getattr(error, "code", None)
    text = error.message if isinstance(error, APIClientError) else str(error)
    return fingerprint_of(type(error).__name__, status, code, text)


def fingerprint_of(kind: str, status: int | None, code: str | None, text: str) -> str:
    """The fingerprint of an error of which only these facts are kept.

    >>> fingerprint_of("ValueError", None, None, "row 12 is bad") == fingerprint(ValueError("row 7 is bad"))
    True
    """
    return f"{kind}|{status}|{code}|{_VARIABLE.sub('#', text)[:200]}"


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a batch was stopped.

    Attributes:
        error: The last error; one of the equal ones when the failures were the same.
        count: How many rows failed.
        message: What happened, without the error.

    >>> str(StopReason(ValueError("bad"), 3, "3 rows failed in the same way and none was answered"))
    '3 rows failed in the same way and none was answered: bad'
    """

    error: BaseException
    count: int
    message: str

    def __str__(self) -> str:
        return f"{self.message}: {str(self.error) or type(self.error).__name__}"


class FailureGuard:
    """Counts consecutive failures that are the same, with no answer between them.

    Args:
        max_systematic: So many stop the batch when no property of a row can be their cause (wrong key,
            unknown model, connection refused).
        max_identical: So many of any other kind do. Rows that the provider refuses for their content or
            length never count.
        max_failures: The batch stops when more rows than this have failed in all, in whatever way and with
            answers between them; None: no limit.

    >>> guard = FailureGuard(max_systematic=2)
    >>> for _ in range(2):
    ...     guard.note(Calling({}), AuthenticationError("no such key", status_code=401))
    >>> str(guard.stop_reason)
    '2 rows failed in the same way and none was answered: 401: no such key'
    """

    def __init__(
        self, *, max_systematic: int = 3, max_identical: int = 20, max_failures: int | None = None
    ) -> None:
        self.stop_reason: StopReason | None = None
        """What stops the batch; None while nothing does."""
        self._max_systematic = max_systematic
        self._max_identical = max_identical
        self._max_failures = max_failures
        self._failed = 0
        self._last: str | None = None
        self._count = 0
        self._succeeded = False

    def note(self, calling: Calling, error: BaseException | None) -> None:
        """Count a row that has ended.

        Args:
            calling: Its call.
            error: What its row ended in; None: it is answered.
        """
        if error is None:
            # An answer from the cache says nothing about the provider.
            if not calling.cached:
                self._succeeded, self._last, self._count = True, None, 0
            return
        if calling.cancel_requested or self.stop_reason is not None:
            return
        self._failed += 1
        if self._max_failures is not None and self._failed > self._max_failures:
            message = f"more than {self._max_failures} rows failed, the last with"
            self.stop_reason = StopReason(error, self._failed, message)
            return
        if is_refusal(error):
            return
        mark = fingerprint(error)
        self._count = self._count + 1 if mark == self._last else 1
        self._last = mark
        if self._count >= (self._max_systematic if _is_systematic(error) else self._max_identical):
            since = "since the last answer" if self._succeeded else "and none was answered"
            rows = "row" if self._count == 1 else "rows"
            message = f"{self._count} {rows} failed in the same way {since}"
            self.stop_reason = StopReason(error, self._count, message)


def _is_systematic(error: BaseException) -> bool:
    if isinstance(error, APIConnectionError):
        return error.surely_unsent  # refused, or no such host; a broken connection may be bad luck
    return isinstance(error, _SYSTEMATIC)
