"""The timeout layer: bounds one attempt. Waiting in the queue does not count."""

from __future__ import annotations

from collections.abc import Awaitable

from callgate.call.calling import Calling
from callgate.errors import APITimeoutError
from callgate.pipeline import Layer, Service
from callgate.policies.timeout.time_limit import time_limit
from callgate.policies.timeout.timer import Watch
from callgate.response import Response

__all__ = ["timeout_layer"]


def timeout_layer(seconds: float | None, watch: Watch | None = None) -> Layer:
    """End an attempt after the calling's own `timeout`, else after `seconds`; None: never.

    Args:
        seconds: The limit of callings without a `timeout` of their own.
        watch: The timer, shared by all attempts of a loop; None: created for the first attempt.

    Raises (in the service):
        APITimeoutError: the timeout has passed. The attempt stays charged to the quota, because the provider
            may still process the request.
    """
    bounded = time_limit(_too_slow, watch, from_now=True)

    def wrap(call: Service) -> Service:
        def within_timeout(calling: Calling) -> Awaitable[Response]:
            allowed = seconds if calling.timeout is None else calling.timeout
            return call(calling) if allowed is None else bounded(call, calling, allowed)

        return within_timeout

    return wrap


def _too_slow(calling: Calling, allowed: float) -> APITimeoutError:
    return APITimeoutError(
        f"no answer to call {calling.request_id} within {allowed:g} s",
        setting="timeout",
        remedy="if the model is slow, raise",
    )
