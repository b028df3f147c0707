"""Where a call stands and how it ended: values without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from callgate.response import Response

__all__ = ["Execution", "RequestStatus"]


class RequestStatus(str, Enum):  # noqa: UP042  compared and printed as a string by existing programs
    """Status of a call. Each call reaches exactly one of COMPLETED and FAILED, once."""

    PENDING = "pending"
    """Created, not submitted."""
    QUEUED = "queued"
    """In the queue, behind other calls."""
    PROCESSING = "processing"
    """At the head of the queue, waiting for its own quota."""
    CALLING = "calling"
    """Admitted: an attempt is in flight, or the call backs off between two attempts."""
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Execution:
    """Outcome of a call: status, duration in seconds (None while it runs), response, error."""

    status: RequestStatus
    duration: float | None
    response: Response | None
    error: BaseException | None
