from __future__ import annotations

import pytest

from callgate.errors import APIClientError, OverloadedError, RateLimitError, ServerError
from callgate.transport.status import error_for_status


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (429, RateLimitError, True),
        (529, OverloadedError, True),
        (599, ServerError, True),
        (409, APIClientError, True),
        (418, APIClientError, False),
    ],
)
def test_a_status_decides_the_class_and_whether_the_error_is_retryable(
    status: int, kind: type[APIClientError], retryable: bool
) -> None:
    error = error_for_status(status, "no", retry_after=2.0)
    assert type(error) is kind
    assert (error.status_code, error.retryable, error.retry_after) == (status, retryable, 2.0)
