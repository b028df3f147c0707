"""Every error that callgate raises, in one tree.

::

    CallgateError
    ├── ConfigurationError (ValueError)          a setting that cannot work; raised before anything is sent
    ├── InputError (ValueError)                  a file, row or flag that cannot be used
    │   └── RowsChangedError                     finished rows would be asked differently now
    ├── APIClientError                           a call ended without a usable answer
    │   ├── APIConnectionError (ConnectionError) no connection, or it broke
    │   ├── APITimeoutError (TimeoutError)       no answer to one attempt within its timeout
    │   ├── RateLimitError                       429: over the provider's quota
    │   │   ├── QuotaExhaustedError              429 that waiting does not cure (billing, daily quota)
    │   │   └── RetryAfterTooLongError           Retry-After exceeds the longest wait allowed
    │   ├── AuthenticationError                  401, 403
    │   ├── ResourceNotFoundError                404
    │   ├── InvalidRequestError                  400, 413, 422: the request itself is wrong
    │   │   └── ContextLengthError               too long for the model
    │   ├── ContentFilterError                   the provider refuses the content
    │   ├── ServerError                          5xx
    │   │   └── OverloadedError                  529, or an overload reported inside a stream
    │   ├── ResponseError                        an answer that cannot be read
    │   │   ├── ResponseTooLargeError            over the cap on decoded bytes
    │   │   └── InvalidAnswerError               does not satisfy the requested schema
    │   ├── DeadlineExceededError (TimeoutError) the deadline of the whole call passed
    │   │   └── DeadlineRefusalError             ... before any attempt was sent (also a RefusedError)
    │   └── RefusedError                         callgate refused the call; no attempt was sent
    │       ├── CircuitBreakerOpenError
    │       ├── QuotaTooSmallError (ValueError)  costs more than the whole quota
    │       ├── BudgetExceededError
    │       └── DeadlineRefusalError             see above
    ├── BatchStoppedError                        a batch ended early: its rows all failed in the same way
    ├── CallCancelledError                       the call was cancelled
    ├── SDKError                                 an official SDK raised
    └── ToolError                                a tool could not be called with these arguments

A refusal (`RefusedError`) is not a failure: it costs nothing, opens no breaker and is not retried. Errors
carry facts as attributes. Retry, breaker, batch and the command line decide by these attributes, never by
matching text. No error holds a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = [
    "RETRYABLE_STATUS", "APIClientError", "APIConnectionError", "APITimeoutError", "AuthenticationError",
    "BatchStoppedError", "BudgetExceededError", "CallCancelledError", "CallgateError",
    "CircuitBreakerOpenError", "ConfigurationError", "ContentFilterError", "ContextLengthError",
    "DeadlineExceededError", "DeadlineRefusalError", "InputError", "InvalidAnswerError",
    "InvalidRequestError", "OverloadedError", "QuotaExhaustedError", "QuotaTooSmallError",
    "RateLimitError", "RefusedError", "ResourceNotFoundError", "ResponseError", "ResponseTooLargeError",
    "RetryAfterTooLongError", "RowsChangedError", "SDKError", "ServerError", "ToolError",
]  # fmt: skip

RETRYABLE_STATUS: Final = frozenset({408, 409, 425, 429})
"""Transient besides 5xx: request timeout, a conflict with a transient state, too early, too many requests."""


class CallgateError(Exception):
    """The root of all errors that callgate raises on purpose.

    Args:
        message: What happened.
        setting: The Python name of the setting to change ("timeout"), or None.
        remedy: What to do with that setting, as words that its name completes ("raise"), or None.

    >>> error = CallgateError("no answer within 60 s", setting="timeout", remedy="raise")
    >>> str(error), error.explain("--timeout")
    ('no answer within 60 s; raise timeout=', 'no answer within 60 s; raise --timeout')
    """

    def __init__(self, message: str = "", *, setting: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting
        self.remedy = remedy

    def explain(self, name: str | None = None) -> str:
        """The error as text, with `name` ("--timeout") in the place of the Python keyword of its setting."""
        text = self._describe()
        if self.remedy is None or self.setting is None:
            return text
        return f"{text}; {self.remedy} {name or f'{self.setting}='}"

    def _describe(self) -> str:
        """What happened, without the remedy."""
        return super().__str__()

    def __str__(self) -> str:
        return self.explain()

    def __reduce__(self) -> tuple[Any, ...]:
        # A constructor takes keywords, which BaseException's own way of copying and pickling does not pass.
        return _restore, (type(self), self.args), vars(self)


class ConfigurationError(CallgateError, ValueError):
    """A setting that cannot work. Raised before anything is sent."""


class InputError(CallgateError, ValueError):
    """A file, row, flag or value that cannot be used.

    Args:
        message: What is wrong and what to do.
        source: The file or flag it came from, if any.
        line: The line in it, counted from 1, if any.
        setting, remedy: As for `CallgateError`.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        line: int | None = None,
        setting: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.source = source
        self.line = line
        where = "" if source is None else f"{source}: " if line is None else f"{source}:{line}: "
        super().__init__(where + message, setting=setting, remedy=remedy)


