"""The function that is passed to `Executor.submit_task`, as a backend."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from callgate.call.calling import Calling
from callgate.errors import RateLimitError
from callgate.providers.quota_headers import read_retry_after
from callgate.response import Response

__all__ = ["ApiCall", "Returned429", "api_call_backend"]

ApiCall = Callable[[], Awaitable[Any]]
"""A function that returns a coroutine. Its result is `(status, headers, body)`; anything else is a body."""


class Returned429(RateLimitError):
    """A function returned a 429: an error for the limiter, a response for the caller."""

    def __init__(self, response: Response) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        # The wall clock is needed because Retry-After may be a date.
        super().__init__(status_code=429, retry_after=read_retry_after(headers, time.time()))
        self.response = response


def api_call_backend(api_call: ApiCall) -> Callable[[Calling], Awaitable[Response]]:
    """A service that calls the function; its result is the response, whatever its status.

    Raises (in the service):
        Returned429: the status is 429.
        Exception: any error of the function.
    """

    async def backend(_calling: Calling) -> Response:
        response = _response_from(await api_call())
        if response.status_code == 429:
            raise Returned429(response)
        return response

    return backend


def _response_from(result: Any) -> Response:
    if isinstance(result, Response):
        return result
    status, headers, body = 200, {}, result
    if isinstance(result, tuple) and len(result) == 3 and _is_status(result[0]):
        status, headers, body = result[0], dict(result[1] or {}), result[2]
    text = body if isinstance(body, str) else ""
    return Response(text=text, data=body, raw=body, headers=headers, status_code=status)


def _is_status(value: Any) -> bool:
    return isinstance(value, int) and 100 <= value <= 599
