"""The deadline layer: bounds the whole call, with queueing and backoff."""

from __future__ import annotations

from collections.abc import Awaitable

from callgate.call.calling import Calling
from callgate.errors import DeadlineExceededError, DeadlineRefusalError
from callgate.pipeline import Layer, Service
from callgate.policies.timeout.time_limit import time_limit
from callgate.policies.timeout.timer import Watch
from callgate.response import Response

__all__ = ["deadline_layer"]


def deadline_layer(watch: Watch | None = None) -> Layer:
    """End a call at its `deadline` (seconds of the loop's clock), if it has one.

    Args:
        watch: The timer, shared by all calls of a loop; None: created for the first call that needs it.

    Raises (in the service):
        DeadlineExceededError: the deadline has passed.
    """
    bounded = time_limit(_too_late, watch, from_now=False)

    def wrap(call: Service) -> Service:
        def within_deadline(calling: Calling) -> Awaitable[Response]:
            # Most calls have none and need no coroutine.
            deadline = calling.deadline
            return call(calling) if deadline is None else bounded(call, calling, deadline)

        return within_deadline

    return wrap


def _too_late(calling: Calling, deadline: float) -> DeadlineExceededError:
    kind = DeadlineRefusalError if calling.sent_at is None else DeadlineExceededError
    return kind(
        f"call {calling.request_id} had no answer within its {deadline - calling.made_at:g} s"
        f" (it was {calling.status.value}, {len(calling.attempts)} attempts); lower the load",
        setting="poll_timeout",
        remedy="or raise",
    )