class RowsChangedError(InputError):
    """Rows that the output has answers to would be asked differently now. Raised before anything is sent.

    Attributes:
        rows: How many.
        differences: What differs, each as text.

    >>> RowsChangedError(3, ["model gpt-4o-mini -> gpt-4.1-mini"], source="out.jsonl").rows
    3
    """

    def __init__(self, rows: int, differences: Sequence[str], *, source: str | None = None) -> None:
        several = "1 finished row" if rows == 1 else f"{rows:,} finished rows"
        super().__init__(
            f"{several} would be asked differently now: {'; '.join(differences)}",
            source=source,
            setting="on_change",
            remedy="keep their answers, or ask these rows again (the old answers move to a file beside):",
        )
        self.rows = rows
        self.differences = tuple(differences)

    def explain(self, name: str | None = None) -> str:
        return super().explain(name) + ('"keep" or "reask"' if name is None else " keep|reask")


class APIClientError(CallgateError):
    """A call ended without a usable answer.

    Attributes:
        message: What happened, without the facts below.
        status_code: The HTTP status, or None when there was none.
        response_content: The body the provider sent (text or parsed JSON), or None.
        headers: The answer's headers, lower-case names.
        code: The provider's own code of the error ("rate_limit_exceeded"), or None.
        request_id: The provider's id of the request, or None.
        retry_after: Seconds the provider asks to wait, or None.
        retryable: Whether the same call may succeed later.
        surely_unsent: True only when not one byte of the request can have been processed.
        setting, remedy: As for `CallgateError`.

    >>> error = ServerError("upstream is down", status_code=503)
    >>> error.retryable, str(error)
    (True, '503: upstream is down')
    """

    retryable: bool = False
    surely_unsent: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        response_content: Any = None,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        surely_unsent: bool | None = None,
        setting: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, setting=setting, remedy=remedy)
        self.message = message or (type(self).__doc__ or "").split("\n", 1)[0]
        self.status_code = status_code
        self.response_content = response_content
        self.headers = headers or {}
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable
        if surely_unsent is not None:
            self.surely_unsent = surely_unsent

    def _describe(self) -> str:
        text = self.message if self.status_code is None else f"{self.status_code}: {self.message}"
        return text if self.request_id is None else f"{text} (request {self.request_id})"

    @property
    def counts_as_failure(self) -> bool:
        """Whether a circuit breaker should count this against the service."""
        return self.retryable and not isinstance(self, RateLimitError | RefusedError)


class APIConnectionError(APIClientError, ConnectionError):
    """No connection to the service, or it broke before the answer was complete."""

    retryable = True


class APITimeoutError(APIClientError, TimeoutError):
    """No answer to one attempt within its timeout."""

    retryable = True


class RateLimitError(APIClientError):
    """The provider's quota is used up (429); `retry_after` is the wait in seconds it asks for, if any."""

    retryable = True


class QuotaExhaustedError(RateLimitError):
    """A quota that waiting does not refill: no credit left, or the end of a plan."""

    retryable = False


class RetryAfterTooLongError(RateLimitError):
    """The provider's Retry-After exceeds the longest wait allowed (`max_retry_after`)."""

    retryable = False


class AuthenticationError(APIClientError):
    """The key is missing, wrong, or lacks permission (401, 403)."""


