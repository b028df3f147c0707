"""Every error callgate raises, in one tree.

::

    CallgateError
    ├── ConfigurationError (ValueError)          a setting that cannot work; nothing was sent
    ├── InputError (ValueError)                  a file, row or flag that cannot be used
    ├── APIClientError                           a call ended without an answer
    │   ├── APIConnectionError (ConnectionError) no connection, or it broke
    │   ├── APITimeoutError (TimeoutError)       the provider did not answer in time
    │   ├── RateLimitError                       429: over the provider's quota
    │   │   ├── QuotaExhaustedError              429 that waiting does not mend (billing, daily quota)
    │   │   └── RetryAfterTooLongError           told to come back later than anybody waits
    │   ├── AuthenticationError                  401, 403
    │   ├── ResourceNotFoundError                404
    │   ├── InvalidRequestError                  400, 413, 422: the request itself is wrong
    │   │   └── ContextLengthError               too long for the model
    │   ├── ContentFilterError                   the provider refuses the content
    │   ├── ServerError                          5xx
    │   │   └── OverloadedError                  529, or an overload told in a stream
    │   ├── ResponseError                        an answer that cannot be read
    │   │   ├── ResponseTooLargeError            over the cap on decoded bytes
    │   │   └── InvalidAnswerError               does not satisfy the asked-for schema
    │   └── RefusedError                         callgate itself refused; nothing was sent
    │       ├── CircuitBreakerOpenError
    │       ├── QuotaTooSmallError (ValueError)  costs more than the whole quota
    │       ├── DeadlineExceededError (TimeoutError)
    │       └── BudgetExceededError
    ├── BatchStoppedError                        a batch ended early: its rows all failed in the same way
    ├── CallCancelledError                       somebody cancelled the call
    ├── SDKError                                 an official SDK raised
    └── ToolError                                a tool could not be called with these arguments

"We refused" (`RefusedError`) and "it failed" (the others) are different things: a refusal costs nothing,
opens no breaker and is not retried. Errors carry facts as attributes; strategies (retry, breaker, batch)
decide by these and never by matching text. No error ever holds a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "APIClientError",
    "APIConnectionError",
    "APITimeoutError",
    "AuthenticationError",
    "BatchStoppedError",
    "BudgetExceededError",
    "CallCancelledError",
    "CallgateError",
    "CircuitBreakerOpenError",
    "ConfigurationError",
    "ContentFilterError",
    "ContextLengthError",
    "DeadlineExceededError",
    "InputError",
    "InvalidAnswerError",
    "InvalidRequestError",
    "OverloadedError",
    "QuotaExhaustedError",
    "QuotaTooSmallError",
    "RateLimitError",
    "RefusedError",
    "ResourceNotFoundError",
    "ResponseError",
    "ResponseTooLargeError",
    "RetryAfterTooLongError",
    "SDKError",
    "ServerError",
    "ToolError",
    "error_for_status",
]


class CallgateError(Exception):
    """The root: catch it to catch everything that callgate raises on purpose.

    >>> issubclass(RateLimitError, CallgateError)
    True
    """


class ConfigurationError(CallgateError, ValueError):
    """A setting that cannot work. Raised before anything is sent."""


class InputError(CallgateError, ValueError):
    """A file, row, flag or value that cannot be used.

    Args:
        message: What is wrong and what to do.
        source: The file or flag it came from, if any.
        line: The line in it, counted from 1, if any.
    """

    def __init__(self, message: str, *, source: str | None = None, line: int | None = None) -> None:
        self.source = source
        self.line = line
        where = "" if source is None else f"{source}: " if line is None else f"{source}:{line}: "
        super().__init__(where + message)


class APIClientError(CallgateError):
    """A call ended without an answer that can be used.

    Attributes:
        message: What happened, without the facts below.
        status_code: The HTTP status, or None when there was none.
        response_content: The body the provider sent (text or parsed JSON), or None.
        headers: The answer's headers, lower-case names.
        code: The provider's own name for the error ("rate_limit_exceeded"), or None.
        request_id: The provider's id of the request, for its support, or None.
        retry_after: Seconds the provider asks to wait, or None.
        retryable: Whether the same call may succeed later.
        surely_unsent: True only when not one byte of the request can have been processed.

    >>> error = ServerError("upstream is down", status_code=503)
    >>> error.retryable, str(error)
    (True, '503: upstream is down')
    """

    retryable: bool = False

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
        surely_unsent: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message or (type(self).__doc__ or "").split("\n", 1)[0]
        self.status_code = status_code
        self.response_content = response_content
        self.headers = headers or {}
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable
        self.surely_unsent = surely_unsent

    def __str__(self) -> str:
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
    """The service did not answer in time."""

    retryable = True


class RateLimitError(APIClientError):
    """The provider says that its quota is used up (429); `retry_after` seconds if it told."""

    retryable = True


class QuotaExhaustedError(RateLimitError):
    """A quota that waiting does not mend: no credit left, or a plan's end."""

    retryable = False