class ResourceNotFoundError(APIClientError):
    """No such path or model (404)."""


class InvalidRequestError(APIClientError):
    """The provider rejects the request as it stands (400, 413, 422)."""


class ContextLengthError(InvalidRequestError):
    """The request is too long for the model."""


class ContentFilterError(APIClientError):
    """The provider refuses the content of the request or of its own answer."""


class ServerError(APIClientError):
    """The provider failed (5xx)."""

    retryable = True


class OverloadedError(ServerError):
    """The provider is overloaded (529, or reported inside a stream)."""


class ResponseError(APIClientError):
    """The answer cannot be read: truncated, or not in the expected format."""

    retryable = True


class ResponseTooLargeError(ResponseError):
    """The decoded answer exceeds the cap on its size."""

    retryable = False


class InvalidAnswerError(ResponseError):
    """The model's answer does not satisfy the requested schema."""

    retryable = False


class DeadlineExceededError(APIClientError, TimeoutError):
    """The deadline of the whole call passed before it was answered.

    Attempts may have been sent and may be billed. `DeadlineRefusalError` is the case in which none was.
    """


class RefusedError(APIClientError):
    """callgate refused the call; no attempt was sent and nothing is billed."""

    surely_unsent = True


class CircuitBreakerOpenError(RefusedError):
    """The circuit breaker is open after repeated failures; it admits calls again in `retry_after` seconds."""


class QuotaTooSmallError(RefusedError, ValueError):
    """The call costs more than the whole quota of a period, so it can never be admitted."""


class DeadlineRefusalError(DeadlineExceededError, RefusedError):
    """The deadline passed, or would pass, before any attempt was sent."""


class BudgetExceededError(RefusedError):
    """The call could cost more than the rest of the budget."""


class CallCancelledError(CallgateError):
    """The call was cancelled before it ended."""


class BatchStoppedError(CallgateError):
    """A batch was stopped: its rows all failed in the same way, or its budget is spent.

    Args:
        message: What happened, without the error, which follows it in the text.
        error: The error of the last row.
        count: How many rows ended in it.

    Attributes:
        results: Of `callgate.run`, the `Results` so far.

    >>> stopped = BatchStoppedError("3 rows failed", error=TimeoutError("too slow"), count=3)
    >>> str(stopped)
    '3 rows failed: too slow'
    """

    def __init__(self, message: str, *, error: BaseException, count: int) -> None:
        facts = error if isinstance(error, CallgateError) else CallgateError()
        super().__init__(message, setting=facts.setting, remedy=facts.remedy)
        self.error = error
        self.count = count
        self.results: Any = None

    def explain(self, name: str | None = None) -> str:
        text = self.error.explain(name) if isinstance(self.error, CallgateError) else str(self.error)
        return ": ".join(filter(None, (self._describe(), text or type(self.error).__name__)))


class SDKError(CallgateError):
    """An official SDK raised; `original` is its exception.

    Attributes:
        status_code, headers, retry_after, retryable, surely_unsent: As for `APIClientError`.

    Args:
        message: Which method of which SDK, and its message.
        original: The SDK's exception.
        cause: The error of callgate's transport that caused it, if any.
    """

    def __init__(
        self, message: str, *, original: BaseException | None = None, cause: BaseException | None = None
    ) -> None:
        super().__init__(message)
        self.original = original
        status = getattr(original, "status_code", None)
        self.status_code: int | None = status if isinstance(status, int) else None
        response = getattr(original, "response", None)
        self.headers: Mapping[str, str] = dict(getattr(response, "headers", None) or {})
        self.retry_after: float | None = None
        if self.status_code is not None:
            self.retryable = self.status_code >= 500 or self.status_code in RETRYABLE_STATUS
        else:
            self.retryable = bool(getattr(cause, "retryable", False))
        self.surely_unsent = bool(getattr(cause, "surely_unsent", False))

    @property
    def counts_as_failure(self) -> bool:
        """Whether a circuit breaker should count this against the service."""
        return self.retryable and self.status_code != 429


class ToolError(CallgateError):
    """A tool could not be called: unknown name, arguments that do not fit, or it raised."""


def _restore(kind: type[CallgateError], args: tuple[Any, ...]) -> CallgateError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error