class RetryAfterTooLongError(RateLimitError):
    """The provider asks to come back later than anybody should wait in line."""

    retryable = False


class AuthenticationError(APIClientError):
    """The key is missing, wrong, or may not do this (401, 403)."""


class ResourceNotFoundError(APIClientError):
    """There is no such path or model (404)."""


class InvalidRequestError(APIClientError):
    """The provider refuses the request as it stands (400, 413, 422)."""


class ContextLengthError(InvalidRequestError):
    """The request is too long for the model."""


class ContentFilterError(APIClientError):
    """The provider refuses the content of the request or of its own answer."""


class ServerError(APIClientError):
    """The provider failed (5xx)."""

    retryable = True


class OverloadedError(ServerError):
    """The provider is overloaded (529, or said inside a stream)."""


class ResponseError(APIClientError):
    """The answer cannot be read: truncated, garbage, or not what the format promises."""

    retryable = True


class ResponseTooLargeError(ResponseError):
    """The decoded answer is over the cap on its size."""

    retryable = False


class InvalidAnswerError(ResponseError):
    """The model's answer does not satisfy the schema that was asked for."""

    retryable = False


class RefusedError(APIClientError):
    """callgate refused the call itself; nothing was sent and nothing is owed."""

    def __init__(self, message: str = "", **facts: Any) -> None:
        facts.setdefault("surely_unsent", True)
        super().__init__(message, **facts)


class CircuitBreakerOpenError(RefusedError):
    """The circuit breaker is open: the service failed too often; try again in `retry_after` seconds."""


class QuotaTooSmallError(RefusedError, ValueError):
    """The call costs more than the whole quota of a period, so it could never be admitted."""


class DeadlineExceededError(RefusedError, TimeoutError):
    """The call's deadline passed, or would pass, before it could be answered."""


class BudgetExceededError(RefusedError):
    """The call could cost more than what is left of the budget."""


class CallCancelledError(CallgateError):
    """The call was cancelled before it ended."""


class BatchStoppedError(CallgateError):
    """A batch was stopped because its rows all failed in the same way.

    Attributes:
        error: One of the equal errors.
        count: How many rows in a row ended in it.
    """

    def __init__(self, message: str, *, error: BaseException, count: int) -> None:
        super().__init__(message)
        self.error = error
        self.count = count


class SDKError(CallgateError):
    """An official SDK raised; `original` is its exception.

    Attributes:
        status_code: The HTTP status the SDK reports, or None.
        headers: The answer's headers, lower-case names.
        retry_after: Seconds the provider asks to wait, or None.
        retryable: Whether the same call may succeed later.
        surely_unsent: True only when not one byte of the request can have been processed.

    Args:
        message: Which call of which SDK, and what it said.
        original: The SDK's exception.
        cause: The error of our own transport below it, which knows whether anything was sent.
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
            self.retryable = self.status_code >= 500 or self.status_code in _RETRYABLE_STATUS
        else:
            self.retryable = bool(getattr(cause, "retryable", False))
        self.surely_unsent = bool(getattr(cause, "surely_unsent", False))

    @property
    def counts_as_failure(self) -> bool:
        """Whether a circuit breaker should count this against the service."""
        return self.retryable and self.status_code != 429


class ToolError(CallgateError):
    """A tool could not be called: unknown name, arguments that do not fit, or it raised."""


_BY_STATUS: dict[int, type[APIClientError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: ResourceNotFoundError,
    408: APITimeoutError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
    529: OverloadedError,
}
# Worth another try although their class is not: 409 is a conflict with a state that passes.
_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})


def error_for_status(status_code: int, message: str, **facts: Any) -> APIClientError:
    """The error for an HTTP status, where nothing more is known of it.

    Args:
        status_code: The HTTP status of the answer.
        message: What the service said.
        facts: Any keyword of `APIClientError`.

    >>> type(error_for_status(404, "no such model")).__name__
    'ResourceNotFoundError'
    """
    kind = _BY_STATUS.get(status_code)
    if kind is None:
        kind = ServerError if status_code >= 500 else APIClientError
        if status_code in _RETRYABLE_STATUS and facts.get("retryable") is None:
            facts["retryable"] = True
    return kind(message, status_code=status_code, **facts)
